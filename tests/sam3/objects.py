"""Prompts of every kind for single objects, and Meta's predictor asked for one of them at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.sam3.architecture import INTERACTIVE_ALONE, TINY, Part, build, seed_weights
from autolabel.sam3.engine import Engine
from autolabel.sam3.objects import ObjectQuery, ObjectResult
from autolabel.sam3.preprocess import normalize, resize
from autolabel.sam3.sizes import object_bytes
from autolabel.sam3.upstream import Sam3Image
from tests.sam3.pairs import IMAGES
from tests.sam3.scenes import SEED

SIDE, R = 4 * TINY.feature_side, TINY.resolution
PIXELS = torch.stack([resize(rgb, R) for rgb in IMAGES])


def seeded(*, both: bool = False) -> Sam3Image:
    model = build(TINY, parts=frozenset(Part) if both else INTERACTIVE_ALONE)
    seed_weights(model, SEED)
    return model


def engine(model: Sam3Image, objects_at_once: int = 1000, *, compiled: bool = False) -> Engine:
    """An engine with memory for so many objects: images are fewer, since each takes more."""
    memory_mb = max(1, objects_at_once * object_bytes(TINY) // 1_000_000)
    return Engine(model, TINY, device=torch.device("cpu"), memory_mb=memory_mb, compiled=compiled)


@dataclass(frozen=True)
class Asked:
    """Points and labels of a prompt, the corners of a box first, and whether it has a mask to refine."""

    n_points: int
    boxed: bool = False
    masked: bool = False


KINDS = {
    "a point": Asked(1),
    "points": Asked(4),
    "a box": Asked(0, boxed=True),
    "a box and a point": Asked(1, boxed=True),
    "a box and points": Asked(3, boxed=True),
    "a mask": Asked(0, masked=True),
    "a mask and a point": Asked(1, masked=True),
    "a mask, a box and points": Asked(2, boxed=True, masked=True),
}


def query(rng: np.random.Generator, asked: Asked, image: int) -> ObjectQuery:
    corners = np.sort(rng.random((2, 2)), axis=0) if asked.boxed else np.zeros((0, 2))
    points = np.concatenate([corners, rng.random((asked.n_points, 2))])
    signs = rng.integers(0, 2, asked.n_points)
    if asked.n_points == 1:
        signs[:] = 1
    mask = torch.from_numpy(rng.normal(0, 20, (SIDE, SIDE)).astype(np.float32)) if asked.masked else None
    return ObjectQuery(
        image=image,
        points_xy=tuple((float(x), float(y)) for x, y in points),
        labels=(*((2, 3) if asked.boxed else ()), *map(int, signs)),
        mask_logits=mask,
    )


def queries(seed: int, n: int) -> list[ObjectQuery]:
    """Of all kinds, on all images."""
    rng = np.random.default_rng(seed)
    kinds = list(KINDS.values())
    return [query(rng, kinds[int(rng.integers(len(kinds)))], int(rng.integers(len(IMAGES)))) for _ in range(n)]


def close(some: Sequence[ObjectResult], others: Sequence[ObjectResult]) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-6)
        assert one.presence == pytest.approx(other.presence, abs=1e-6)
        torch.testing.assert_close(one.mask_logits, other.mask_logits, atol=1e-5, rtol=0)


class OneAtATime:
    """Meta's predictor, with the pixels that the engine has: its own preparation of them differs by rounding."""

    def __init__(self, predictor: Any) -> None:
        self._predictor = predictor
        self._image: int | None = None
        encode = predictor.model.forward_image
        predictor.model.forward_image = lambda _: encode(normalize(PIXELS[self._image][None]))

    def ask(self, asked: ObjectQuery, *, multimask: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The masks' logits (1 or 3, 4s, 4s), which it clamps, and their predicted IoUs."""
        rgb = IMAGES[asked.image]
        if self._image != asked.image:
            self._image = asked.image
            self._predictor.set_image(rgb)
        height, width = rgb.shape[:2]
        points = np.array(asked.points_xy).reshape(-1, 2) * (width, height)
        boxed = asked.labels[:2] == (2, 3)
        own = slice(2 if boxed else 0, None)
        labels = np.array(asked.labels)[own]
        _, ious, logits = self._predictor.predict(
            point_coords=points[own] if len(labels) else None,
            point_labels=labels if len(labels) else None,
            box=points[:2].ravel() if boxed else None,
            mask_input=None if asked.mask_logits is None else asked.mask_logits[None].clamp(-32, 32).numpy(),
            multimask_output=multimask,
        )
        return torch.from_numpy(logits), torch.from_numpy(ious)
