"""Why a person should look at an image: the mistakes to be expected on it, counted by kind.

Scores are taken for probabilities: that an instance is what it is said to be, and presence that its category is in the
image at all. Each reason is then a number of mistakes, by a function of its own, and `priority` is their sum. No weight
is fitted to any data; a model whose scores are no probabilities still ranks by them (`jobs/benchmark.py review`).

low_score
    Labels that are false: 1 - score of each.
missed_candidate
    Objects without a label: the square of the score of each candidate that lies on no better instance of its category.
    Below a threshold many queries are pieces of objects: of candidates with scores around 0.25, 0.35 and 0.45, 4, 10
    and 22% were missed objects (demo scenes of seeds 21 and 24).
categories_disagree
    Labels of two categories on one object, where only one can be right: the product of their scores, times how unusual
    it is that the two share an object (`overlaps`).
synonyms_disagree
    Objects that another phrase of the category is less sure of: the difference of the scores.
nested
    Labels of one category of which one lies in the other, so that one is wrong: the product of their scores.
fragmented
    Masks in pieces: the share of each that lies outside its largest part.
present_without_instance
    Categories said to be present of which there is no label: their presence, less what their candidates count for.

That a label touches the image's border is no reason: such labels were as often right as others of the same score.
"""

from collections.abc import Sequence

import numpy as np

from autolabel.labels.columns import Floats, Ints
from autolabel.masks.components import shares_outside_largest

NESTED_IOS = 0.8  # of the smaller label, which then is a part of the larger one

REASONS = (
    "low_score",
    "missed_candidate",
    "categories_disagree",
    "synonyms_disagree",
    "nested",
    "fragmented",
    "present_without_instance",
)


def priority(reasons: Floats) -> Floats:
    """Return (R,) the mistakes to be expected, of reasons (R, 7) in the order of REASONS."""
    total: Floats = reasons.sum(axis=-1)
    return total


def low_score(score: Floats) -> Floats:
    """Return the probability that a label is false."""
    return 1 - score


def missed_candidate(score: Floats) -> Floats:
    """Return the probability that a candidate is an object without a label."""
    return score**2


def both_right(score: Floats, other_score: Floats) -> Floats:
    """Return the probability that two labels are right which cannot both be: one mistake more than scores tell."""
    return score * other_score


def synonyms_disagree(score: Floats, other_score: Floats) -> Floats:
    """Return by how much less sure another phrase is of an object."""
    less: Floats = np.maximum(score - other_score, 0)
    return less


def fragmented(counts: Sequence[str], size_hw: Ints) -> Floats:
    """Return (N,) the share of each mask's pixels outside the largest of its 8-connected parts.

    Raises:
        ValueError: a mask does not decode, or is empty.
    """
    return shares_outside_largest(counts, size_hw)


def present_without_instance(presence: Floats, n_labels: Ints, missed: Floats) -> Floats:
    """Return the probability that a category is present and neither labelled nor `missed`, its candidates' count."""
    return np.where(n_labels == 0, np.maximum(presence - missed, 0), 0)
