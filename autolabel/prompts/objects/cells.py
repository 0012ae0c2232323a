"""Objects of a manifest: the cell of an image is a list of {id, category, bbox, points}, or that list as JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

from autolabel.config import ObjectsConfig
from autolabel.errors import BadInput, RejectedImage, did_you_mean, quoted_value
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.prompts.manifest_cells import entries_of_cell
from autolabel.prompts.objects.entries import Entries, Problems
from autolabel.prompts.objects.source import GivenObjects, InputImages
from autolabel.prompts.ontology import Ontology, normalized

FIELDS = ("id", "category", "bbox", "points", "segmentation", "object_id")


def read_names(cells: Mapping[str, Any], column: str) -> list[Mapping[str, Any]]:
    """Return the categories that cells name, by name, so that their ids do not hang on the order of the rows.

    Raises:
        BadInput: cells that are no lists, each by its image.
    """
    problems = Problems()
    names: set[str] = set()
    for uri, cell in cells.items():
        try:
            entries = entries_of_cell(cell, f"{column} of {uri}", of="objects")
        except BadInput as error:
            problems.extend(error.problems)
            continue
        found = (entry.get("category") for entry in entries if isinstance(entry, Mapping))
        names.update(normalized(name) for name in found if isinstance(name, str))
    problems.refuse()
    return [{"name": name} for name in sorted(names)]


def read_objects(
    cells: Mapping[str, Any],
    sizes_hw: Mapping[str, tuple[int, int]],
    ontology: Ontology,
    config: ObjectsConfig,
    images: InputImages,
) -> GivenObjects:
    """Return the objects of cells by image URI; sizes that the manifest does not state are read from the images.

    Raises:
        BadInput: every problem of any cell.
    """
    problems = Problems()
    entries = Entries(config, problems)
    frames: dict[int, tuple[int, int]] = {}
    sizes = in_threads(lambda uri: _size_of(uri, sizes_hw, config, images), cells, IO_THREADS)
    for (uri, cell), size_hw in zip(cells.items(), sizes, strict=True):
        place, index = f"{config.column} of {uri}", images.index_of[uri]
        if isinstance(size_hw, RejectedImage):
            problems.append(f"{place}: its size is not stated and cannot be read: {size_hw}")
            continue
        if size_hw:
            frames[index] = size_hw
        for number, entry in enumerate(entries_of_cell(cell, place, of="objects")):
            where = f"{place}[{number}]"
            category_id = _category_id(entry, where, ontology, problems)
            if category_id is not None:
                given = entry.get("id")
                name = number if given is None else given
                entries.add(entry, image=index, size_hw=size_hw, name=name, category_id=category_id, place=where)
    return GivenObjects(table=entries.table(images.uris), sizes_hw=frames)


def _size_of(
    uri: str, sizes_hw: Mapping[str, tuple[int, int]], config: ObjectsConfig, images: InputImages
) -> tuple[int, int] | RejectedImage | None:
    if uri in sizes_hw or (config.normalized and not config.use_masks):
        return sizes_hw.get(uri)
    try:
        return images.probe(uri)
    except RejectedImage as error:
        return error


def _category_id(entry: Any, where: str, ontology: Ontology, problems: Problems) -> int | None:
    """Return the category of an entry, None and its problems where it has none."""
    if not isinstance(entry, Mapping):
        problems.append(f"{where}: expected an object with category and bbox or points, not {quoted_value(entry)}")
        return None
    problems.extend(unknown_fields(entry, where))
    name = entry.get("category")
    category = ontology.by_name.get(normalized(name)) if isinstance(name, str) else None
    if category is None:
        problems.append(f"{where}: category is {quoted_value(name)}, not a name")
        return None
    return category.id


def unknown_fields(entry: Mapping[str, Any], where: str) -> Iterable[str]:
    for field in entry:
        if field not in FIELDS:
            yield f"{where}: unknown field {quoted_value(field)}{did_you_mean(str(field), FIELDS)}"
