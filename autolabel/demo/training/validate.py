"""How well a model in training answers questions about scenes it has not seen: a quick look, not the final figures."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from autolabel.demo.average_precision import average_precision
from autolabel.demo.training.examples import Example
from autolabel.demo.training.prompts import Question, ask
from autolabel.masks.rle import Rle, area, bbox_xywh, encode
from autolabel.sam3.architecture import Architecture
from autolabel.sam3.engine import Engine, Pair
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.upstream import Sam3Image

THRESHOLD, LOWEST_SCORE = 0.5, 0.05
PER_SCENE = 6


def validate(model: Sam3Image, architecture: Architecture, examples: Sequence[Example], seed: int) -> dict[str, float]:
    """Mask AP and AP50 by way of asking, over (scene, question) pairs, and the share of absent phrases that fired."""
    engine = Engine(model, architecture, device=next(model.parameters()).device, memory_mb=200)
    rng = np.random.default_rng(seed)
    truth: dict[str, list[dict[str, Any]]] = defaultdict(list)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    fired: list[bool] = []
    n_pairs = 0
    for example in examples:
        questions = ask(rng, example.kinds, PER_SCENE)
        results = engine.segment(example.pixels[None], [_pair(question, example) for question in questions])
        for question, result in zip(questions, results, strict=True):
            n_pairs += 1
            if question.way == "absent":
                fired.append(result.best_score > THRESHOLD)
            way = "text" if question.way == "absent" else question.way
            for k in sorted(question.answer):
                rle = encode(example.ids == k + 1)
                truth[way].append(_annotation(n_pairs, rle) | {"area": area(rle), "bbox": bbox_xywh(rle)})
            masks = logits_to_rles(result.mask_logits, example.ids.shape)
            found[way] += [
                _annotation(n_pairs, rle) | {"score": float(score)}
                for score, rle in zip(result.scores, masks, strict=True)
            ]
    figures = {"absent fired": float(np.mean(fired))}
    for way in sorted(truth):
        dataset = _dataset(truth[way], n_pairs, architecture.resolution)
        figures[f"{way} AP"], figures[f"{way} AP50"] = average_precision(dataset, found[way])
    return figures


def _pair(question: Question, example: Example) -> Pair:
    return Pair(
        image=0,
        text=question.text,
        boxes_cxcywh=tuple(tuple(example.boxes_cxcywh[k].tolist()) for k, _ in question.boxes),
        positive=tuple(positive for _, positive in question.boxes),
        threshold=LOWEST_SCORE,
    )


def _annotation(image_id: int, rle: Rle) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": 1, "segmentation": rle.to_coco()}


def _dataset(annotations: list[dict[str, Any]], n_images: int, side_px: int) -> dict[str, Any]:
    """Annotations of numbered square images as COCO."""
    return {
        "images": [{"id": number, "height": side_px, "width": side_px} for number in range(1, n_images + 1)],
        "categories": [{"id": 1}],
        "annotations": [{"id": number, "iscrowd": 0, **one} for number, one in enumerate(annotations, start=1)],
    }
