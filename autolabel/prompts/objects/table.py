"""Objects on images, many of them as arrays: a data set of boxes has tens of millions.

They become objects of Python when their work unit is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from autolabel.masks.rle import Rle

NEGATIVE, POSITIVE, CORNER, OPPOSITE = 0, 1, 2, 3  # what a point is; a box is its first two, the corners

Ints = npt.NDArray[np.int64]

# As the plan holds the objects of an image.
OBJECT = pa.struct(
    [
        ("object_id", pa.string()),
        ("category_id", pa.int64()),
        ("points", pa.list_(pa.float32())),  # x, y, x, y, ... in fractions of width and height
        ("labels", pa.list_(pa.int8())),
        ("mask", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectPrompt:
    """What singles out one object on one image. Several of one `object_id` are parts of one object."""

    object_id: str
    category_id: int
    points_xy: tuple[tuple[float, float], ...]  # fractions of the decoded image's width and height
    labels: tuple[int, ...]  # what each point is; the corners of a box come first
    mask: Rle | None = None  # a mask to refine, of the decoded image's size


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectTable:
    """N object prompts, in the order of their images."""

    image: Ints  # (N,) ascending index of the image in the listing
    object_id: pa.StringArray  # (N,)
    is_part: npt.NDArray[np.bool_]  # (N,) of an object that may have more of them
    category_id: Ints  # (N,)
    point_ends: Ints  # (N,) where the points of each end in the next two
    points_xy: npt.NDArray[np.float32]  # (P, 2) fractions of width and height
    labels: npt.NDArray[np.int8]  # (P,)
    masks: pa.StructArray  # (N,) null without

    def __len__(self) -> int:
        return len(self.image)

    @staticmethod
    def joined(parts: Sequence["ObjectTable"]) -> "ObjectTable":
        """Return tables as one; what is on one image stays in the order it came in."""
        n_points = np.concatenate([np.diff(part.point_ends, prepend=0) for part in parts])
        image = np.concatenate([part.image for part in parts])
        order = np.argsort(image, kind="stable")
        starts, ends = np.cumsum(n_points) - n_points, np.cumsum(n_points[order])
        within = np.arange(len_of(ends)) - np.repeat(ends - n_points[order], n_points[order])
        points = np.repeat(starts[order], n_points[order]) + within
        rows = pa.array(order)
        return ObjectTable(
            image=image[order],
            object_id=pa.chunked_array([part.object_id for part in parts]).take(rows).combine_chunks(),
            is_part=np.concatenate([part.is_part for part in parts])[order],
            category_id=np.concatenate([part.category_id for part in parts])[order],
            point_ends=ends,
            points_xy=np.concatenate([part.points_xy for part in parts])[points],
            labels=np.concatenate([part.labels for part in parts])[points],
            masks=pa.chunked_array([part.masks for part in parts]).take(rows).combine_chunks(),
        )

    def n_on(self, n_images: int) -> Ints:
        """Return how many object prompts are on each of the listing's images."""
        return np.bincount(self.image, minlength=n_images)

    def column(self, start: int, stop: int) -> pa.ListArray:
        """Return the plan's column of the images from `start` to `stop`: a list of OBJECT for each."""
        first, last = np.searchsorted(self.image, (start, stop)).tolist()
        points_from, points_to = (len_of(self.point_ends[:row]) for row in (first, last))
        starts = np.concatenate([[points_from], self.point_ends[first:last]]) - points_from
        structs = pa.StructArray.from_arrays(
            [
                self.object_id.slice(first, last - first),
                pa.array(self.category_id[first:last]),
                lists(2 * starts, pa.array(self.points_xy[points_from:points_to].ravel())),
                lists(starts, pa.array(self.labels[points_from:points_to])),
                self.masks.slice(first, last - first),
            ],
            fields=list(OBJECT),
        )
        return lists(np.searchsorted(self.image[first:last], np.arange(start, stop + 1)), structs)


def len_of(ends: Ints) -> int:
    return int(ends[-1]) if len(ends) else 0


def lists(starts: Ints, values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), values)


def read_cells(cells: Sequence[dict[str, Any]] | None) -> Iterator[ObjectPrompt]:
    """Give the objects of one image from the plan's column."""
    for cell in cells or ():
        xy, mask = cell["points"], cell["mask"]
        yield ObjectPrompt(
            object_id=cell["object_id"],
            category_id=cell["category_id"],
            points_xy=tuple(zip(xy[::2], xy[1::2], strict=True)),
            labels=tuple(cell["labels"]),
            mask=None if mask is None else Rle(size_hw=tuple(mask["size"]), counts=mask["counts"]),
        )
