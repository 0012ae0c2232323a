"""Precision and recall of each category by threshold, and the threshold of the best F1.

A label is right if its mask overlaps an object's by an IoU of 0.5 or more. Objects are given to labels as in COCO's
evaluation: from the best score down, each label takes the free object that it overlaps most. So a label's fate depends
on better ones alone, and one assignment serves every threshold. What lies in a crowd, and what is found beside the
objects of a category that an image does not know exhaustively, is neither right nor false.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from autolabel.evaluation.comparison import ComparedPair, Comparison
from autolabel.evaluation.detections import Detection
from autolabel.evaluation.ground_truth import TruthObject
from autolabel.masks.rle import Rle, pairwise_overlap

RIGHT_IOU = 0.5
MOST_POINTS = 200

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Counts at a threshold: true and false positives, false negatives; None is undefined."""

    threshold: float
    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float | None:
        n = self.tp + self.fp
        return self.tp / n if n else None

    @property
    def recall(self) -> float | None:
        n = self.tp + self.fn
        return self.tp / n if n else None

    @property
    def f1(self) -> float | None:
        n = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / n if n else None


@dataclass(frozen=True, kw_only=True)
class CategoryCurve:
    """One category: `in_force` at the threshold in force, `points` by falling threshold, at most `MOST_POINTS`.

    `best` has the greatest F1 of all thresholds, the highest of several; None where no label would be right.
    """

    category_id: int
    n_objects: int
    in_force: Quality
    points: tuple[Quality, ...]
    best: Quality | None


def category_curves(
    comparison: Comparison, threshold_of: Mapping[int, float], floor_of: Mapping[int, float]
) -> list[CategoryCurve]:
    """Return the curve of each category, from the highest score down to its floor, below which nothing is known."""
    pairs_of: dict[int, list[ComparedPair]] = {id: [] for id in comparison.category_ids}
    for pair in comparison.pairs:
        pairs_of[pair.category_id].append(pair)
    return [_curve(id, pairs, threshold_of[id], floor_of[id]) for id, pairs in pairs_of.items()]


def _curve(category_id: int, pairs: Sequence[ComparedPair], threshold: float, floor: float) -> CategoryCurve:
    judged = [
        (one.score, one.is_label, right)
        for pair in pairs
        for one, right in zip(pair.found, verdicts(pair.found, pair.truth, exhaustive=pair.exhaustive), strict=True)
        if right is not None
    ]
    n_objects = sum(len(pair.objects) for pair in pairs)
    labels = [right for _, is_label, right in judged if is_label]
    tp = sum(labels)
    points = quality_by_threshold([(score, right) for score, _, right in judged], n_objects, floor)
    best = max(points, key=lambda point: point.f1 or 0.0, default=None)  # the first of equals
    best = best if best and best.tp else None
    return CategoryCurve(
        category_id=category_id,
        n_objects=n_objects,
        in_force=Quality(threshold=threshold, tp=tp, fp=len(labels) - tp, fn=n_objects - tp),
        points=tuple(thinned(points, best)),
        best=best,
    )


def verdicts(found: Sequence[Detection], truth: Sequence[TruthObject], *, exhaustive: bool) -> list[bool | None]:
    """Tell whether each detection, best first, is right; None for what counts neither way."""
    objects = [one for one in reversed(truth) if not one.crowd]  # of equal overlaps COCO takes the last
    crowds = [one for one in truth if one.crowd]
    masks = [one.rle for one in found]
    iou = pairwise_overlap(masks, [one.rle for one in objects], metric="iou")
    in_crowd = shares_inside(masks, [one.rle for one in crowds]).max(axis=1, initial=0.0) >= RIGHT_IOU
    free = np.ones(len(objects), bool)
    answers: list[bool | None] = []
    for row, crowded in zip(iou, in_crowd, strict=True):
        taken = int(np.argmax(np.where(free, row, -1.0))) if free.any() else None
        if taken is not None and row[taken] >= RIGHT_IOU:
            free[taken] = False
            answers.append(True)
        else:
            answers.append(None if crowded or not exhaustive else False)
    return answers


def shares_inside(masks: Sequence[Rle], crowds: Sequence[Rle]) -> Floats:
    """Return the share of each mask that lies in each crowd: (masks, crowds)."""
    if not masks or not crowds:
        return np.zeros((len(masks), len(crowds)))
    shares: Floats = coco.iou([one.to_coco() for one in masks], [one.to_coco() for one in crowds], [1] * len(crowds))
    return shares


def quality_by_threshold(judged: Sequence[tuple[float, bool]], n_objects: int, floor: float) -> list[Quality]:
    """Return what comes of every threshold of at least `floor` that makes a difference, from the highest on.

    Args:
        judged: score, and whether the detection is right; in any order.
    """
    ranked = sorted((one for one in judged if one[0] > floor), key=lambda one: -one[0])
    scores = np.array([score for score, _ in ranked])
    right = np.cumsum([is_right for _, is_right in ranked])
    last_of_equals = np.flatnonzero(np.diff(scores, append=-np.inf))
    lower = [*scores[last_of_equals[1:]].tolist(), floor][: len(last_of_equals)]
    return [
        Quality(
            threshold=threshold_between(below, float(scores[place])),
            tp=int(right[place]),
            fp=place + 1 - int(right[place]),
            fn=n_objects - int(right[place]),
        )
        for place, below in zip(last_of_equals.tolist(), lower, strict=True)
    ]


def threshold_between(low: float, high: float) -> float:
    """Return a number of few digits in [low, high): scores of `high` are above it, scores of `low` are not."""
    middle = low + (high - low) / 2
    return next((short for digits in range(2, 18) if low <= (short := round(middle, digits)) < high), low)


def thinned(points: Sequence[Quality], best: Quality | None) -> list[Quality]:
    """Return at most `MOST_POINTS` of them, evenly, with the first, the last and the best."""
    if len(points) <= MOST_POINTS:
        return list(points)
    places = set(np.linspace(0, len(points) - 1, MOST_POINTS - 1).round().astype(int).tolist())
    return [point for place, point in enumerate(points) if place in places or point is best]
