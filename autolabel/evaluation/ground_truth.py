"""Ground truth: a COCO file of masks, which may say, as LVIS does, how much of an image it knows.

An image's `neg_category_ids` are categories verified to be absent. Where any image has them, a category is known on an
image only if it has annotations there or is listed as absent; otherwise every image is annotated with every category.
`not_exhaustive_category_ids` are those of which an image may hold more objects than are annotated.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

import orjson

from autolabel.errors import BadInput, quoted_value
from autolabel.masks import rle
from autolabel.masks.coco import read_mask
from autolabel.masks.rle import Rle
from autolabel.prompts.categories import read_categories
from autolabel.prompts.ontology import Ontology

MOST_PROBLEMS = 50  # told of one file; a wrong field is wrong in every annotation


@dataclass(frozen=True, kw_only=True)
class TruthImage:
    """One image; `absent` and `not_exhaustive` are ids of the ground truth's categories."""

    id: int
    file_name: str
    size_hw: tuple[int, int]
    absent: frozenset[int]
    not_exhaustive: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class TruthObject:
    """One annotated object, or a crowd of them that nobody told apart. `area_px` is what the file says, if it does.

    `object_id` is the annotation's own, or else its id, as text; None where it has neither.
    """

    rle: Rle
    area_px: float
    crowd: bool
    object_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """All images by ascending id, and the objects by (image id, category id)."""

    images: tuple[TruthImage, ...]
    categories: tuple[dict[str, Any], ...]
    objects: dict[tuple[int, int], tuple[TruthObject, ...]]
    lists_absent: bool

    @cached_property
    def name_of(self) -> dict[int, str]:
        return {category["id"]: category["name"] for category in self.categories}

    @cached_property
    def image(self) -> dict[int, TruthImage]:
        return {image.id: image for image in self.images}

    def knows(self, image: TruthImage, category_id: int) -> bool:
        """Tell whether it is known what the image holds of a category."""
        return not self.lists_absent or category_id in image.absent or (image.id, category_id) in self.objects

    def ontology(self, place: str) -> Ontology:
        """Return its categories as those of a job would be, each found by its own name; ids below 1 are given anew.

        Raises:
            BadInput: names that no job could tell apart.
        """
        entries = [
            {"name": one["name"], "supercategory": one.get("supercategory") or None}
            | ({"id": one["id"]} if one["id"] > 0 else {})
            for one in self.categories
        ]
        return read_categories(
            entries, place=f"{place} categories", count_tokens=lambda phrases: [0] * len(phrases), max_tokens=0
        )


def read_ground_truth(document: bytes, place: str) -> GroundTruth:
    """Return the ground truth in a COCO file; `place` is how problems name it.

    Raises:
        BadInput: every problem found, up to `MOST_PROBLEMS`.
    """
    match parsed(document, place):
        case {"images": list(images), "annotations": list(annotations), "categories": list(categories)}:
            reader = _Reader()
        case _:
            raise BadInput(f"{place}: not a COCO file: it has no lists of images, annotations and categories")
    known = {image.id: image for image in reader.images(images)}
    named = {category["id"]: category for category in reader.categories(categories)}
    objects: dict[tuple[int, int], list[TruthObject]] = {}
    for pair, one in reader.objects(annotations, known, named):
        objects.setdefault(pair, []).append(one)
    if not images:
        reader.problems.append("images: there are none")
    refuse(reader.problems, place)
    return GroundTruth(
        images=tuple(known[number] for number in sorted(known)),
        categories=tuple(named.values()),
        objects={pair: tuple(own) for pair, own in objects.items()},
        lists_absent=any("neg_category_ids" in entry for entry in images),
    )


def parsed(document: bytes, place: str) -> Any:
    """Return the JSON of a file; raises BadInput where it is none."""
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"{place}: not JSON: {error}") from error


def refuse(problems: list[str], place: str) -> None:
    """Raise BadInput where there are problems."""
    if problems:
        more = len(problems) - MOST_PROBLEMS
        rest = [f"{place}: and {more} problems more"] if more > 0 else []
        raise BadInput([*(f"{place} {problem}" for problem in problems[:MOST_PROBLEMS]), *rest])


def is_integer(value: Any) -> TypeGuard[int]:
    return type(value) is int


class _Reader:
    """Entries of the three tables that can be used, and problems of the others."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def images(self, entries: list[Any]) -> Iterator[TruthImage]:
        for where, entry in self._entries("images", entries):
            name, height, width = entry.get("file_name"), entry.get("height"), entry.get("width")
            lists = [entry.get(field) or [] for field in ("neg_category_ids", "not_exhaustive_category_ids")]
            where += f" ({quoted_value(name)})"
            if not isinstance(name, str) or not name:
                self.problems.append(f"{where}: file_name is not a file name")
            elif not (is_integer(height) and is_integer(width) and 0 < height < 2**31 and 0 < width < 2**31):
                self.problems.append(
                    f"{where}: width {quoted_value(width)} and height {quoted_value(height)} are not two sizes"
                )
            elif not all(isinstance(ids, list) and all(map(is_integer, ids)) for ids in lists):
                self.problems.append(f"{where}: neg_category_ids or not_exhaustive_category_ids are not lists of ids")
            else:
                absent, partly = map(frozenset, lists)
                size_hw = (height, width)
                yield TruthImage(id=entry["id"], file_name=name, size_hw=size_hw, absent=absent, not_exhaustive=partly)

    def categories(self, entries: list[Any]) -> Iterator[dict[str, Any]]:
        names: dict[str, str] = {}
        for where, entry in self._entries("categories", entries):
            name = entry.get("name")
            if not isinstance(name, str) or not name.strip():
                self.problems.append(f"{where}: name is {quoted_value(name)}")
            elif names.setdefault(name, where) != where:
                self.problems.append(f"{where}: name {quoted_value(name)} is already that of {names[name]}")
            else:
                yield entry

    def objects(
        self, entries: list[Any], images: dict[int, TruthImage], categories: dict[int, dict[str, Any]]
    ) -> Iterator[tuple[tuple[int, int], TruthObject]]:
        """Give each with its image id and category id; ids of annotations may be missing."""
        for index, entry in enumerate(entries):
            where = f"annotations[{index}]"
            if not isinstance(entry, dict):
                self.problems.append(f"{where}: expected an annotation, not {quoted_value(entry)}")
                continue
            image_id, category_id = entry.get("image_id"), entry.get("category_id")
            if not is_integer(image_id) or image_id not in images:
                self.problems.append(f"{where}: image_id {quoted_value(image_id)} is of no usable image")
                continue
            if not is_integer(category_id) or category_id not in categories:
                self.problems.append(f"{where}: category_id {quoted_value(category_id)} is of no usable category")
                continue
            image, category = images[image_id], categories[category_id]
            where += f" (image {quoted_value(image.file_name)}, category {quoted_value(category['name'])})"
            crowd, area = entry.get("iscrowd", 0), entry.get("area")
            if crowd not in (0, 1):
                self.problems.append(f"{where}: iscrowd is {quoted_value(crowd)}, neither 0 nor 1")
                continue
            try:
                mask = read_mask(entry.get("segmentation"), image.size_hw)
            except ValueError as error:
                self.problems.append(f"{where}: {error}")
                continue
            area_px = float(area) if isinstance(area, int | float) and area >= 0 else float(rle.area(mask))
            name = entry.get("id") if entry.get("object_id") is None else entry["object_id"]
            object_id = None if name is None else str(name)
            yield (
                (image_id, category_id),
                TruthObject(rle=mask, area_px=area_px, crowd=bool(crowd), object_id=object_id),
            )

    def _entries(self, table: str, entries: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Place (`images[3]`) and entry, of those with an id of their own."""
        first: dict[int, str] = {}
        for index, entry in enumerate(entries):
            where = f"{table}[{index}]"
            if not isinstance(entry, dict) or not is_integer(entry.get("id")):
                self.problems.append(f"{where}: its id is not an integer")
            elif first.setdefault(entry["id"], where) != where:
                self.problems.append(f"{where}: id {entry['id']} is already that of {first[entry['id']]}")
            else:
                yield where, entry
