"""Masks as other formats than COCO hold them: run lengths by rows, and one picture of all instances of an image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autolabel.exports.base import NamedImage
from autolabel.masks.rle import decode_crop


@dataclass(frozen=True, kw_only=True)
class Painting:
    """`values` (h, w) says of each pixel to which instance it was given, 0 to none.

    `n_contested_px` were claimed by instances of different values.
    """

    values: npt.NDArray[np.uint32]
    n_contested_px: int


def paint(image: NamedImage, values: Sequence[int]) -> Painting:
    """Paint instances with a value each, 1 or more; where they overlap, the higher score is on top."""
    canvas = np.zeros(image.size_hw, np.uint32)
    contested = np.zeros(image.size_hw, np.bool_)
    ascending = sorted(zip(image.labels.instances, values, strict=True), key=lambda pair: pair[0].score)
    for instance, value in ascending:
        (left, top), pixels = decode_crop(instance.rle)
        box = np.s_[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        region = canvas[box]
        contested[box] |= pixels & (region != 0) & (region != value)
        region[pixels] = value
    return Painting(values=canvas, n_contested_px=int(contested.sum()))


def row_runs(pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return lengths of the runs of zeros and ones of (h, w) pixels row by row, by turns, zeros first."""
    flat = pixels.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: npt.NDArray[np.int64] = np.diff(changes, prepend=0, append=flat.size)
    return np.concatenate([[0], runs]) if flat.size and flat[0] else runs
