"""Each reason for doubt on cases with known answers."""

import math

import numpy as np
import pytest

from autolabel.masks.rle import encode
from autolabel.review.reasons import (
    WEIGHTS,
    at_border,
    categories_disagree,
    fragmented,
    near_threshold,
    present_without_instance,
    priority,
    synonyms_disagree,
)


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
    whole = mask.copy()
    whole[8:12, 11:21] = True  # a bridge
    rles = [encode(mask), encode(whole)]
    size_hw = np.array([rle.size_hw for rle in rles])
    assert fragmented([rle.counts for rle in rles], size_hw) == pytest.approx([0.25, 0.0])


def test_priority_is_none_without_a_reason_grows_with_each_and_stays_below_1() -> None:
    n = len(WEIGHTS)
    assert priority(np.zeros((1, n))).tolist() == [0.0]
    alone = priority(np.eye(n))
    assert alone == pytest.approx(list(WEIGHTS.values()))
    assert priority(np.ones((1, n)))[0] == pytest.approx(1 - math.prod(1 - weight for weight in WEIGHTS.values()))
    assert np.all(priority(np.tril(np.ones((n, n))))[1:] > priority(np.tril(np.ones((n, n))))[:-1])
