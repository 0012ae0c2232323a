"""Given objects against the annotations of their own ids."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from autolabel.config.compose import compose_config
from autolabel.evaluation import evaluate
from autolabel.evaluation.ground_truth import GroundTruth, read_ground_truth
from autolabel.evaluation.object_metrics import ObjectMetrics, object_metrics
from autolabel.masks.rle import Rle, encode
from tests.support.made import SIZE_HW, Mask, box_mask
from tests.support.made_objects import NO_MASK, MadeObject, make_objects_output

WHOLE, HALF, QUARTER = box_mask(0, 0, 20, 20), box_mask(0, 0, 10, 20), box_mask(0, 0, 10, 10)
MOST = box_mask(0, 0, 20, 16)  # IoU of 0.8 with WHOLE


def annotation(id: int, mask: Mask, image_id: int = 1, **fields: Any) -> dict[str, Any]:
    segmentation = encode(mask).to_coco()
    return {"id": id, "image_id": image_id, "category_id": 3, "segmentation": segmentation, **fields}


def document(*annotations: dict[str, Any]) -> bytes:
    height, width = SIZE_HW
    images = [{"id": n, "file_name": f"{n}.jpg", "width": width, "height": height} for n in (1, 2)]
    categories = [{"id": 3, "name": "car"}, {"id": 7, "name": "sign"}]
    return orjson.dumps({"images": images, "categories": categories, "annotations": list(annotations)})


def truth(*annotations: dict[str, Any]) -> GroundTruth:
    return read_ground_truth(document(*annotations), "truth.json")


def masks(**of: Mask) -> Mapping[tuple[int, str], Rle]:
    """Return masks by the ids of their objects on the first image."""
    return {(1, name.removeprefix("_")): encode(mask) for name, mask in of.items()}


def test_each_object_is_compared_with_its_own_annotation() -> None:
    known = truth(annotation(1, WHOLE), annotation(2, WHOLE), annotation(3, HALF, object_id="x"), annotation(4, WHOLE))
    found = object_metrics(known, masks(_1=WHOLE, _2=HALF, x=HALF, _4=MOST, other=WHOLE))
    assert found == ObjectMetrics(
        n=4,
        mean_iou=pytest.approx((1 + 0.5 + 1 + 0.8) / 4),  # type: ignore[arg-type]  # equal to it
        share_above_50=0.75,
        share_above_75=0.75,
        n_without_annotation=1,
    )


def test_annotations_of_one_object_are_its_parts() -> None:
    apart = box_mask(30, 20, 20, 20)
    known = truth(annotation(1, WHOLE, object_id="x"), annotation(2, apart, object_id="x"))
    found = object_metrics(known, masks(x=WHOLE | apart))
    assert found is not None
    assert (found.n, found.mean_iou) == (1, 1.0)


def test_an_object_id_that_is_null_is_none() -> None:
    found = object_metrics(truth(annotation(1, WHOLE, object_id=None)), masks(_1=WHOLE))
    assert found is not None
    assert found.mean_iou == 1.0


def test_the_same_id_on_another_image_is_another_object() -> None:
    found = object_metrics(truth(annotation(1, WHOLE, image_id=2)), masks(_1=WHOLE))
    assert found == ObjectMetrics(n=0, mean_iou=None, share_above_50=None, share_above_75=None, n_without_annotation=1)


def test_a_crowd_is_no_objects_annotation() -> None:
    found = object_metrics(truth(annotation(1, WHOLE, iscrowd=1)), masks(_1=WHOLE))
    assert found is not None
    assert found.n == 0


def test_without_given_objects_there_is_nothing_to_say() -> None:
    assert object_metrics(truth(annotation(1, WHOLE)), {}) is None


def test_labels_of_given_objects_are_measured_empty_masks_too(tmp_path: Path) -> None:
    images = {
        "1.jpg": [MadeObject("1", 3, WHOLE, 0.9), MadeObject("2", 3, NO_MASK, 0.2)],
        "2.jpg": [MadeObject("1", 7, QUARTER, 0.8)],
    }
    output = make_objects_output(str(tmp_path / "labels"), images)
    of_sign = annotation(5, HALF, image_id=2, category_id=7, object_id=1)
    (tmp_path / "truth.json").write_bytes(document(annotation(1, WHOLE), annotation(2, MOST), of_sign))
    text = evaluate(
        compose_config("evaluate", [f"ground_truth.uri='{tmp_path}/truth.json'", f"output.uri='{output.uri}'"])
    )
    (told,) = Path(output.uri).rglob("evaluation.json")
    measured = orjson.loads(told.read_bytes())["objects"]
    assert (measured["n"], measured["n_without_annotation"]) == (3, 0)
    assert measured["mean_iou"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert "0.500" in text
    assert (measured["share_above_50"], measured["share_above_75"]) == pytest.approx((1 / 3, 1 / 3))
    prompts = next(Path(output.uri).rglob("prompts.yaml")).read_text()
    assert "phrases" not in prompts
    assert "name: car" in prompts
