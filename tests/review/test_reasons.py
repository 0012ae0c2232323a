"""Each reason for doubt on cases with known answers."""

import numpy as np
import pytest

from autolabel.masks.rle import encode
from autolabel.review.reasons import (
    REASONS,
    both_right,
    fragmented,
    low_score,
    missed_candidate,
    present_without_instance,
    priority,
    synonyms_disagree,
)


def test_scores_are_taken_for_probabilities() -> None:
    score = np.array([1.0, 0.8, 0.5])
    assert low_score(score) == pytest.approx([0.0, 0.2, 0.5])
    assert missed_candidate(score) == pytest.approx([1.0, 0.64, 0.25])
    assert both_right(score, score[::-1]) == pytest.approx([0.5, 0.64, 0.5])


def test_synonyms_disagree_where_another_phrase_is_less_sure() -> None:
    assert synonyms_disagree(np.array([0.9, 0.5, 0.5]), np.array([0.3, 0.5, 0.6])) == pytest.approx([0.6, 0.0, 0.0])


@pytest.mark.parametrize(
    ("presence", "n_labels", "missed", "doubt"),
    [(1.0, 0, 0.0, 1.0), (0.75, 0, 0.25, 0.5), (0.2, 0, 0.5, 0.0), (1.0, 1, 0.0, 0.0)],
)
def test_a_present_category_without_a_label(presence: float, n_labels: int, missed: float, doubt: float) -> None:
    said = present_without_instance(np.array([presence]), np.array([n_labels]), np.array([missed]))
    assert said == pytest.approx([doubt])


def test_the_share_outside_the_largest_part() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:8, 2:12] = True  # 60 pixels
    mask[12:16, 20:25] = True  # 20
    whole = mask.copy()
    whole[8:12, 11:21] = True  # a bridge
    rles = [encode(mask), encode(whole)]
    size_hw = np.array([rle.size_hw for rle in rles])
    assert fragmented([rle.counts for rle in rles], size_hw) == pytest.approx([0.25, 0.0])


def test_priority_is_the_number_of_mistakes_of_every_kind() -> None:
    counts = np.arange(2.0 * len(REASONS), dtype=np.float64).reshape(2, -1)
    assert priority(counts).tolist() == counts.sum(axis=1).tolist()
