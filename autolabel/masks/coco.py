"""Masks as COCO files hold them: run lengths, compressed or plain, and polygons."""

from typing import Any

import numpy as np
from pycocotools import mask as coco

from autolabel.errors import quoted_value
from autolabel.masks import rle
from autolabel.masks.rle import LONGEST_RUN, Rle


def read_mask(segmentation: Any, size_hw: tuple[int, int]) -> Rle:
    """Return a COCO `segmentation` as a mask of an image of this size; polygons are filled as pycocotools fills them.

    Raises:
        ValueError: it is none, is damaged, or is of another size.
    """
    match segmentation:
        case {"size": size, "counts": counts}:
            if size != list(size_hw):
                raise ValueError(
                    f"the mask's size {quoted_value(size)} is not the image's, [height, width] {list(size_hw)}"
                )
            return _from_counts(counts, size_hw)
        case list() if segmentation:
            return _from_polygons(segmentation, size_hw)
        case _:
            raise ValueError(f"segmentation is {quoted_value(segmentation)}, neither run lengths nor polygons")


def _from_counts(counts: Any, size_hw: tuple[int, int]) -> Rle:
    height, width = size_hw
    if isinstance(counts, str):
        mask = Rle(size_hw=size_hw, counts=counts)
        rle.run_lengths(mask)  # pycocotools would read past the end of damaged counts
        return mask
    if not isinstance(counts, list) or not all(type(run) is int and 0 <= run <= LONGEST_RUN for run in counts):
        raise ValueError(f"counts {quoted_value(counts)} are neither text nor a list of run lengths")
    if sum(counts) != height * width or not counts:
        raise ValueError(f"runs do not add up to {height} x {width} pixels")
    return rle.from_runs(np.array(counts, np.int64), size_hw)


def _from_polygons(polygons: list[Any], size_hw: tuple[int, int]) -> Rle:
    """Return the union of polygons [x1, y1, x2, y2, ...], which may reach out of the image by its size."""
    height, width = size_hw
    reach = 2 * max(size_hw)  # what is farther out is of another image, and pycocotools walks all the way to it
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"polygon {quoted_value(polygon)} is not a list of x and y of three points or more")
        if not all(type(value) in (int, float) and abs(value) <= reach for value in polygon):  # NaN is not
            raise ValueError(
                f"polygon {quoted_value(polygon)} is not of numbers in or near an image of {width} x {height}"
            )
    merged = coco.merge(coco.frPyObjects(polygons, height, width))
    return Rle(size_hw=size_hw, counts=merged["counts"].decode("ascii"))
