"""COCO's figures, held against pycocotools."""

import contextlib
import io
from copy import deepcopy
from typing import Any

import faster_coco_eval
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from autolabel.evaluation.coco_metrics import coco_metrics
from autolabel.masks.rle import Rle, decode, encode
from tests.support.cases import (
    SIZE_HW,
    A,
    B,
    C,
    Document,
    annotation,
    compared,
    ground_truth,
    image,
    random_case,
    rectangle,
    result,
)


def by_pycocotools(truth: Document, results: list[Document]) -> list[float]:
    """COCO's twelve figures."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(deepcopy(results)), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(figure) for figure in evaluation.stats]


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_figures_are_those_of_pycocotools(seed: int, crowds: bool) -> None:
    truth, results = random_case(seed, crowds=crowds)
    coco, ap_of = coco_metrics(compared(truth, results)[0])
    ours = [coco.AP, coco.AP50, coco.AP75, coco.APs, coco.APm, coco.APl, coco.AR, coco.ARs, coco.ARm, coco.ARl]
    theirs = by_pycocotools(truth, results)
    expected = [None if figure == -1 else pytest.approx(figure, abs=1e-6) for figure in (*theirs[:6], *theirs[8:])]
    assert ours == expected
    assert 0.1 < theirs[0] < 0.9
    of_one = {**truth, "categories": truth["categories"][1:2]}
    of_one["annotations"] = [one for one in truth["annotations"] if one["category_id"] == 2]
    only_its = [one for one in results if one["category_id"] == 2]
    assert ap_of[2] == pytest.approx(by_pycocotools(of_one, only_its)[0], abs=1e-6)


@pytest.mark.parametrize(
    ("annotations", "results", "ap", "ar"),
    [
        pytest.param([annotation(1, 1, A)], [result(1, 1, A)], 1.0, 1.0, id="perfect"),
        pytest.param([annotation(1, 1, A)], [], 0.0, 0.0, id="nothing found"),
        pytest.param([], [result(1, 1, A)], None, None, id="no object anywhere"),
        pytest.param([], [], None, None, id="nothing at all"),
        pytest.param([annotation(1, 1, A), annotation(1, 1, B)], [result(1, 1, A)], 51 / 101, 0.5, id="one of two"),
    ],
)
def test_known_answers(annotations: list[Any], results: list[Any], ap: float | None, ar: float | None) -> None:
    coco, ap_of = coco_metrics(compared(ground_truth([image(1), image(2)], annotations), results)[0])
    expected = ap and pytest.approx(ap)
    assert [coco.AP, coco.AP50, coco.boundary_AP, ap_of[1], coco.AR] == [*[expected] * 4, ar]


@pytest.mark.parametrize("times", [1, 8])  # boundaries of 1 and of 12 pixels
@pytest.mark.parametrize("seed", range(3))
def test_boundary_figures_are_those_of_faster_coco_eval(seed: int, times: int) -> None:
    """Its own evaluation of boundaries, which is not used because it takes long on large images."""
    truth, results = random_case(seed, crowds=True)
    for one in (*truth["annotations"], *results):
        large = decode(Rle(size_hw=SIZE_HW, counts=one["segmentation"]["counts"])).repeat(times, 0).repeat(times, 1)
        one |= {"segmentation": encode(large).to_coco(), "area": int(large.sum())}
    for one in truth["images"]:
        one |= {"height": one["height"] * times, "width": one["width"] * times}
    coco, _ = coco_metrics(compared(truth, results)[0])
    engine = faster_coco_eval.COCO(deepcopy(truth))
    evaluation = faster_coco_eval.COCOeval_faster(engine, engine.loadRes(deepcopy(results)), iouType="boundary")
    evaluation.run()
    assert [coco.boundary_AP, coco.boundary_AP50, coco.boundary_AP75] == pytest.approx(evaluation.stats[:3], abs=1e-9)
    assert [coco.boundary_AP] < [coco.AP]


def test_boundaries_are_harder_than_masks() -> None:
    """A column beside: the masks' IoU is 390 / 410, that of their boundaries, a pixel wide in this image, 78 / 114."""
    truth = ground_truth([image(1)], [annotation(1, 1, rectangle(5, 5, 40, 10))])
    coco, _ = coco_metrics(compared(truth, [result(1, 1, rectangle(6, 5, 40, 10))])[0])
    figures = [coco.AP, coco.boundary_AP, coco.boundary_AP50, coco.boundary_AP75]
    assert figures == pytest.approx([1.0, 0.4, 1.0, 0.0])


def test_what_is_not_known_counts_neither_way() -> None:
    found = [result(1, 1, A, 0.8), result(1, 1, B, 0.9), result(2, 1, C, 0.95)]
    everywhere = ground_truth([image(1), image(2)], [annotation(1, 1, A)])
    some = ground_truth(
        [image(1, neg_category_ids=[], not_exhaustive_category_ids=[1]), image(2)], [annotation(1, 1, A)]
    )
    figures = [coco_metrics(compared(truth, found)[0])[0].AP for truth in (everywhere, some)]
    assert figures == pytest.approx([1 / 3, 1.0])
