"""Connected parts of many masks at once, from their run lengths: no pixel is decoded.

A mask's runs are cut where a column ends; two of neighbouring columns are of one part if they touch, also by a corner.
Parts are found for all masks together, by labels that spread along touching runs (Shiloach and Vishkin, 1982).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autolabel.masks.runs import Ints, index_in_group, run_lengths_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnRuns:
    """S vertical strips of pixels, by mask, column and row; `bottom` is outside."""

    mask: Ints
    column: Ints
    top: Ints
    bottom: Ints


def shares_outside_largest(counts: Sequence[str], size_hw: Ints) -> Floats:
    """Return the share (N,) of each mask outside its largest 8-connected component; 0 for a mask in one piece.

    Args:
        counts: COCO's compressed run lengths of N masks.
        size_hw: (N, 2) their sizes.

    Raises:
        ValueError: a mask is empty, or its counts are damaged.
    """
    if not len(counts):
        return np.zeros(0)
    segments = cut_by_column(counts, size_hw)
    length = segments.bottom - segments.top
    area = np.bincount(segments.mask, length, len(counts))
    if not area.all():
        raise ValueError(f"mask {int(np.argmin(area))} is empty")
    part = component_labels(len(length), *touching(segments, size_hw))
    largest = np.zeros(len(counts))
    np.maximum.at(largest, segments.mask, np.bincount(part, length, len(length))[part])
    shares: Floats = 1 - largest / area
    return shares


def cut_by_column(counts: Sequence[str], size_hw: Ints) -> ColumnRuns:
    """Return the pixels of masks as strips, in order."""
    height = size_hw[:, 0]
    runs, mask = run_lengths_of(counts)
    first = np.searchsorted(mask, np.arange(len(counts)))
    nth = np.arange(len(runs)) - first[mask]
    ends = np.cumsum(runs)
    ends -= (ends[first] - runs[first])[mask]
    last = np.append(first[1:], len(runs)) - 1
    if (runs < 0).any() or (ends[last] != size_hw.prod(axis=1)).any():
        raise ValueError("runs do not add up to the size of their mask")
    ones = (nth % 2 == 1) & (runs > 0)
    mask, start, stop = mask[ones], (ends - runs)[ones], ends[ones]
    left = start // height[mask]
    n_columns = (stop - 1) // height[mask] - left + 1
    run = np.repeat(np.arange(len(mask)), n_columns)
    column = left[run] + index_in_group(n_columns)
    above = column * height[mask[run]]
    return ColumnRuns(
        mask=mask[run],
        column=column,
        top=np.maximum(start[run], above) - above,
        bottom=np.minimum(stop[run], above + height[mask[run]]) - above,
    )


def touching(segments: ColumnRuns, size_hw: Ints) -> tuple[Ints, Ints]:
    """Return the pairs of strips in neighbouring columns of one mask that touch."""
    lanes = np.cumsum(size_hw[:, 1] + 1) - (size_hw[:, 1] + 1)  # with an empty one between masks
    stride = int(size_hw[:, 0].max()) + 2
    lane = (lanes[segments.mask] + segments.column) * stride
    first = np.searchsorted(lane + segments.bottom, lane + stride + segments.top, side="left")
    stop = np.searchsorted(lane + segments.top, lane + stride + segments.bottom, side="right")
    n_touching = (stop - first).clip(min=0)
    strip = np.repeat(np.arange(len(lane)), n_touching)
    return strip, first[strip] + index_in_group(n_touching)


def component_labels(n: int, a: Ints, b: Ints) -> Ints:
    """Return (n,) labels of connected components: for each of n things the least that pairs (a, b) connect it with."""
    part = np.arange(n)
    while (apart := part[a] != part[b]).any():
        a, b = a[apart], b[apart]
        least = np.minimum(part[a], part[b])
        np.minimum.at(part, np.maximum(part[a], part[b]), least)
        while (part[part] != part).any():
            part = part[part]
    return part
