"""Boxes: every way to write one, and what is said of one that is none."""

import re
from typing import Any

import pytest

from autolabel.prompts.boxes import box_cxcywh

SIZE_HW = (480, 640)
NAN = float("nan")


@pytest.mark.parametrize(
    ("case", "bbox", "box_format", "normalized", "expected"),
    [
        ("xywh", [64, 48, 128, 96], "xywh", False, (0.2, 0.2, 0.2, 0.2)),
        ("xyxy", [64, 48, 192, 144], "xyxy", False, (0.2, 0.2, 0.2, 0.2)),
        ("cxcywh", [128, 96, 128, 96], "cxcywh", False, (0.2, 0.2, 0.2, 0.2)),
        ("width and height are not swapped", [0, 0, 640, 240], "xywh", False, (0.5, 0.25, 1, 0.5)),
        ("tuple of floats", (64.0, 48.0, 128.0, 96.0), "xywh", False, (0.2, 0.2, 0.2, 0.2)),
        ("xywh in fractions", [0.1, 0.1, 0.2, 0.4], "xywh", True, (0.2, 0.3, 0.2, 0.4)),
        ("xyxy in fractions", [0.1, 0.1, 0.3, 0.5], "xyxy", True, (0.2, 0.3, 0.2, 0.4)),
        ("cxcywh in fractions", [0.2, 0.3, 0.2, 0.4], "cxcywh", True, (0.2, 0.3, 0.2, 0.4)),
        ("the whole image", [0, 0, 640, 480], "xyxy", False, (0.5, 0.5, 1, 1)),
        ("half a pixel out is clipped", [-0.5, -0.5, 640.5, 480.5], "xyxy", False, (0.5, 0.5, 1, 1)),
        ("a thousandth out is clipped", [-0.001, 0, 1.001, 1], "xyxy", True, (0.5, 0.5, 1, 1)),
        ("one pixel", [0, 0, 1, 1], "xywh", False, (0.5 / 640, 0.5 / 480, 1 / 640, 1 / 480)),
        ("a thin line", [0, 0, 640, 0.25], "xywh", False, (0.5, 0.125 / 480, 1, 0.25 / 480)),
    ],
)
def test_box(case: str, bbox: Any, box_format: str, normalized: bool, expected: tuple[float, ...]) -> None:
    size_hw = None if normalized else SIZE_HW
    box = box_cxcywh(bbox, box_format=box_format, normalized=normalized, size_hw=size_hw)
    assert box == pytest.approx(expected)
    assert box_cxcywh(bbox, box_format=box_format, normalized=normalized, size_hw=SIZE_HW) == box


@pytest.mark.parametrize(
    ("case", "bbox", "box_format", "normalized", "message"),
    [
        ("none", None, "xywh", False, "label without box: bbox is missing"),
        ("three numbers", [1, 2, 3], "xywh", False, "box [1, 2, 3] is not a list of 4 numbers"),
        ("five numbers", [1, 2, 3, 4, 5], "xywh", False, "is not a list of 4 numbers"),
        ("empty", [], "xywh", False, "is not a list of 4 numbers"),
        ("text", "1 2 3 4", "xywh", False, "is not a list of 4 numbers"),
        ("nan", [1, NAN, 3, 4], "xywh", False, "is not of 4 finite numbers"),
        ("infinity", [1, 2, float("inf"), 4], "xywh", False, "is not of 4 finite numbers"),
        ("no float holds it", [1, 2, 10**400, 4], "xywh", False, "is not of 4 finite numbers"),
        ("text among numbers", [1, "2", 3, 4], "xywh", False, "is not of 4 finite numbers"),
        ("boolean", [1, 2, 3, True], "xywh", False, "is not of 4 finite numbers"),
        ("null among numbers", [1, 2, 3, None], "xywh", False, "is not of 4 finite numbers"),
        ("inverted in x", [300, 10, 200, 20], "xyxy", False, "as xyxy is inverted"),
        ("inverted in y", [10, 300, 20, 200], "xyxy", False, "as xyxy is inverted"),
        ("negative width", [300, 10, -20, 20], "xywh", False, "has a negative width or height"),
        ("negative height", [0.5, 0.5, 0.1, -0.1], "cxcywh", True, "has a negative width or height"),
        ("no width", [10, 10, 0, 20], "xywh", False, "has no area"),
        ("no height", [10, 10, 20, 10], "xyxy", False, "has no area"),
        ("outside right", [640, 0, 10, 10], "xywh", False, "lies outside its image of width 640 and height 480"),
        ("outside below", [0, 480, 10, 10], "xywh", False, "lies outside its image"),
        ("outside left", [-20, 0, 10, 10], "xywh", False, "lies outside its image"),
        ("outside by a hair", [-0.4, 0, 0.3, 10], "xywh", False, "lies outside its image"),
        ("outside in fractions", [1.5, 0, 2, 1], "xyxy", True, "lies outside its image"),
        ("out by more than half a pixel", [0, 0, 640.6, 480], "xywh", False, "reaches out of its image of width 640"),
        ("out above", [0, -1, 10, 10], "xywh", False, "reaches out of its image"),
        ("out in fractions", [0.9, 0.5, 0.2, 0.2], "xywh", True, "reaches out of its image"),
        ("xyxy given as xywh", [600, 400, 630, 470], "xywh", False, "box_format: xyxy?"),
        ("xywh given as xyxy", [300, 200, 50, 40], "xyxy", False, "box_format: xywh or cxcywh?"),
        ("cxcywh given as xywh", [600, 240, 80, 480], "xywh", False, "box_format: cxcywh?"),
        ("fractions given as pixels", [0.1, 0.1, 0.5, 0.5], "xywh", False, "smaller than a pixel; normalized: true?"),
        ("pixels given as fractions", [10, 10, 50, 50], "xywh", True, "normalized: false?"),
    ],
)
def test_box_problem(case: str, bbox: Any, box_format: str, normalized: bool, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        box_cxcywh(bbox, box_format=box_format, normalized=normalized, size_hw=SIZE_HW)


def test_no_hint_where_no_other_format_fits() -> None:
    with pytest.raises(ValueError, match=r"lies outside its image of width 640 and height 480$"):
        box_cxcywh([700, 500, 800, 600], box_format="xywh", normalized=False, size_hw=SIZE_HW)
