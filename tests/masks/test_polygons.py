"""Polygons against the readers who fill them: pycocotools and OpenCV."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from autolabel.masks.polygons import filled_iou, outlines, ring
from autolabel.masks.rle import encode
from tests.support.made import Mask, hard_masks

MASKS = hard_masks()
FILLED = [name for name in MASKS if name not in ("noise", "chequers")]


def drawn_by_pycocotools(mask: Mask) -> npt.NDArray[np.uint8]:
    polygons = [points.ravel().tolist() for points in outlines(encode(mask))]
    drawn: npt.NDArray[np.uint8] = coco.decode(coco.merge(coco.frPyObjects(polygons, *mask.shape)))
    return drawn


@pytest.mark.parametrize("name", MASKS)
def test_outlines_are_the_mask_with_its_holes(name: str) -> None:
    assert (drawn_by_pycocotools(MASKS[name]) == MASKS[name]).all()
    assert all(len(points) >= 3 for points in outlines(encode(MASKS[name])))


def drawn_by_opencv(mask: Mask) -> Mask:
    canvas = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(canvas, [ring(encode(mask)).astype(np.int32)], 1)
    return canvas.astype(bool)


@pytest.mark.parametrize("name", MASKS)
def test_a_ring_is_the_mask_and_its_joints(name: str) -> None:
    """Joints add pixels to masks of several parts, and take none away."""
    mask, drawn = MASKS[name], drawn_by_opencv(MASKS[name])
    assert len(ring(encode(mask))) >= 3
    assert not (mask & ~drawn).any()
    if name in FILLED and name not in ("two parts", "ring and inside"):
        assert (mask == drawn).all()
    assert filled_iou(encode(mask), ring(encode(mask))) == pytest.approx((mask & drawn).sum() / (mask | drawn).sum())


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(1, 24))
def test_lines_of_random_masks_lose_no_pixel(seed: int, height: int, width: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.6
    if mask.any():
        assert not (mask & ~drawn_by_opencv(mask)).any()
        assert (mask == drawn_by_pycocotools(mask)).all()
