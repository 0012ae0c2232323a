"""How far two ways through one model find the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autolabel.masks.rle import pairwise_overlap
from autolabel.sam3.engine import PairResult
from autolabel.sam3.masks import logits_to_rles


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    same_kept: float  # share of pairs of which as many queries were kept
    ious: npt.NDArray[np.float64]  # of the masks of those queries at the image's size, in their order

    @classmethod
    def of(
        cls, some: Sequence[PairResult], others: Sequence[PairResult], sizes_hw: Sequence[tuple[int, int]]
    ) -> "Agreement":
        same = [len(one.scores) == len(other.scores) for one, other in zip(some, others, strict=True)]
        ious = [
            np.diag(
                pairwise_overlap(
                    logits_to_rles(one.mask_logits, size_hw), logits_to_rles(other.mask_logits, size_hw), metric="iou"
                )
            )
            for one, other, size_hw in zip(some, others, sizes_hw, strict=True)
            if len(one.scores) == len(other.scores)
        ]
        return cls(same_kept=float(np.mean(same)), ious=np.concatenate(ious))

    @property
    def n_instances(self) -> int:
        return len(self.ious)

    def ious_from(self, least: float) -> float:
        """The share of instances with such an IoU."""
        return float(np.mean(self.ious >= least))
