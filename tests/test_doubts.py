"""Each reason for doubt on cases with known answers, parts of masks against scipy's labelling."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from autolabel.doubts import (
    WEIGHTS,
    at_border,
    categories_disagree,
    fragmented,
    near_threshold,
    part_areas_px,
    present_without_instance,
    priority,
    synonyms_disagree,
)
from autolabel.rle import Rle, encode


@pytest.mark.parametrize(
    ("score", "threshold", "doubt"),
    [(0.5, 0.5, 1.0), (0.55, 0.5, 0.5), (0.45, 0.5, 0.5), (0.6, 0.5, 0.0), (0.9, 0.5, 0.0), (0.85, 0.9, 0.5)],
)
def test_a_score_is_in_doubt_near_its_threshold(score: float, threshold: float, doubt: float) -> None:
    assert near_threshold(np.array([score]), np.array([threshold])) == pytest.approx([doubt])


def test_two_categories_disagree_on_one_object_and_not_on_neighbours() -> None:
    assert categories_disagree(np.array([1.0, 0.8, 0.5, 0.1])).tolist() == [1.0, 0.8, 0.0, 0.0]


def test_synonyms_disagree_by_the_difference_of_their_scores() -> None:
    assert synonyms_disagree(np.array([0.9, 0.5]), np.array([0.3, 0.5])) == pytest.approx([0.6, 0.0])


@pytest.mark.parametrize(
    ("presence", "n_instances", "doubt"), [(1.0, 0, 1.0), (0.75, 0, 0.5), (0.5, 0, 0.0), (0.1, 0, 0.0), (1.0, 1, 0.0)]
)
def test_a_present_category_without_an_instance(presence: float, n_instances: int, doubt: float) -> None:
    assert present_without_instance(np.array([presence]), np.array([n_instances])) == pytest.approx([doubt])


@pytest.mark.parametrize(
    ("box_xywh", "touches"),
    [
        ((1, 1, 8, 4), False),
        ((0, 1, 3, 3), True),
        ((1, 0, 3, 3), True),
        ((1, 1, 9, 3), True),
        ((1, 1, 3, 5), True),
        ((0, 0, 10, 6), True),
    ],
)
def test_a_box_at_the_border_of_an_image_of_10_by_6(box_xywh: tuple[float, ...], touches: bool) -> None:
    assert at_border(np.array([box_xywh], float), np.array([[6, 10]])).tolist() == [touches]


def test_the_share_outside_the_largest_part() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:8, 2:12] = True  # 60 pixels
    mask[12:16, 20:25] = True  # 20
    assert fragmented(encode(mask)) == pytest.approx(0.25)
    mask[8:12, 11:21] = True  # a bridge
    assert fragmented(encode(mask)) == 0.0


@given(arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(lambda mask: mask.any()))
def test_parts_are_those_that_scipy_finds(mask: np.ndarray) -> None:
    labelled, n = ndimage.label(mask, np.ones((3, 3)))
    expected = ndimage.sum_labels(mask, labelled, range(1, n + 1))
    assert sorted(part_areas_px(encode(mask))) == sorted(expected)


def test_a_mask_without_pixels_has_no_parts() -> None:
    with pytest.raises(ValueError, match="empty"):
        part_areas_px(encode(np.zeros((4, 4), bool)))
    with pytest.raises(ValueError, match="counts"):
        part_areas_px(Rle(size_hw=(4, 4), counts="\x7f"))


def test_priority_is_none_without_a_reason_grows_with_each_and_stays_below_1() -> None:
    n = len(WEIGHTS)
    assert priority(np.zeros((1, n))).tolist() == [0.0]
    alone = priority(np.eye(n))
    assert alone == pytest.approx(list(WEIGHTS.values()))
    assert priority(np.ones((1, n)))[0] == pytest.approx(1 - math.prod(1 - weight for weight in WEIGHTS.values()))
    assert np.all(priority(np.tril(np.ones((n, n))))[1:] > priority(np.tril(np.ones((n, n))))[:-1])
