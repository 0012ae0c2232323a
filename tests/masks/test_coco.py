"""Masks of COCO files, held against what pycocotools makes of the same annotation."""

import re
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from autolabel.masks.coco import read_mask
from autolabel.masks.rle import decode, run_lengths
from tests.support.cases import SIZE_HW, A, image

HEIGHT, WIDTH = SIZE_HW


@pytest.mark.parametrize(
    "segmentation",
    [
        A.to_coco(),
        {"size": [HEIGHT, WIDTH], "counts": run_lengths(A).tolist()},
        {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]},
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH, 0]},
        [[5, 5, 25.5, 5, 20, 30.25]],
        [[5, 5, 25.5, 5, 20, 30.25], [30, 5, 50, 5, 50, 20, 30, 20], [8, 8, 40, 8, 20, 20]],
        [[-3, -2, 70, 10, 20, 45]],
    ],
)
def test_every_form_is_the_mask_that_pycocotools_sees(segmentation: Any) -> None:
    coco = COCO()
    coco.imgs = {1: image(1)}
    expected = coco.annToMask({"image_id": 1, "segmentation": segmentation}).astype(bool)
    mask = read_mask(segmentation, SIZE_HW)
    assert mask.size_hw == SIZE_HW
    np.testing.assert_array_equal(decode(mask), expected)


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        (None, "None, neither run lengths nor polygons"),
        ([], "[], neither run lengths nor polygons"),
        ("text", "neither run lengths nor polygons"),
        ({"size": [HEIGHT, WIDTH]}, "neither run lengths nor polygons"),
        ({"size": [WIDTH, HEIGHT], "counts": A.counts}, "[60, 40] is not the image's, [height, width] [40, 60]"),
        ({"size": [HEIGHT, WIDTH], "counts": A.counts[:-1]}, "counts end within a number"),
        ({"size": [HEIGHT, WIDTH], "counts": "\u00e9"}, "other characters"),
        ({"size": [HEIGHT, WIDTH], "counts": []}, "runs do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, "runs do not add up to 40 x 60 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]}, "neither text nor a list of run lengths"),
        ({"size": [HEIGHT, WIDTH], "counts": 7}, "neither text nor a list of run lengths"),
        ([[1, 1, 5, 5]], "not a list of x and y of three points or more"),
        ([[1, 1, 5, 5, 9, 1, 3]], "not a list of x and y of three points or more"),
        ([[1, 1, 5, 5, 9, None]], "not of numbers in or near an image of 60 x 40"),
        ([[1, 1, 5, 5, 1e9, 1]], "not of numbers in or near an image of 60 x 40"),
        ([[1, 1, 5, 5, float("nan"), 1]], "not of numbers in or near an image of 60 x 40"),
    ],
)
def test_what_is_no_mask_of_the_image_is_refused(segmentation: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        read_mask(segmentation, SIZE_HW)
