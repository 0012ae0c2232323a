"""SAM3's own metrics, held against Meta's evaluator."""

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import orjson
import pytest

from autolabel.evaluation.concept_metrics import concept_metrics
from tests.support.cases import A, B, C, Document, annotation, compared, ground_truth, image, random_case, result

EPSILONS = 2e-4  # what the constants in Meta's denominators come to


def meta_module() -> Any:
    """`sam3.eval.cgf1_eval` alone: importing its package would import the model."""
    package = importlib.util.find_spec("sam3")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "eval" / "cgf1_eval.py"
    spec = importlib.util.spec_from_file_location("cgf1_eval", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_meta(truth: Document, results: list[Document], folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures and counts of Meta's evaluator, to which each pair of an image and a category is an image."""
    pairs = [(one["id"], category["id"]) for one in truth["images"] for category in truth["categories"]]
    number_of = {pair: number for number, pair in enumerate(pairs, start=1)}

    def moved(one: Document) -> Document:
        return {**one, "image_id": number_of[one["image_id"], one["category_id"]], "category_id": 1}

    images = [
        {"id": number, "height": 40, "width": 60, "is_instance_exhaustive": True} for number in number_of.values()
    ]
    document = {
        "images": images,
        "annotations": [moved(one) for one in truth["annotations"]],
        "categories": [{"id": 1, "name": "object"}],
    }
    (folder / "truth.json").write_bytes(orjson.dumps(document))
    (folder / "results.json").write_bytes(orjson.dumps([moved(one) for one in results]))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = meta_module().CGF1Evaluator(str(folder / "truth.json"))
        figures = evaluator.evaluate(str(folder / "results.json"))
    return figures, evaluator.coco_evals[0].eval


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_meta(seed: int, crowds: bool, tmp_path: Path) -> None:
    truth, results = random_case(seed, crowds=crowds)
    figures, counts = by_meta(truth, results, tmp_path)
    ours = concept_metrics(compared(truth, results)[0])
    assert ours.tp.tolist() == counts["TPs"].tolist()
    assert ours.fp.tolist() == counts["positive_micro_FPs"].tolist()
    assert ours.fn.tolist() == counts["FNs"].tolist()
    assert ours.il_mcc == pytest.approx(figures["cgF1_eval_segm_IL_MCC"], abs=EPSILONS)
    assert ours.pm_f1 == pytest.approx(figures["cgF1_eval_segm_positive_micro_F1"], abs=EPSILONS)
    assert ours.cg_f1 == pytest.approx(100 * figures["cgF1_eval_segm_cgF1"], abs=100 * EPSILONS)
    recall = ours.il_tp / (ours.il_tp + ours.il_fn)
    false_alarms = ours.il_fp / (ours.il_fp + ours.il_tn)
    assert recall == pytest.approx(figures["cgF1_eval_segm_IL_recall"], abs=EPSILONS)
    assert false_alarms == pytest.approx(figures["cgF1_eval_segm_IL_FPR"], abs=EPSILONS)
    assert recall > 0.1
    assert 0.05 < false_alarms < 0.95


# On image 1 there are A and B; on images 2 and 3 nothing.
BOTH = [annotation(1, 1, A), annotation(1, 1, B)]
FOUND = [result(1, 1, A), result(1, 1, B)]


@pytest.mark.parametrize(
    ("annotations", "results", "il_mcc", "pm_f1", "cg_f1"),
    [
        pytest.param(BOTH, FOUND, 1.0, 1.0, 100.0, id="perfect"),
        pytest.param(BOTH, [*FOUND, result(2, 1, C)], 0.5, 1.0, 50.0, id="a false positive where there is nothing"),
        pytest.param(BOTH, [*FOUND, result(1, 1, C)], 1.0, 0.8, 80.0, id="a false positive beside the objects"),
        pytest.param(BOTH, FOUND[:1], 1.0, 2 / 3, 200 / 3, id="one of two missed"),
        pytest.param(BOTH, [result(2, 1, C)], -0.5, 0.0, 0.0, id="all wrong"),
        pytest.param(BOTH, [], 0.0, 0.0, 0.0, id="nothing found"),
        pytest.param(BOTH, [result(1, 1, A, 0.5), result(1, 1, B)], 1.0, 2 / 3, 200 / 3, id="a score at the threshold"),
        pytest.param([], [], None, None, None, id="nothing there"),
        pytest.param([], FOUND, None, None, None, id="nothing there and something found"),
        pytest.param(
            [annotation(id, 1, A) for id in (1, 2, 3)],
            [result(id, 1, A) for id in (1, 2, 3)],
            *(None, 1.0, None),
            id="no image without",
        ),
    ],
)
def test_known_answers(
    annotations: list[Any], results: list[Any], il_mcc: float | None, pm_f1: float | None, cg_f1: float | None
) -> None:
    truth = ground_truth([image(1), image(2), image(3)], annotations)
    metrics = concept_metrics(compared(truth, results)[0])
    expected = [None if one is None else pytest.approx(one) for one in (il_mcc, pm_f1, cg_f1)]
    assert [metrics.il_mcc, metrics.pm_f1, metrics.cg_f1] == expected


def test_pairs_that_are_not_known_exhaustively_are_no_pairs() -> None:
    images = [
        image(1, neg_category_ids=[]),
        image(2, neg_category_ids=[1]),
        image(3, neg_category_ids=[]),  # says nothing
        image(4, neg_category_ids=[], not_exhaustive_category_ids=[1]),
    ]
    truth = ground_truth(images, [annotation(1, 1, A), annotation(4, 1, A)])
    metrics = concept_metrics(compared(truth, [result(id, 1, A) for id in (1, 3, 4)])[0])
    assert (metrics.il_tp, metrics.il_fn, metrics.il_fp, metrics.il_tn) == (1, 0, 0, 1)
    assert metrics.cg_f1 == 100
