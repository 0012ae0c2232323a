"""Images and prompts of every kind, as pairs for an engine; and what is taken for the same result."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from autolabel.sam3.architecture import TINY
from autolabel.sam3.engine import Engine, Pair, PairResult
from autolabel.sam3.sizes import pair_bytes
from autolabel.sam3.upstream import Sam3Image
from tests.sam3.scenes import scene

SIZES_HW = [(120, 200), (333, 97), (480, 640), (TINY.resolution, TINY.resolution)]
IMAGES = [scene(index, size_hw) for index, size_hw in enumerate(SIZES_HW)]
NEAR = (0.5, 0.4, 0.3, 0.2)
FAR = (0.1, 0.8, 0.15, 0.3)
BESIDE = (0.7, 0.2, 0.25, 0.35)
THRESHOLD = 0.5


@dataclass(frozen=True)
class Prompt:
    text: str | None
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    positive: tuple[bool, ...] = ()


PROMPTS = {
    "text": Prompt("red car"),
    "other text": Prompt("dog"),
    "long text": Prompt("a person who rides on a brown horse"),
    "a positive box": Prompt(None, (NEAR,), (True,)),
    "mixed boxes": Prompt(None, (NEAR, FAR, BESIDE), (True, False, True)),
    "text and a negative box": Prompt("wheel", (FAR,), (False,)),
    "text and boxes": Prompt("blue circle", (NEAR, BESIDE), (True, True)),
}


def pair(image: int, prompt: Prompt, threshold: float = THRESHOLD) -> Pair:
    return Pair(image=image, text=prompt.text, boxes_cxcywh=prompt.boxes, positive=prompt.positive, threshold=threshold)


def engine(model: Sam3Image, pairs_at_once: int) -> Engine:
    """An engine with memory for so many pairs."""
    return Engine(model, TINY, device=torch.device("cpu"), memory_mb=math.ceil(pairs_at_once * pair_bytes(TINY) / 1e6))


ALL_PAIRS = [pair(index, prompt) for prompt in PROMPTS.values() for index in range(len(IMAGES))]


def close(some: Sequence[PairResult], others: Sequence[PairResult]) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.presence == pytest.approx(other.presence, abs=1e-5)
        assert one.best_score == pytest.approx(other.best_score, abs=1e-5)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=1e-5)
        torch.testing.assert_close(one.mask_logits, other.mask_logits, atol=1e-3, rtol=1e-5)


def random_pairs(rng: np.random.Generator, n_images: int, n_pairs: int) -> list[Pair]:
    """Text, exemplars or both, with none to four boxes and thresholds from low to high."""
    phrases = ["dog", "red car", "a person who rides on a brown horse", "wheel", "blue circle", "x"]
    pairs = []
    for _ in range(n_pairs):
        text = str(rng.choice(phrases)) if rng.random() < 0.7 else None
        n_boxes = int(rng.integers(0 if text else 1, 5)) if text is None or rng.random() < 0.4 else 0
        centres, sizes = rng.uniform(0.2, 0.8, (n_boxes, 2)), rng.uniform(0.02, 0.4, (n_boxes, 2))
        boxes = tuple((float(x), float(y), float(w), float(h)) for (x, y), (w, h) in zip(centres, sizes, strict=True))
        prompt = Prompt(text, boxes, tuple(bool(sign) for sign in rng.random(n_boxes) < 0.7))
        pairs.append(pair(int(rng.integers(n_images)), prompt, threshold=float(rng.uniform(0.05, 0.9))))
    return pairs
