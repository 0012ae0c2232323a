"""Stored masks against their image's size and their own area and box, all taken from run lengths; nothing is decoded.

All masks of a unit are looked at together, and each that may be wrong once more alone, which says in words what is.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from autolabel.labels.columns import Bools, InstanceColumns, Ints
from autolabel.masks.rle import LONGEST_RUN, Rle, from_runs, run_lengths
from autolabel.masks.runs import index_in_group, run_lengths_of


def suspect_masks(found: InstanceColumns, frame_hw: Ints) -> Bools:
    """Return (N,) False for each mask in which `mask_problems` would find none; in memory of the size of their counts.

    Args:
        found: N instances.
        frame_hw: (N, 2) the sizes of their images.
    """
    n = len(found)
    if not n:
        return np.zeros(0, np.bool_)
    try:
        runs, mask = run_lengths_of(found.counts.to_pylist())
    except ValueError:  # one of them is damaged
        return np.ones(n, np.bool_)
    n_pixels, area, box_xywh = extents(runs, mask, frame_hw[:, 0])
    wrong: Bools = (found.size_hw != frame_hw).any(axis=1) | (n_pixels != frame_hw.prod(axis=1)) | (area == 0)
    wrong |= (found.area_px != area) | (found.box_xywh != box_xywh).any(axis=1)
    wrong |= written_length(runs, mask, n) != pc.binary_length(found.counts).to_numpy(zero_copy_only=False)
    wrong[mask[(runs < 0) | (runs > LONGEST_RUN)]] = True
    return wrong


def extents(runs: Ints, mask: Ints, height: Ints) -> tuple[Ints, Ints, Ints]:
    """Return pixels of any kind (N,), area (N,), and [x, y, w, h] (N, 4), as `extent` does of one mask.

    Args:
        runs: all their runs, one mask after another.
        mask: whose each is.
        height: (N,) of the masks.
    """
    n, height = len(height), height.clip(min=1)
    n_pixels, area = np.zeros(n, np.int64), np.zeros(n, np.int64)
    np.add.at(n_pixels, mask, runs)
    nth = index_in_group(np.bincount(mask, minlength=n))
    ends = np.cumsum(runs) - (np.cumsum(n_pixels) - n_pixels)[mask]
    ones = (nth % 2 == 1) & (runs > 0)
    of, first, last = mask[ones], (ends - runs)[ones], ends[ones] - 1
    np.add.at(area, of, runs[ones])
    columns, rows = (first // height[of], last // height[of]), (first % height[of], last % height[of])
    over_an_edge = columns[0] != columns[1]
    left, top = np.full(n, LONGEST_RUN), np.full(n, LONGEST_RUN)
    right, bottom = np.full(n, -1), np.full(n, -1)
    np.minimum.at(left, of, columns[0])
    np.maximum.at(right, of, columns[1])
    np.minimum.at(top, of, np.where(over_an_edge, 0, rows[0]))
    np.maximum.at(bottom, of, np.where(over_an_edge, height[of] - 1, rows[1]))
    return n_pixels, area, np.stack([left, top, right - left + 1, bottom - top + 1], axis=1)


def written_length(runs: Ints, mask: Ints, n: int) -> Ints:
    """Return (n,) how many characters pycocotools writes for each mask; -1 where it would write fewer runs."""
    nth = index_in_group(np.bincount(mask, minlength=n))
    numbers = runs.copy()
    numbers[3:] -= np.where(nth[3:] > 2, runs[1:-2], 0)
    n_groups = np.ones(len(numbers), np.int64)  # of 5 bits each; the highest one is the sign
    for n_bits in range(5, 35, 5):
        half = 1 << n_bits - 1
        n_groups += (numbers < -half) | (numbers >= half)
    lengths = np.zeros(n, np.int64)
    np.add.at(lengths, mask, n_groups)
    lengths[mask[(nth > 0) & (runs == 0)]] = -1
    return lengths


def mask_problems(instance: dict[str, Any], size_hw: tuple[int, int], *, may_be_empty: bool = False) -> Iterator[str]:
    """Give what is wrong with the mask of one stored instance, on an image of this size."""
    segmentation = instance["segmentation"]
    if tuple(segmentation["size"]) != size_hw:
        yield f"mask of size {segmentation['size']} on an image of {list(size_hw)}"
        return
    rle = Rle(size_hw=size_hw, counts=segmentation["counts"])
    try:
        runs = run_lengths(rle)
    except ValueError as error:
        yield f"mask does not decode: {error}"
        return
    if (runs[1:] == 0).any() or from_runs(runs, size_hw) != rle:
        yield "mask is not written as pycocotools writes it"
    area, bbox = extent(runs, size_hw[0])
    if not area and not may_be_empty:
        yield "mask is empty"
        return
    if instance["area"] != area:
        yield f"area {instance['area']}, its mask has {area} pixels"
    if instance["bbox"] != bbox:
        yield f"bbox {instance['bbox']}, its mask spans {bbox}"


def extent(runs: npt.NDArray[np.int64], height: int) -> tuple[int, list[float]]:
    """Return area and [x, y, w, h] of the runs of a mask; not by pycocotools, by which they were written."""
    ends = np.cumsum(runs)[1::2]
    lengths = runs[1::2]
    first, last = (ends - lengths)[lengths > 0], ends[lengths > 0] - 1
    if not len(first):
        return 0, [0.0, 0.0, 0.0, 0.0]
    left, right = int(first[0]) // height, int(last[-1]) // height
    over_an_edge = first // height != last // height  # then it ends one column and begins the next
    top = 0 if over_an_edge.any() else int((first % height).min())
    bottom = height - 1 if over_an_edge.any() else int((last % height).max())
    return int(lengths.sum()), [float(left), float(top), float(right - left + 1), float(bottom - top + 1)]
