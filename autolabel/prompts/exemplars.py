"""Exemplar boxes, read from a COCO file or a manifest's column, and checked.

A positive exemplar says "more of these", a negative one "not these"; both are boxes on the image they are used for.
Problems are raised together as BadInput, each with its place and index.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from autolabel.config import ExemplarsConfig
from autolabel.errors import BadInput, did_you_mean, quoted_value
from autolabel.prompts.boxes import box_cxcywh
from autolabel.prompts.coco_tables import CocoTables, probed
from autolabel.prompts.concepts import Exemplar, ImageExemplars
from autolabel.prompts.manifest_cells import entries_of_cell, read_json
from autolabel.prompts.ontology import Category, Ontology, normalized

# Of an entry in a manifest's column; those of an object, too, whose box may be an exemplar.
FIELDS = ("category", "bbox", "negative", "id", "object_id", "points", "segmentation")


def read_coco(
    document: bytes,
    *,
    place: str,
    ontology: Ontology,
    config: ExemplarsConfig,
    find_image: Callable[[str], str | None],
    probe: Callable[[str], tuple[int, int]],
) -> dict[str, ImageExemplars]:
    """Return the exemplars of a COCO file by image URI; only images that have some.

    Categories are matched to the ontology by name, images by `file_name`; those that no annotation uses may be unknown.

    Args:
        place: how problems name the file.
        find_image: URI of the plan's image of that file name, or None.
        probe: (h, w) of an image, asked for where boxes are in pixels and the file states no width and height.
            A RejectedImage it raises becomes a problem; anything else passes.

    Raises:
        BadInput: every problem found.
    """
    problems: list[str] = []
    images, annotations, categories = _tables(read_json(document, place), place)
    tables = CocoTables(
        place,
        images=images,
        categories=categories,
        needs_size=not config.normalized,
        find_image=find_image,
        probe=probe,
        tell=problems.append,
    )
    category_at: dict[str, Category | None] = {}  # by its place in the file

    def category_of(annotation: Mapping[str, Any], where: str) -> Category | None:
        found = tables.category(annotation.get("category_id"), where)
        if found is None:
            return None
        row, entry = found
        if row not in category_at:
            category_at[row] = _category(entry.get("name"), f"{place} {row}", ontology, problems)
        return category_at[row]

    exemplars_of: dict[str, list[Exemplar]] = {}
    for index, annotation in enumerate(annotations):
        where = f"{place} annotations[{index}]"
        if not isinstance(annotation, Mapping):
            problems.append(f"{where}: expected an annotation, not {quoted_value(annotation)}")
            continue
        frame = tables.frame(annotation.get("image_id"), where)
        category = category_of(annotation, where)
        if frame and category:
            where += f" (image {frame.file_name!r}, category {category.name!r})"
            exemplar = _read_exemplar(annotation, category, frame.size_hw, config, where, problems)
            exemplars_of.setdefault(frame.uri, []).extend(exemplar)
    frames = {frame.uri: frame for frame in tables.frames()}
    for uri, exemplars in exemplars_of.items():
        where = f"{place} (image {frames[uri].file_name!r})"
        problems += _nothing_to_look_for(exemplars, ontology, config, where)
    if problems:
        raise BadInput(problems)
    return {uri: ImageExemplars(size_hw=frames[uri].size_hw, exemplars=tuple(own)) for uri, own in exemplars_of.items()}


def read_cell(
    cell: Any,
    *,
    place: str,
    ontology: Ontology,
    config: ExemplarsConfig,
    size_hw: tuple[int, int] | None,
    probe: Callable[[], tuple[int, int]],
) -> ImageExemplars:
    """Return the exemplars of one image from its cell of a manifest.

    The cell is a list of {category, bbox, negative}, that list as JSON, or null or blank for none. `size_hw` is what
    the manifest states; without it `probe` is asked, where boxes are in pixels. BadInput names every problem found.
    """
    entries = entries_of_cell(cell, place, of="exemplars")
    problems: list[str] = []
    frame_hw = size_hw
    if entries and not size_hw and not config.normalized:
        frame_hw = probed(probe, place, problems.append)
    exemplars: list[Exemplar] = []
    for index, entry in enumerate(entries):
        where = f"{place}[{index}]"
        if not isinstance(entry, Mapping):
            problems.append(f"{where}: expected an exemplar with category and bbox, not {quoted_value(entry)}")
            continue
        unknown = [field for field in entry if field not in FIELDS]
        problems += [
            f"{where}: unknown field {quoted_value(field)}{did_you_mean(str(field), FIELDS)}" for field in unknown
        ]
        category = _category(entry.get("category"), where, ontology, problems)
        if category:
            where += f" (category {category.name!r})"
        if category and (frame_hw or config.normalized):
            exemplars += _read_exemplar(entry, category, frame_hw, config, where, problems)
    problems += _nothing_to_look_for(exemplars, ontology, config, place)
    if problems:
        raise BadInput(problems)
    return ImageExemplars(size_hw=frame_hw, exemplars=tuple(exemplars))


def _read_exemplar(
    entry: Mapping[str, Any],
    category: Category,
    size_hw: tuple[int, int] | None,
    config: ExemplarsConfig,
    where: str,
    problems: list[str],
) -> list[Exemplar]:
    """Return the entry's exemplar, or none and its problems."""
    negative = entry.get("negative")
    if negative is not None and not isinstance(negative, bool):
        problems.append(f"{where}: negative is {quoted_value(negative)}, not true or false")
    if entry.get("iscrowd"):
        problems.append(f"{where}: a crowd (iscrowd) is not a box of one instance")
    try:
        box = box_cxcywh(entry.get("bbox"), box_format=config.box_format, normalized=config.normalized, size_hw=size_hw)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return []
    return [Exemplar(category_id=category.id, box_cxcywh=box, positive=not negative)]


def _nothing_to_look_for(
    exemplars: Sequence[Exemplar], ontology: Ontology, config: ExemplarsConfig, where: str
) -> Iterable[str]:
    if config.use_text:
        return
    positive = {exemplar.category_id for exemplar in exemplars if exemplar.positive}
    for category_id in dict.fromkeys(exemplar.category_id for exemplar in exemplars):
        if category_id not in positive:
            name = ontology.by_id[category_id].name
            yield f"{where} (category {name!r}): only negative exemplars and no text (use_text is false)"


def _category(name: Any, where: str, ontology: Ontology, problems: list[str]) -> Category | None:
    category = ontology.by_name.get(normalized(name)) if isinstance(name, str) else None
    if category is None:
        hint = did_you_mean(name, ontology.by_name) if isinstance(name, str) else ""
        problems.append(f"{where}: unknown category {quoted_value(name)}{hint}")
    return category


def _tables(content: Any, place: str) -> list[list[Any]]:
    """Return images, annotations and categories of a COCO file."""
    if not isinstance(content, dict):
        raise BadInput(f"{place}: expected images, annotations and categories (COCO), not {quoted_value(content)}")
    tables = [content.get(name) for name in ("images", "annotations", "categories")]
    lists = [table for table in tables if isinstance(table, list)]
    if len(lists) < len(tables):
        raise BadInput(f"{place}: images, annotations and categories (COCO) must be lists")
    return lists
