"""From the model's low-resolution mask logits to masks of the image's own size, without a bitmap of that size.

A mask is where the logits, upsampled bilinearly (align_corners=False), are above 0. Along one column of the image the
upsampled surface is linear between two rows of logits, so it changes sign at most once there, and where it does is
solved for and not searched: the run lengths of a mask come from the crossings of each of its columns.

Equal to upsampling and encoding, but for pixels whose logit is 0 to within float32's last digits.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from autolabel.masks.rle import Rle, from_runs

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
STEPS = 3  # that a solved crossing may be off by rounding


def logits_to_rles(mask_logits: torch.Tensor, size_hw: tuple[int, int]) -> list[Rle]:
    """Make masks of `size_hw` from logits (K, h, w) of any floating type, in float32 on the CPU."""
    logits = mask_logits.float().numpy(force=True)
    height, width = size_hw
    rows, columns = _axis(logits.shape[1], height), _axis(logits.shape[2], width)
    return [from_runs(_runs(one, rows, columns), size_hw) for one in logits]


@dataclass(frozen=True, eq=False)
class _Axis:
    """Interpolation along an axis from m logits to n pixels, each low * below + high * above of two neighbours."""

    below: Ints  # (n,) index of the neighbour before
    above: Ints  # (n,) and after
    low: Floats  # (n,) their weights
    high: Floats
    first: Ints  # (m + 1,) first pixel whose neighbour before is logit j or a later one


@lru_cache(maxsize=256)
def _axis(n_logits: int, n_pixels: int) -> _Axis:
    """Place pixels as torch does, in its precision: a pixel's centre is one fused multiply-add in float32."""
    scale = np.float64(np.float32(n_logits) / np.float32(n_pixels))
    centre = (scale * (np.arange(n_pixels) + 0.5) - 0.5).astype(np.float32).clip(min=0)
    below = np.minimum(centre.astype(np.int64), n_logits - 1)
    high = centre - below.astype(np.float32)
    return _Axis(
        below=below,
        above=np.minimum(below + 1, n_logits - 1),
        low=np.float32(1) - high,
        high=high,
        first=np.searchsorted(below, np.arange(n_logits + 1)),
    )


def _runs(logits: Floats, rows: _Axis, columns: _Axis) -> Ints:
    """Return column-major run lengths of one mask, zeros first."""
    height, width = len(rows.below), len(columns.below)
    positive = logits > 0
    rows_with, columns_with = np.flatnonzero(positive.any(axis=1)), np.flatnonzero(positive.any(axis=0))
    if not len(rows_with):
        return np.array([height * width])
    # Only what lies between a positive logit and its neighbours can be positive.
    top, bottom = max(int(rows_with[0]) - 1, 0), min(int(rows_with[-1]) + 1, len(logits) - 1)
    left = columns.first[max(int(columns_with[0]) - 1, 0)]
    right = columns.first[int(columns_with[-1]) + 1]
    at = slice(left, right)
    knots = np.ascontiguousarray(logits[top : bottom + 1].T)  # (columns, rows) of logits
    values = knots[columns.below[at]] * columns.low[at, None] + knots[columns.above[at]] * columns.high[at, None]
    inside = values > 0  # (columns of pixels, rows of logits)
    column, cell = np.nonzero(inside[:, 1:] != inside[:, :-1])
    row = _crossing(values[column, cell], values[column, cell + 1], cell + top, rows)
    ends = (left + column) * height + row
    starts_inside, ends_inside = np.flatnonzero(inside[:, 0]), np.flatnonzero(inside[:, -1])
    if len(starts_inside) or len(ends_inside):  # columns that are positive at the image's upper or lower edge
        edges = (left + starts_inside) * height, (left + ends_inside + 1) * height
        ends = np.sort(np.concatenate([ends, *edges]), kind="stable")
    return np.diff(_without_pairs(ends), prepend=0, append=height * width)


def _crossing(before: Floats, after: Floats, cell: Ints, rows: _Axis) -> Ints:
    """Find the first row of pixels in a cell (logit `cell` to the next) that has the sign of `after`, or its end.

    `before` and `after` are the values at the two logits, of different signs.
    """
    begin, end = rows.first[cell], rows.first[cell + 1]
    a, b = before.astype(np.float64), after.astype(np.float64)
    n_pixels, n_logits = len(rows.below), len(rows.first) - 1
    solved = np.floor((cell + 0.5 + a / (a - b)) * (n_pixels / n_logits) - 0.5).astype(np.int64) + 1
    row = solved.clip(begin, end)
    wanted = after > 0

    def has_sign(at: Ints) -> npt.NDArray[np.bool_]:
        at = at.clip(0, n_pixels - 1)
        upsampled = rows.low[at] * a + (rows.high[at] * after)  # the first product is not rounded: fused in torch
        return np.asarray((upsampled > 0) == wanted)

    for _ in range(STEPS):
        early, late = (row > begin) & has_sign(row - 1), (row < end) & ~has_sign(row)
        if not (early.any() or late.any()):
            break
        row = row - early + late
    return row


def _without_pairs(ends: Ints) -> Ints:
    """Leave out of ascending positions those that are there an even number of times: runs of no length."""
    if len(ends) < 2 or (np.diff(ends) > 0).all():
        return ends
    places, counts = np.unique(ends, return_counts=True)
    odd: Ints = places[counts % 2 == 1]
    return odd
