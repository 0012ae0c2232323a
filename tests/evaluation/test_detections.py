"""What was found: results files, and candidates as lower thresholds would have taken them."""

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from autolabel.errors import BadInput
from autolabel.evaluation.detections import added_below, read_results
from autolabel.evaluation.ground_truth import read_ground_truth
from autolabel.evaluation.matching import match_categories
from autolabel.labels.types import Instance
from autolabel.masks import rle
from autolabel.selection.rules import Rules, select, split_by_rules
from tests.support.cases import A, B, ground_truth, image, rectangle, result

FLOOR = 0.2
THRESHOLD_OF = {1: 0.5, 2: 0.35}


def found_on_an_image(seed: int) -> list[Instance]:
    """Crowded enough for every rule to matter."""
    rng = np.random.default_rng(seed)
    masks = [rectangle(*rng.integers(0, 12, 2).tolist(), *rng.integers(8, 14, 2).tolist()) for _ in range(30)]
    return [
        Instance(
            category_id=int(rng.integers(1, 3)),
            prompt_id=0,
            phrase=None,
            score=float(rng.uniform(FLOOR, 1)),
            presence=1.0,
            rle=mask,
            area_px=rle.area(mask),
            bbox_xywh=rle.bbox_xywh(mask),
        )
        for mask in masks
    ]


@pytest.mark.parametrize(
    "rules",
    [
        Rules(),
        Rules(nms_within=0.4),
        Rules(nms_within=0.6, nms_across=0.4),
        Rules(nms_within=0.4, metric="ios", max_instances_of={1: 3}),
        Rules(nms_within=0.7, max_instances=6),
        Rules(min_area_px=90, max_area_px=160, nms_across=0.3, max_instances=8),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_added_is_what_every_lower_threshold_would_add(seed: int, rules: Rules) -> None:
    found = found_on_an_image(seed)
    in_force = replace(rules, threshold_of=THRESHOLD_OF)
    labels, candidates = split_by_rules(found, in_force)
    for category_id, threshold in THRESHOLD_OF.items():
        own = [one for one in labels if one.category_id == category_id]
        added = added_below(labels, candidates, category_id, FLOOR, in_force)
        for lower in np.linspace(FLOOR, threshold, 7):
            lowered = replace(rules, threshold_of={**THRESHOLD_OF, category_id: float(lower)})
            expected = [one for one in select(found, lowered) if one.category_id == category_id]
            assert [*own, *(one for one in added if one.score > lower)] == expected


def test_rules_that_let_nothing_more_in_add_nothing() -> None:
    labels, candidates = split_by_rules(found_on_an_image(0), Rules(threshold_of=THRESHOLD_OF, max_instances=2))
    assert added_below(labels, candidates, 1, FLOOR, Rules(threshold_of=THRESHOLD_OF, max_instances=2)) == []
    assert added_below(labels, [], 1, FLOOR, Rules(threshold_of=THRESHOLD_OF)) == []


def read(results: Any, threshold: float = 0.5) -> Any:
    truth = read_ground_truth(orjson.dumps(ground_truth([image(1), image(2)], [], ["car", "dog"])), "gt.json")
    ontology = truth.ontology("gt.json")
    document = results if isinstance(results, bytes) else orjson.dumps(results)
    return read_results(document, "r.json", truth, ontology, match_categories(truth, ontology), threshold)


def test_results_are_ranked_and_those_above_the_threshold_are_labels() -> None:
    box = {"bbox": [0, 0, 60, 40]}  # of no meaning beside a mask
    detections = read([result(1, 2, A, 0.3), {**result(1, 2, B, 0.9), **box}, result(2, 1, A, 0.5)])
    assert [(one.score, one.is_label) for one in detections.of[1, 2]] == [(0.9, True), (0.3, False)]
    assert [(one.score, one.is_label) for one in detections.of[2, 1]] == [(0.5, False)]
    assert detections.threshold_of == {1: 0.5, 2: 0.5}


def test_all_problems_of_results_are_told_at_once() -> None:
    good = result(1, 1, A)
    wrong = [
        {**good, "image_id": 3},
        {**good, "category_id": "1"},
        {**good, "score": 1.5},
        {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [0, 0, 5, 5]},
        {**good, "segmentation": {"size": [9, 9], "counts": "Q"}},
        7,
    ]
    with pytest.raises(BadInput) as caught:
        read([good, *wrong])
    assert caught.value.problems == (
        "r.json results[1]: image_id 3 is not of an image of the ground truth",
        "r.json results[2]: category_id '1' is not of a category of the ground truth",
        "r.json results[3]: (image '1.jpg') score 1.5 is not a number from 0 to 1",
        "r.json results[4]: (image '1.jpg') segmentation is None, neither run lengths nor polygons",
        "r.json results[5]: (image '1.jpg') the mask's size [9, 9] is not the image's, [height, width] [40, 60]",
        "r.json results[6]: expected a result, not 7",
    )


@pytest.mark.parametrize("document", [b"", b"nonsense", {"annotations": []}])
def test_what_is_no_results_file_is_told(document: Any) -> None:
    with pytest.raises(BadInput, match=r"^r\.json: "):
        read(document)
