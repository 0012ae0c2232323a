"""Engines without a model, which find the same in every image and say when they were asked."""

import threading
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from autolabel.pipeline.messages import LabelJob
from autolabel.pipeline.unit import UnitLabeler
from autolabel.sam3.device import HostTensor
from autolabel.sam3.engine import Engine, Pair, PairResult


class FoundEverywhere:
    """Finds two overlapping halves and a corner with every phrase, scored so that thresholds and NMS matter."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Pair]] = []
        self.began = threading.Event()

    def segment(self, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
        self.asked.append(pairs)
        self.began.set()
        return [self._result(pair) for pair in pairs]

    def _result(self, pair: Pair) -> PairResult:
        logits = torch.full((3, 8, 8), -1.0)
        logits[0, :, :4] = logits[1, :, :4] = logits[2, 6:, 6:] = 1.0
        scores = np.array([0.9, 0.85, 0.7], np.float32)
        keep = torch.from_numpy(scores > pair.threshold)
        return PairResult(
            presence=1.0,
            best_score=0.9,
            scores=scores[keep.numpy()],
            boxes_xyxy=np.zeros((int(keep.sum()), 4), np.float32),
            masks=HostTensor(logits[keep]),
        )


class FoundNowhere(FoundEverywhere):
    """Finds nothing, at no cost."""

    def _result(self, pair: Pair) -> PairResult:
        none = np.zeros((0, 4), np.float32)
        return PairResult(
            presence=0.0, best_score=0.0, scores=none[:, 0], boxes_xyxy=none, masks=HostTensor(torch.zeros(0, 8, 8))
        )


def labeler(job: LabelJob, engine: FoundEverywhere) -> UnitLabeler:
    return UnitLabeler(job, cast(Engine, engine))
