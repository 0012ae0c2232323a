"""A model that costs nothing: of a bright image it says that it holds a disc, of a dark one that it holds nothing."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from autolabel.pipeline.messages import LabelJob
from autolabel.sam3.device import HostTensor
from autolabel.sam3.engine import Engine, Pair, PairResult
from tests.support.bad_images import encoded

MASK_PX = 16
BRIGHT, DARK = (encoded(Image.new("RGB", (24, 16), colour), "PNG") for colour in ("white", "black"))


class FreeEngine(Engine):
    def __init__(self, before: Callable[[], None]) -> None:
        self._before = before
        y, x = np.mgrid[:MASK_PX, :MASK_PX]
        self._disc = torch.from_numpy((5 - np.hypot(y - 8, x - 8))[None].astype(np.float32))

    def segment(self, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
        self._before()
        return [self._found(bool(pixels[pair.image].float().mean() > 60)) for pair in pairs]

    def _found(self, bright: bool) -> PairResult:
        n = int(bright)
        return PairResult(
            presence=0.9,
            best_score=0.9,
            scores=np.full(n, 0.9, np.float32),
            boxes_xyxy=np.zeros((n, 4), np.float32),
            masks=HostTensor(self._disc[:n]),
        )


def nothing() -> None:
    pass


@dataclass(frozen=True)
class FreeModel:
    """Loads it in an actor; `before` is called there before each batch."""

    before: Callable[[], None] = nothing

    def __call__(self, job: LabelJob) -> FreeEngine:
        return FreeEngine(self.before)


@dataclass(frozen=True)
class Strike:
    """Does `deed` at the given batch of the job, and notes when; once, whoever's batch it is."""

    deed: Callable[[], object]
    at_batch: int
    folder: Path  # for the notes; empty

    def __call__(self) -> None:
        with (self.folder / "batches").open("a") as file:
            file.write(".")
        if (self.folder / "batches").stat().st_size >= self.at_batch and not (self.folder / "struck_at").exists():
            self.deed()
            (self.folder / "struck_at").write_text(str(time.time()))

    @property
    def struck_at(self) -> float:
        assert (self.folder / "struck_at").exists(), "the fault never fired"
        return float((self.folder / "struck_at").read_text())
