"""Ground truths and results of rectangles, written as COCO files are, and read as `autolabel evaluate` reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from autolabel.evaluation.comparison import Comparison, compare
from autolabel.evaluation.detections import Detections, read_results
from autolabel.evaluation.ground_truth import read_ground_truth
from autolabel.evaluation.matching import match_categories
from autolabel.masks import rle
from autolabel.masks.rle import Rle

Document = dict[str, Any]
SIZE_HW = (40, 60)


def rectangle(left: int, top: int, width: int, height: int) -> Rle:
    mask = np.zeros(SIZE_HW, bool)
    mask[top : top + height, left : left + width] = True
    return rle.encode(mask)


A, B, C = rectangle(2, 2, 10, 10), rectangle(20, 2, 10, 10), rectangle(40, 20, 12, 12)
HALF_OF_A = rectangle(2, 2, 10, 5)  # an IoU of 0.5


def image(id: int, **fields: Any) -> Document:
    return {"id": id, "file_name": f"{id}.jpg", "height": SIZE_HW[0], "width": SIZE_HW[1], **fields}


def annotation(image_id: int, category_id: int, mask: Rle, *, crowd: int = 0) -> Document:
    return {
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": mask.to_coco(),
        "area": rle.area(mask),
        "bbox": list(rle.bbox_xywh(mask)),
        "iscrowd": crowd,
    }


def ground_truth(
    images: Sequence[Document], annotations: Sequence[Document], names: Sequence[str] = ("car",)
) -> Document:
    categories = [{"id": id, "name": name} for id, name in enumerate(names, start=1)]
    numbered = [{"id": id, **annotation} for id, annotation in enumerate(annotations, start=1)]
    return {"images": list(images), "annotations": numbered, "categories": categories}


def result(image_id: int, category_id: int, mask: Rle, score: float = 0.9) -> Document:
    return {"image_id": image_id, "category_id": category_id, "segmentation": mask.to_coco(), "score": score}


def compared(truth: Document, results: Sequence[Document], threshold: float = 0.5) -> tuple[Comparison, Detections]:
    known = read_ground_truth(orjson.dumps(truth), "truth.json")
    ontology = known.ontology("truth.json")
    match = match_categories(known, ontology)
    detections = read_results(orjson.dumps(results), "results.json", known, ontology, match, threshold)
    return compare(known, detections, match, known.image.keys()), detections


def random_case(seed: int, *, crowds: bool) -> tuple[Document, list[Document]]:
    """Make images with objects of three categories, found more or less well, overlooked, invented, or found twice."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []

    def somewhere() -> tuple[int, int, int, int]:
        width, height = rng.integers(3, 20, 2).tolist()
        return int(rng.integers(0, 60 - width)), int(rng.integers(0, 40 - height)), width, height

    for image_id in range(1, 13):
        for category_id in (1, 2, 3):
            for _ in range(int(rng.integers(0, 4)) * int(rng.random() < 0.6)):
                box = somewhere()
                crowd = int(crowds and rng.random() < 0.2)
                annotations.append(annotation(image_id, category_id, rectangle(*box), crowd=crowd))
                for _ in range(int(rng.choice([0, 1, 1, 1, 2]))):
                    jitter = rng.integers(-1, 2, 4)
                    left, top, width, height = np.maximum(np.array(box) + jitter, (0, 0, 2, 2)).tolist()
                    results.append(result(image_id, category_id, rectangle(left, top, width, height)))
            if rng.random() < 0.3:
                results.append(result(image_id, category_id, rectangle(*somewhere())))
    # All different, and none the threshold: what software makes of equal ones differs.
    scores = (rng.permutation(len(results)) + 0.25) / len(results)
    scored = [{**result, "score": float(score)} for result, score in zip(results, scores, strict=True)]
    return ground_truth([image(id) for id in range(1, 13)], annotations, ("car", "person", "sign")), scored
