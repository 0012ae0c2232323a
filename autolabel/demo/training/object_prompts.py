"""Clicks and boxes on the objects of scenes, as people give them, and the mask that each stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from autolabel.sam3.interactive import CORNER, NO_POINT, OPPOSITE, POSITIVE

GROUND_SHARE, CLICK_SHARE = 0.08, 0.47  # of the prompts; the rest are boxes
BOX_SHIFT, BOX_SCALE = 0.03, 0.05  # standard deviations: of its place by its size, and of the logarithm of its size

Bools = npt.NDArray[np.bool_]


class Kind(Enum):
    """What an object is asked for by; a click on the ground asks for none."""

    CLICK, BOX, GROUND = range(3)


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectPrompts:
    """M prompts of up to two points, in pixels of the frame of R pixels, as the head takes them."""

    kinds: list[Kind]
    points: torch.Tensor  # (M, 2, 2)
    labels: torch.Tensor  # (M, 2) float
    masks: Bools  # (M, R, R) of what is meant

    @property
    def exist(self) -> torch.Tensor:
        """Return (M,) whether there is an object at all."""
        return torch.tensor([kind != Kind.GROUND for kind in self.kinds])


def draw_prompts(
    rng: np.random.Generator, ids: Sequence[npt.NDArray[np.uint8]], boxes_cxcywh: Sequence[npt.NDArray[np.float32]]
) -> ObjectPrompts:
    """Prompt for an object of each of M scenes, by its ids (R, R) and its boxes (K, 4), fractions of the frame."""
    side = ids[0].shape[0]
    points = np.zeros((len(ids), 2, 2), np.float32)
    labels = np.full((len(ids), 2), NO_POINT, np.float32)
    kinds, masks = [], []
    for m, (of_scene, boxes) in enumerate(zip(ids, boxes_cxcywh, strict=True)):
        slot = rng.integers(len(boxes))
        mask, chance = of_scene == slot + 1, rng.random()
        kind = Kind.GROUND if chance < GROUND_SHARE else Kind.CLICK if chance < GROUND_SHARE + CLICK_SHARE else Kind.BOX
        if kind == Kind.CLICK and not mask.any():  # it vanished when the scene became a square
            kind = Kind.BOX
        if kind == Kind.BOX:
            points[m], labels[m] = _loose_corners(rng, boxes[slot]).clip(0, 1) * side, (CORNER, OPPOSITE)
        else:
            points[m, 0] = _within(rng, mask if kind == Kind.CLICK else of_scene == 0)
            labels[m, 0] = POSITIVE
        kinds.append(kind)
        masks.append(mask & (kind != Kind.GROUND))
    return ObjectPrompts(
        kinds=kinds, points=torch.from_numpy(points), labels=torch.from_numpy(labels), masks=np.stack(masks)
    )


def draw_corrections(rng: np.random.Generator, found: Bools, wanted: Bools) -> tuple[torch.Tensor, torch.Tensor]:
    """Click where M masks (M, R, R) are wrong: points (M, 1, 2) and labels (M, 1), NO_POINT where nothing is."""
    points = np.zeros((len(found), 1, 2), np.float32)
    labels = np.full((len(found), 1), NO_POINT, np.float32)
    for m, (one, other) in enumerate(zip(found, wanted, strict=True)):
        if (one != other).any() and other.any():
            points[m, 0] = x, y = _within(rng, one != other)
            labels[m, 0] = other[int(y), int(x)]
    return torch.from_numpy(points), torch.from_numpy(labels)


def covered(masks: Bools, cell_px: int) -> torch.Tensor:
    """Return the share of each cell that masks (M, R, R) cover: (M, 4s, 4s)."""
    return F.avg_pool2d(torch.from_numpy(masks).float()[:, None], cell_px)[:, 0]


def _loose_corners(rng: np.random.Generator, box_cxcywh: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the corners (2, 2) of a box as a person draws it."""
    size = box_cxcywh[2:]
    centre = box_cxcywh[:2] + rng.normal(0, BOX_SHIFT, 2) * size
    half = np.exp(rng.normal(0, BOX_SCALE, 2)) * size / 2
    return np.stack([centre - half, centre + half])


def _within(rng: np.random.Generator, mask: Bools) -> tuple[float, float]:
    """Return a random place x, y of a mask that is not empty."""
    rows, columns = np.nonzero(mask)
    one = rng.integers(len(rows))
    return float(columns[one] + rng.random()), float(rows[one] + rng.random())
