"""The overlap of masks' boundaries (arXiv:2103.16562), found in the box of each mask instead of on the whole image."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from autolabel.masks.rle import Rle, bbox_xywh, decode

WIDTH_SHARE = 0.02  # of the image's diagonal: how far inside of its outline a mask's boundary reaches


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """The pixels of a mask near its outline, as a crop (h, w) of the image whose first pixel is at (left, top)."""

    left: int
    top: int
    pixels: npt.NDArray[np.bool_]


def boundary(mask: Rle) -> Boundary:
    """Return what erosion takes from a mask; the image's border is outline too."""
    reach_px = max(1, round(WIDTH_SHARE * float(np.hypot(*mask.size_hw))))
    left, top, width, height = map(int, bbox_xywh(mask))
    crop = decode(mask)[top : top + height, left : left + width]
    square = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    inside = cv2.erode(crop.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return Boundary(left=left, top=top, pixels=crop & (inside == 0))


def boundary_iou(a: Boundary, b: Boundary) -> float:
    """Return intersection over union of the boundaries of two masks, neither of them empty, of one image."""
    left, top = max(a.left, b.left), max(a.top, b.top)
    right, bottom = (
        min(one.left + one.pixels.shape[1] for one in (a, b)),
        min(one.top + one.pixels.shape[0] for one in (a, b)),
    )
    if right <= left or bottom <= top:
        return 0.0
    shared = [one.pixels[top - one.top : bottom - one.top, left - one.left : right - one.left] for one in (a, b)]
    n_both = int((shared[0] & shared[1]).sum())
    return n_both / (int(a.pixels.sum()) + int(b.pixels.sum()) - n_both)
