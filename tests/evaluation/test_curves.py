"""Precision and recall by threshold, held against pycocotools' assignment, and thresholds that do what they say."""

import contextlib
import io
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from autolabel.evaluation.curves import (
    MOST_POINTS,
    CategoryCurve,
    Quality,
    category_curves,
    quality_by_threshold,
    thinned,
    threshold_between,
)
from tests.support.cases import (
    HALF_OF_A,
    A,
    B,
    C,
    Document,
    annotation,
    compared,
    ground_truth,
    image,
    random_case,
    result,
)


def curves_of(truth: Document, results: Sequence[Document], threshold: float = 0.5) -> list[CategoryCurve]:
    comparison, detections = compared(truth, results, threshold)
    return category_curves(comparison, detections.threshold_of, detections.floor_of)


def counts(quality: Quality) -> tuple[int, int, int]:
    return quality.tp, quality.fp, quality.fn


def by_pycocotools(truth: Document, results: list[Document], category_id: int) -> tuple[int, int, int]:
    """True positives, false positives and false negatives at an IoU of 0.5, all results taken for labels."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(deepcopy(results)), "segm")
        evaluation.params.catIds = [category_id]
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.evaluate()
    matched = [one for one in evaluation.evalImgs if one is not None]
    free = [(one["dtMatches"][0] > 0)[~one["dtIgnore"][0].astype(bool)] for one in matched]
    n_objects = sum(int((np.array(one["gtIgnore"]) == 0).sum()) for one in matched)
    tp = sum(int(right.sum()) for right in free)
    return tp, sum(map(len, free)) - tp, n_objects - tp


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_labels_are_assigned_as_pycocotools_assigns_them(seed: int, threshold: float, crowds: bool) -> None:
    truth, results = random_case(seed, crowds=crowds)
    labels = [one for one in results if one["score"] > threshold]
    ours = {curve.category_id: counts(curve.in_force) for curve in curves_of(truth, results, threshold)}
    assert ours == {category_id: by_pycocotools(truth, labels, category_id) for category_id in (1, 2, 3)}
    assert min(sum(kind) for kind in zip(*ours.values(), strict=True)) > 0


@pytest.mark.parametrize("seed", range(3))
def test_every_point_is_what_its_threshold_gives(seed: int) -> None:
    truth, results = random_case(seed, crowds=True)
    curves = curves_of(truth, results)
    assert sum(len(curve.points) for curve in curves) > 20
    for place, curve in enumerate(curves):
        for point in curve.points:
            assert counts(curves_of(truth, results, point.threshold)[place].in_force) == counts(point)
        assert (curve.best.f1 if curve.best else 0) == max(point.f1 or 0 for point in curve.points)


@pytest.mark.parametrize(
    ("results", "in_force", "best"),
    [
        pytest.param([(A, 0.9), (B, 0.8)], (2, 0, 0), (0.4, 1.0), id="perfect"),
        pytest.param([(A, 0.9), (B, 0.4)], (1, 0, 1), (0.2, 1.0), id="a threshold too high"),
        pytest.param([(A, 0.9), (B, 0.8), (C, 0.6)], (2, 1, 0), (0.7, 1.0), id="a threshold too low"),
        pytest.param([(A, 0.9), (A, 0.8)], (1, 1, 1), (0.85, 2 / 3), id="the same object twice"),
        pytest.param([(HALF_OF_A, 0.9)], (1, 0, 1), (0.45, 2 / 3), id="an IoU of just 0.5"),
        pytest.param([(C, 0.9)], (0, 1, 2), None, id="nothing right"),
        pytest.param([], (0, 0, 2), None, id="nothing found"),
        pytest.param([(A, 0.9), (B, 0.9), (C, 0.9)], (2, 1, 0), (0.45, 0.8), id="equal scores"),
        pytest.param([(A, 0.5)], (0, 0, 2), (0.25, 2 / 3), id="a score at the threshold"),
        pytest.param([(A, 1.0), (B, 0.0)], (1, 0, 1), (0.5, 2 / 3), id="a score of nothing is never above"),
    ],
)
def test_known_answers(
    results: list[tuple[object, float]], in_force: tuple[int, int, int], best: tuple[float, float] | None
) -> None:
    truth = ground_truth([image(1)], [annotation(1, 1, A), annotation(1, 1, B)])
    (curve,) = curves_of(truth, [result(1, 1, mask, score) for mask, score in results])  # type: ignore[arg-type]
    assert counts(curve.in_force) == in_force
    assert (curve.best and (curve.best.threshold, curve.best.f1)) == (best and pytest.approx(best))


def test_without_objects_recall_is_undefined_and_no_threshold_is_best() -> None:
    (curve,) = curves_of(ground_truth([image(1)], []), [result(1, 1, A)])
    assert (curve.in_force.precision, curve.in_force.recall, curve.in_force.f1) == (0, None, 0)
    assert curve.best is None
    (silent,) = curves_of(ground_truth([image(1)], []), [])
    assert (silent.in_force.precision, silent.in_force.recall, silent.in_force.f1) == (None, None, None)


def test_beside_objects_that_are_not_all_known_nothing_is_false() -> None:
    images = [image(1, neg_category_ids=[], not_exhaustive_category_ids=[1]), image(2), image(3, neg_category_ids=[1])]
    truth = ground_truth(images, [annotation(1, 1, A), annotation(1, 1, B)])
    (curve,) = curves_of(truth, [result(1, 1, A), result(1, 1, C), result(2, 1, C), result(3, 1, C)])
    assert counts(curve.in_force) == (1, 1, 1)  # false on image 3 alone


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_threshold_lies_between(one: float, other: float) -> None:
    low, high = sorted((one, other))
    if low < high:
        assert low <= threshold_between(low, high) < high


@pytest.mark.parametrize(
    ("low", "high", "short"), [(0.2, 0.9, 0.55), (0.731, 0.7349, 0.733), (0.5, 0.50001, 0.5), (0.49999, 0.50001, 0.5)]
)
def test_a_threshold_has_few_digits(low: float, high: float, short: float) -> None:
    assert threshold_between(low, high) == short


def test_long_curves_are_thinned_and_keep_their_best_point() -> None:
    rng = np.random.default_rng(0)
    judged = [(float(score), bool(rng.random() < score)) for score in rng.random(5000)]
    points = quality_by_threshold(judged, n_objects=3000, floor=0.0)
    assert len(points) == 5000
    for best in (points[1], points[2501], points[-1]):
        kept = thinned(points, best)
        assert len(kept) <= MOST_POINTS
        assert (kept[0], kept[-1]) == (points[0], points[-1])
        assert best in kept
        assert kept == sorted(kept, key=lambda point: -point.threshold)
