"""Objects one by one, as an annotation, a line or a cell has them: checked, and collected into arrays.

An object is a box, points, or both. Points are `[x, y]`, positive, or `[x, y, positive]`. What is wrong is told with
its place, all of it together.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from autolabel.config import ObjectsConfig
from autolabel.errors import BadInput, quoted_value
from autolabel.masks.coco import read_mask
from autolabel.prompts.boxes import box_cxcywh
from autolabel.prompts.objects.table import CORNER, NEGATIVE, OBJECT, OPPOSITE, POSITIVE, ObjectTable

MOST_PROBLEMS = 50  # that are told; of the others, their number
CHUNK = 50_000  # objects as lists at a time
MASK = OBJECT.field("mask").type

Size = tuple[int, int] | None
Points = list[tuple[float, float]]


class Problems:
    """What is wrong with a data set's objects, which may be millions of times the same."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._n = 0

    def append(self, problem: str) -> None:
        self._n += 1
        if len(self._told) < MOST_PROBLEMS:
            self._told.append(problem)

    def extend(self, problems: Iterable[str]) -> None:
        for problem in problems:
            self.append(problem)

    def refuse(self) -> None:
        """Raise BadInput where there are some."""
        if self._n > len(self._told):
            self._told.append(f"... and {self._n - len(self._told)} more problems of this kind")
        if self._told:
            raise BadInput(self._told)


class Entries:
    """Collects the objects of a file."""

    def __init__(self, config: ObjectsConfig, problems: Problems) -> None:
        self.config, self.problems = config, problems
        self._tables: list[ObjectTable] = []
        self._image: list[int] = []
        self._object_id: list[str] = []
        self._is_part: list[bool] = []
        self._category_id: list[int] = []
        self._point_ends: list[int] = []
        self._points: Points = []
        self._labels: list[int] = []
        self._masks: list[dict[str, Any] | None] = []

    def add(
        self, entry: Mapping[str, Any], *, image: int, size_hw: Size, name: Any, category_id: int, place: str
    ) -> None:
        """Take an object, or tell what is wrong with it.

        Args:
            entry: with `bbox`, `points` or both, perhaps `segmentation`, and perhaps `object_id`, which it has in
                common with the other parts of its object.
            image: index of the image that it is on.
            size_hw: of that image; None where it is not needed.
            name: of the object, where it has no `object_id`: the entry's own id.
            category_id: that the object is of.
            place: of the entry, for problems.
        """
        shared = entry.get("object_id")
        name = name if shared is None else shared
        try:
            if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
                key = "id" if shared is None else "object_id"
                raise ValueError(f"{key} is {quoted_value(name)}: a number or text that names the object")
            points, labels = points_of(entry, self.config, size_hw)
            mask = mask_of(entry.get("segmentation"), size_hw) if self.config.use_masks else None
        except ValueError as error:
            self.problems.append(f"{place}: {error}")
            return
        self._image.append(image)
        self._object_id.append(str(name))
        self._is_part.append(shared is not None)
        self._category_id.append(category_id)
        self._points += points
        self._labels += labels
        self._point_ends.append(len(self._points))
        self._masks.append(mask)
        if len(self._image) == CHUNK:
            self._put_away()

    def _put_away(self) -> None:
        self._tables.append(
            ObjectTable(
                image=np.array(self._image, np.int64),
                object_id=pa.array(self._object_id, pa.string()),
                is_part=np.array(self._is_part, np.bool_),
                category_id=np.array(self._category_id, np.int64),
                point_ends=np.array(self._point_ends, np.int64),
                points_xy=np.array(self._points, np.float32).reshape(-1, 2),
                labels=np.array(self._labels, np.int8),
                masks=pa.array(self._masks, MASK),
            )
        )
        for lists in (self._image, self._object_id, self._is_part, self._category_id, self._point_ends):
            lists.clear()
        for of_points in (self._points, self._labels, self._masks):
            of_points.clear()

    def table(self, uri_of: Sequence[str]) -> ObjectTable:
        """Return all of them.

        Raises:
            BadInput: every problem of any of them.
        """
        self._put_away()
        table = ObjectTable.joined(self._tables)
        self.problems.extend(problems_between(table, uri_of))
        self.problems.refuse()
        return table


def points_of(entry: Mapping[str, Any], config: ObjectsConfig, size_hw: Size) -> tuple[Points, list[int]]:
    """Return the points of an object in fractions, and what each is; raise ValueError that says what is wrong."""
    points: Points = []
    labels: list[int] = []
    box, given = entry.get("bbox"), entry.get("points")
    if box is not None:
        cx, cy, w, h = box_cxcywh(box, box_format=config.box_format, normalized=config.normalized, size_hw=size_hw)
        points = [(cx - w / 2, cy - h / 2), (cx + w / 2, cy + h / 2)]
        labels = [CORNER, OPPOSITE]
    if given is not None and not isinstance(given, list | tuple):
        raise ValueError(f"points is {quoted_value(given)}, not a list of [x, y] or [x, y, positive]")
    if box is None and not given:
        raise ValueError("has neither bbox nor points: nothing says where the object is")
    for index, point in enumerate(given or ()):
        try:
            xy, label = point_of(point, None if config.normalized else size_hw)
        except ValueError as error:
            raise ValueError(f"points[{index}] {error}") from error
        points.append(xy)
        labels.append(label)
    if CORNER not in labels and POSITIVE not in labels:
        raise ValueError("has only negative points: nothing says where the object is")
    return points, labels


def point_of(point: Any, size_hw: Size) -> tuple[tuple[float, float], int]:
    """Return a point in fractions of an image of this size (of None: it is in fractions), and what it is."""
    if not isinstance(point, list | tuple) or len(point) not in (2, 3):
        raise ValueError(f"is {quoted_value(point)}, not [x, y] or [x, y, positive]")
    x, y = point[:2]
    if not all(type(value) in (int, float) and abs(value) < 1e12 for value in (x, y)):  # NaN is below nothing
        raise ValueError(f"is {quoted_value(point)}, not of finite numbers")
    positive = point[2] if len(point) == 3 else True
    if positive not in (0, 1):
        raise ValueError(f"is {quoted_value(point)}: positive is true or false, 1 or 0")
    height, width = size_hw or (1, 1)
    if not (0 <= x <= width and 0 <= y <= height):
        frame = f"its image of width {width} and height {height}" if size_hw else "its image"
        raise ValueError(f"{quoted_value(point)} lies outside {frame}")
    return (x / width, y / height), POSITIVE if positive else NEGATIVE


def mask_of(segmentation: Any, size_hw: Size) -> dict[str, Any] | None:
    """Return a mask to refine as the plan holds it, None where there is none; raise ValueError that says what is wrong.

    An empty list is none, which is how COCO files of boxes have it.
    """
    if segmentation is None or segmentation == []:
        return None
    assert size_hw is not None, "asked for where masks are used"
    mask = read_mask(segmentation, size_hw)
    return {"size": list(mask.size_hw), "counts": mask.counts}


def problems_between(table: ObjectTable, uri_of: Sequence[str]) -> Iterable[str]:
    """Give names that several objects of an image have, and objects whose parts are of several categories."""
    if not len(table):
        return
    names = table.object_id.dictionary_encode()
    key = table.image * len(names.dictionary) + names.indices.to_numpy()
    _, first, object_of, n_parts = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    of_other_category = table.category_id != table.category_id[first[object_of]]
    mixed, unintended = (np.bincount(object_of, weights=flag) > 0 for flag in (of_other_category, ~table.is_part))
    for row in first[(n_parts > 1) & (mixed | unintended)]:
        where = f"object {table.object_id[row].as_py()!r} of {uri_of[int(table.image[row])]}"
        if unintended[object_of[row]]:
            yield f"{where}: another one of this image has the same id; parts of one object say so by object_id"
        else:
            yield f"{where}: its parts are of different categories"
