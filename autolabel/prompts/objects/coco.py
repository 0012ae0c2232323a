"""Objects of a COCO file: an annotation is an object, its `id` the object's.

Beside `bbox` it may have `points`, and `object_id`, which boxes that are one object have in common. The file is read
as a stream, so that one of tens of millions of annotations takes the memory of their numbers.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import IO, Any

from autolabel.config import ObjectsConfig
from autolabel.errors import BadInput, RejectedImage, quoted_value
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.prompts.categories import MAX_ID
from autolabel.prompts.coco_tables import CocoTables
from autolabel.prompts.objects.entries import Entries, Problems
from autolabel.prompts.objects.json_rows import rows
from autolabel.prompts.objects.source import GivenObjects, InputImages
from autolabel.wording import counted

log = logging.getLogger("autolabel")


def read_categories(file: IO[bytes], place: str) -> Sequence[Mapping[str, Any]]:
    """Return the categories of a file that can be used here: of an id of 1 and more.

    Raises:
        BadInput: there are none, or it is not JSON.
    """
    found = [entry for entry in rows(file, "categories", place) if isinstance(entry, Mapping)]
    usable = [
        {name: entry[name] for name in ("id", "name", "supercategory") if entry.get(name) not in (None, "")}
        for entry in found
        if is_usable(entry.get("id"))
    ]
    if not usable:
        ids = f"; their ids are {quoted_value([entry.get('id') for entry in found])}" if found else ""
        raise BadInput(f"{place}: has no categories (COCO) with ids from 1 to {MAX_ID}{ids}")
    return usable


def is_usable(category_id: Any) -> bool:
    return type(category_id) is int and 1 <= category_id <= MAX_ID


def read_objects(file: IO[bytes], place: str, config: ObjectsConfig, images: InputImages) -> GivenObjects:
    """Return the objects of a file.

    Raises:
        BadInput: every problem of the file, each with its place.
    """
    problems = Problems()
    needs_size = config.use_masks or not config.normalized
    found = list(rows(file, "images", place))
    sizes = probe_sizes(found, images) if needs_size else {}

    def probe(uri: str) -> tuple[int, int]:
        if isinstance(size := sizes[uri], RejectedImage):
            raise size
        return size

    tables = CocoTables(
        place,
        images=found,
        categories=rows(file, "categories", place),
        needs_size=needs_size,
        find_image=images.find,
        probe=probe,
        tell=problems.append,
    )
    del found
    entries = Entries(config, problems)
    n_annotations = n_crowds = 0
    for index, annotation in enumerate(rows(file, "annotations", place)):
        n_annotations += 1
        where = f"{place} annotations[{index}]"
        if not isinstance(annotation, Mapping):
            problems.append(f"{where}: expected an annotation, not {quoted_value(annotation)}")
            continue
        if annotation.get("iscrowd"):
            n_crowds += 1
            continue
        frame = tables.frame(annotation.get("image_id"), where)
        category = tables.category(annotation.get("category_id"), where)
        if frame is None or category is None:
            continue
        if not is_usable(category_id := annotation["category_id"]):
            problems.append(f"{where}: category_id {quoted_value(category_id)}: ids are from 1 to {MAX_ID} here")
            continue
        entries.add(
            annotation,
            image=images.index_of[frame.uri],
            size_hw=frame.size_hw,
            name=annotation.get("id"),
            category_id=category_id,
            place=f"{where} (image {frame.file_name!r})",
        )
    if not n_annotations:
        problems.append(f"{place}: has no annotations (COCO)")
    if n_crowds:
        log.warning("%s: left out, %s (iscrowd): no objects of their own", place, counted(n_crowds, "crowd"))
    sizes_hw = {images.index_of[frame.uri]: frame.size_hw for frame in tables.frames() if frame.size_hw}
    return GivenObjects(table=entries.table(images.uris), sizes_hw=sizes_hw)


def probe_sizes(rows: list[Any], images: InputImages) -> dict[str, tuple[int, int] | RejectedImage]:
    """Return the sizes of images of the input that a file does not state, by URI, or why they cannot be had."""
    unstated = {
        uri
        for row in rows
        if isinstance(row, Mapping) and row.get("height") is None and row.get("width") is None
        if isinstance(name := row.get("file_name"), str) and (uri := images.find(name)) is not None
    }

    def probe(uri: str) -> tuple[int, int] | RejectedImage:
        try:
            return images.probe(uri)
        except RejectedImage as error:
            return error

    return dict(zip(unstated, in_threads(probe, unstated, IO_THREADS), strict=True))
