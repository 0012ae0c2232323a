"""Masks as COCO's run-length encoding, always as pycocotools writes it, and what can be asked of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

LONGEST_RUN = 2**32 - 1  # pycocotools counts in 32 bits


class CocoRle(TypedDict):
    """A segmentation in COCO's JSON: size is [height, width]."""

    size: list[int]
    counts: str


@dataclass(frozen=True, kw_only=True)
class Rle:
    """A mask of (height, width) pixels; `counts` is COCO's compressed column-major run lengths."""

    size_hw: tuple[int, int]
    counts: str

    def to_coco(self) -> CocoRle:
        """Return what pycocotools and COCO's JSON take."""
        return {"size": list(self.size_hw), "counts": self.counts}


def encode(mask: npt.NDArray[np.bool_]) -> Rle:
    """Return the run lengths of a mask (h, w)."""
    height, width = mask.shape
    coded = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    return Rle(size_hw=(height, width), counts=coded["counts"].decode("ascii"))


def from_runs(runs: npt.NDArray[np.int64], size_hw: tuple[int, int]) -> Rle:
    """Return a mask from its run lengths in column-major order, zeros first; they cover exactly this size."""
    height, width = size_hw
    if runs[-1] == 0:  # pycocotools writes no last run without length
        runs = runs[:-1]
    coded = coco.frPyObjects({"counts": runs.tolist(), "size": [height, width]}, height, width)
    return Rle(size_hw=size_hw, counts=coded["counts"].decode("ascii"))


def decode(rle: Rle) -> npt.NDArray[np.bool_]:
    """Return the mask (h, w), a byte for each pixel: look at the size first where counts are a stranger's.

    Raises:
        ValueError: the counts are damaged, or do not cover exactly this size.
    """
    height, width = rle.size_hw
    runs = run_lengths(rle)
    inside = np.arange(len(runs)) % 2 == 1  # zeros and ones take turns, zeros first
    return np.ascontiguousarray(np.repeat(inside, runs).reshape(width, height).T)


def decode_crop(rle: Rle) -> tuple[tuple[int, int], npt.NDArray[np.bool_]]:
    """Return the mask within its box: (left, top) and the pixels (h, w), none of them if it is empty.

    In memory of the image's height times the box's width.

    Raises:
        ValueError: the counts are damaged, or do not cover exactly this size.
    """
    runs, (height, _) = run_lengths(rle), rle.size_hw
    ends = np.cumsum(runs)
    inside = np.arange(len(runs)) % 2 == 1  # zeros and ones take turns, zeros first
    ones = np.flatnonzero(inside & (runs > 0))
    if not len(ones):
        return (0, 0), np.zeros((0, 0), np.bool_)
    left, right = int(ends[ones[0] - 1]) // height, -(-int(ends[ones[-1]]) // height)
    within = np.diff(ends.clip(left * height, right * height), prepend=left * height)
    columns = np.repeat(inside, within).reshape(right - left, height)
    rows = np.flatnonzero(columns.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return (left, top), np.ascontiguousarray(columns[:, top:bottom].T)


def run_lengths(rle: Rle) -> npt.NDArray[np.int64]:
    """Return the lengths of the runs of zeros and ones in column-major order, by turns, zeros first.

    In memory of the size of the counts, whatever size of mask they claim.

    Raises:
        ValueError: the counts are damaged, or do not cover exactly this size.
    """
    height, width = rle.size_hw
    runs = _numbers(rle.counts)
    if min(height, width) < 0 or (runs < 0).any() or (runs > LONGEST_RUN).any() or runs.sum() != height * width:
        raise ValueError(f"runs do not add up to {height} x {width} pixels")
    return runs


def area(rle: Rle) -> int:
    """Return the number of pixels of the mask."""
    return int(coco.area(rle.to_coco()))  # one at a time: pycocotools overflows on lists of 256 and more


def bbox_xywh(rle: Rle) -> tuple[float, float, float, float]:
    """Return the least box of whole pixels around the mask, as (left, top, width, height); zeros if it is empty."""
    left, top, width, height = coco.toBbox(rle.to_coco()).tolist()
    return left, top, width, height


def union(masks: Sequence[Rle]) -> Rle:
    """Return what any of the masks covers; they are of one size, and there is one at least."""
    if len(masks) == 1:
        return masks[0]
    merged = coco.merge([mask.to_coco() for mask in masks])
    return Rle(size_hw=masks[0].size_hw, counts=merged["counts"].decode("ascii"))


def placed(rle: Rle, corner_xy: tuple[int, int], size_hw: tuple[int, int]) -> Rle:
    """Return the mask of a window as one of the image of `size_hw` that the window's left upper corner lies in."""
    (height, _), (left, top), (whole_height, whole_width) = rle.size_hw, corner_xy, size_hw
    ends = np.cumsum(run_lengths(rle))
    begin, end = ends[:-1:2], ends[1::2]  # of the runs of ones
    column = begin // height
    n_columns = np.where(end > begin, (end - 1) // height - column + 1, 0)
    run = np.repeat(np.arange(len(begin)), n_columns)
    column = column[run] + np.arange(len(run)) - np.repeat(np.cumsum(n_columns) - n_columns, n_columns)
    shift = (left + column) * whole_height + top - column * height  # of a pixel of this column
    first = np.maximum(begin[run], column * height) + shift
    last = np.minimum(end[run], (column + 1) * height) + shift
    apart = first[1:] != last[:-1]  # the rest goes on from the column before
    bounds = np.stack([first[np.r_[True, apart][: len(first)]], last[np.r_[apart, True][: len(last)]]], axis=1).ravel()
    return from_runs(np.diff(bounds, prepend=0, append=whole_height * whole_width), size_hw)


def common(masks: Sequence[Rle], other: Rle) -> list[Rle]:
    """Return what each of the masks has in common with another of their size."""
    shared = [coco.merge([mask.to_coco(), other.to_coco()], intersect=True) for mask in masks]
    return [Rle(size_hw=other.size_hw, counts=one["counts"].decode("ascii")) for one in shared]


def rectangle(box_xywh: tuple[int, int, int, int], size_hw: tuple[int, int]) -> Rle:
    """Return a mask of `size_hw` that covers a box within it."""
    left, top, width, height = box_xywh
    return placed(from_runs(np.array([0, width * height]), (height, width)), (left, top), size_hw)


def pairwise_overlap(a: Sequence[Rle], b: Sequence[Rle], metric: str) -> npt.NDArray[np.float64]:
    """Return the overlap (len(a), len(b)) of masks of one size, exact, and 0 where either mask is empty.

    "iou" is intersection over union, "ios" intersection over the smaller of the two areas.

    Raises:
        ValueError: another metric.
    """
    if metric not in ("iou", "ios"):
        raise ValueError(f"metric {metric!r} is neither iou nor ios")
    if not a or not b:
        return np.zeros((len(a), len(b)))
    if metric == "iou":
        return _coco_iou(a, b, over_first=False)
    return np.maximum(_coco_iou(a, b, over_first=True), _coco_iou(b, a, over_first=True).T)


def _coco_iou(a: Sequence[Rle], b: Sequence[Rle], *, over_first: bool) -> npt.NDArray[np.float64]:
    """Return intersection over union; or over the area of `a`, which is what COCO's crowd flag on `b` asks for."""
    flags = [int(over_first)] * len(b)
    overlap: npt.NDArray[np.float64] = coco.iou([rle.to_coco() for rle in a], [rle.to_coco() for rle in b], flags)
    return overlap


def _numbers(counts: str) -> npt.NDArray[np.int64]:
    """Return the numbers in COCO's string.

    They are groups of 5 bits, lowest first, of which each but a number's last carries bit 5. From the third on, a
    number is the difference to the one two before it. Not pycocotools' reader, because that one trusts its input to the
    point of reading past its end.
    """
    try:
        groups = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    except UnicodeEncodeError as error:
        raise ValueError("counts hold other characters than pycocotools writes") from error
    if ((groups < 0) | (groups > 63)).any():
        raise ValueError("counts hold other characters than pycocotools writes")
    ends = np.flatnonzero((groups & 32) == 0)
    if not len(ends) or ends[-1] != len(groups) - 1:
        raise ValueError("counts end within a number")
    n_groups = np.diff(ends, prepend=-1)
    if n_groups.max() > 7:
        raise ValueError("counts hold a number of more than 32 bits")
    starts = ends - n_groups + 1
    digit = np.arange(len(groups)) - np.repeat(starts, n_groups)
    numbers = np.add.reduceat((groups & 31) << 5 * digit, starts)
    numbers -= np.where(groups[ends] & 16, 1 << 5 * n_groups, 0)  # two's complement
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
