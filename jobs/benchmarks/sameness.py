"""How far two engines find the same: kept queries, scores, and masks at the images' own size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.contest import PHRASES, noise_image

from autolabel.demo.scenes import draw_scene
from autolabel.masks.rle import pairwise_overlap
from autolabel.sam3.engine import Engine, Pair, PairResult
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.preprocess import resize

SEED = 33  # scenes that the demo model was not trained on
DRAWN = ("red shape", "circle", "striped star", "blue square", "shape", "moon", "plain heart", "elephant")
BOX = Pair(image=0, text=None, boxes_cxcywh=((0.5, 0.5, 0.3, 0.3),), positive=(True,), threshold=0.5)
SEEDED_THRESHOLD = 0.3  # of random weights


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bounds within which results are taken for the same."""

    score: float  # largest difference of a pair's best score
    same_kept: float  # least share of pairs of which as many queries are kept
    ious: float  # least share of masks with an IoU of 0.99


BOUNDS = {
    "float32": Bounds(score=2e-3, same_kept=0.99, ious=0.995),
    "bfloat16": Bounds(score=0.1, same_kept=0.98, ious=0.98),
}


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Differences of two engines' results for the same pairs."""

    n_pairs: int
    n_instances: int
    score: float
    same_kept: float
    ious: float

    def line(self, bounds: Bounds) -> dict[str, Any]:
        """Return what is reported, with whether it is within bounds; nothing found is not."""
        agrees = (
            self.n_instances > 0
            and self.score <= bounds.score
            and self.same_kept >= bounds.same_kept
            and self.ious >= bounds.ious
        )
        return {
            "pairs": self.n_pairs,
            "instances": self.n_instances,
            "largest_score_difference": float(f"{self.score:.2g}"),
            "same_kept": round(self.same_kept, 4),
            "ious_from_0.99": round(self.ious, 4),
            "agrees": agrees,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Exam:
    """Images and pairs that engines are asked about."""

    images: list[npt.NDArray[np.uint8]]
    pairs: list[Pair]

    @classmethod
    def drawn(cls, n_images: int) -> "Exam":
        """Take scenes of the demo model."""
        return cls.of([draw_scene(SEED, index).rgb for index in range(n_images)], DRAWN, 0.5)

    @classmethod
    def noise(cls, n_images: int) -> "Exam":
        """Take noise, for random weights."""
        return cls.of([noise_image(index) for index in range(n_images)], PHRASES[:4], SEEDED_THRESHOLD)

    @classmethod
    def of(cls, images: list[npt.NDArray[np.uint8]], phrases: Sequence[str], threshold: float) -> "Exam":
        pairs = [Pair(image=n, text=text, threshold=threshold) for n in range(len(images)) for text in phrases]
        return cls(images=images, pairs=[*pairs, BOX])

    def results(self, engine: Engine, resolution: int) -> list[PairResult]:
        return engine.segment(torch.stack([resize(rgb, resolution) for rgb in self.images]), self.pairs)

    def differences(self, some: Sequence[PairResult], others: Sequence[PairResult]) -> Differences:
        both = list(zip(self.pairs, some, others, strict=True))
        alike = [len(one.scores) == len(other.scores) for _, one, other in both]
        overlaps = np.concatenate(
            [
                ious(one, other, self.images[pair.image].shape)
                for (pair, one, other), same in zip(both, alike, strict=True)
                if same
            ]
        )
        return Differences(
            n_pairs=len(both),
            n_instances=len(overlaps),
            score=max(abs(one.best_score - other.best_score) for _, one, other in both),
            same_kept=float(np.mean(alike)),
            ious=float(np.mean(overlaps >= 0.99)) if len(overlaps) else 0.0,
        )


def ious(one: PairResult, other: PairResult, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return those of masks in the order of their queries."""
    size_hw = shape[0], shape[1]
    some, others = (logits_to_rles(each.mask_logits, size_hw) for each in (one, other))
    return np.diag(pairwise_overlap(some, others, metric="iou"))
