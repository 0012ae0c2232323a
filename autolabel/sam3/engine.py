"""Pixels and concepts in, instances out: batches of images by batches of prompts through one SAM3.

Images are encoded once per batch, phrases once per engine, and any mix of (image, concept) pairs shares a decoder pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autolabel.sam3.architecture import Architecture
from autolabel.sam3.preprocess import normalize
from autolabel.sam3.text import VISUAL, TextCache
from autolabel.sam3.upstream import FindStage, Prompt, Sam3Image


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One image and one concept: a phrase, exemplar boxes, or both."""

    image: int  # index in the batch
    text: str | None  # None: the boxes alone prompt
    boxes_cxcywh: tuple[tuple[float, float, float, float], ...] = ()  # fractions of the image's width and height
    positive: tuple[bool, ...] = ()  # of each box: what is wanted, or what is not
    threshold: float  # keep instances that score above it

    def __post_init__(self) -> None:
        if len(self.boxes_cxcywh) != len(self.positive):
            raise ValueError(f"{len(self.boxes_cxcywh)} boxes with {len(self.positive)} labels")
        if self.text is None and not self.boxes_cxcywh:
            raise ValueError("a pair needs text, boxes or both")


@dataclass(frozen=True, kw_only=True, eq=False)
class PairResult:
    """What was found of one concept in one image: K instances in the order of the model's queries."""

    presence: float  # that the concept is in the image at all: sigmoid of the presence logit
    best_score: float  # of any query, kept or not
    scores: npt.NDArray[np.float32]  # (K,) sigmoid(logit) x presence, above the threshold
    boxes_xyxy: npt.NDArray[np.float32]  # (K, 4) fractions of the image's width and height
    mask_logits: torch.Tensor  # (K, h, w) float32 on the CPU, low resolution


class Engine:
    """A SAM3 ready to segment, in float32. Not thread-safe."""

    def __init__(self, model: Sam3Image, architecture: Architecture, *, device: torch.device, max_pairs: int) -> None:
        """`model` is on `device` already; `max_pairs` bounds the pairs of one decoder pass, and so its memory."""
        self._model = model
        self._architecture = architecture
        self._device = device
        self._max_pairs = max_pairs
        self._texts = TextCache(model, device=device)

    @torch.inference_mode()
    def segment(self, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
        """Results in the order of the pairs; pixels are uint8 (B, 3, R, R), as `preprocess.resize` makes them.

        Raises:
            ValueError: pixels of another size or type, or a pair of an image that is not there.
        """
        side = self._architecture.resolution
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (3, side, side):
            raise ValueError(f"pixels are {pixels.dtype} {tuple(pixels.shape)}, not uint8 (B, 3, {side}, {side})")
        if stray := [pair.image for pair in pairs if not 0 <= pair.image < len(pixels)]:
            raise ValueError(f"pairs of images {stray} in a batch of {len(pixels)}")
        if not pairs:
            return []
        images = self._model.backbone.forward_image(normalize(pixels.to(self._device)))
        results = []
        for start in range(0, len(pairs), self._max_pairs):
            results += self._decode(images, pairs[start : start + self._max_pairs])
        return results

    def _decode(self, images: dict[str, Any], pairs: Sequence[Pair]) -> list[PairResult]:
        """One decoder pass over pairs of encoded images."""
        phrases = [VISUAL if pair.text is None else pair.text for pair in pairs]
        distinct = list(dict.fromkeys(phrases))
        features, padding = self._texts.encode(distinct)
        stage = FindStage(
            img_ids=self._tensor([pair.image for pair in pairs]),
            text_ids=self._tensor([distinct.index(phrase) for phrase in phrases]),
            input_boxes=None,
            input_boxes_mask=None,
            input_boxes_label=None,
            input_points=None,
            input_points_mask=None,
        )
        out = self._model.forward_grounding(
            backbone_out={**images, "language_features": features, "language_mask": padding},
            find_input=stage,
            find_target=None,
            geometric_prompt=self._boxes(pairs),
        )
        return _results(out, self._tensor([pair.threshold for pair in pairs]))

    def _boxes(self, pairs: Sequence[Pair]) -> Prompt:
        """The boxes of all pairs, padded on the right to the most that a pair has, which may be none."""
        n_boxes = max(len(pair.boxes_cxcywh) for pair in pairs)
        boxes = torch.zeros(n_boxes, len(pairs), 4)
        labels = torch.zeros(n_boxes, len(pairs), dtype=torch.long)
        padding = torch.ones(len(pairs), n_boxes, dtype=torch.bool)
        for index, pair in enumerate(pairs):
            if n := len(pair.boxes_cxcywh):
                boxes[:n, index] = torch.tensor(pair.boxes_cxcywh)
                labels[:n, index] = torch.tensor(pair.positive)
                padding[index, :n] = False
        return Prompt(
            box_embeddings=boxes.to(self._device),
            box_mask=padding.to(self._device),
            box_labels=labels.to(self._device),
        )

    def _tensor(self, values: list[int] | list[float]) -> torch.Tensor:
        return torch.tensor(values, device=self._device)


def _results(out: dict[str, torch.Tensor], thresholds: torch.Tensor) -> list[PairResult]:
    """Split what the model says of P pairs and Q queries; masks of queries that are not kept stay where they are."""
    presence = out["presence_logit_dec"].float().sigmoid()  # (P, 1)
    scores = out["pred_logits"].float().squeeze(-1).sigmoid() * presence  # (P, Q)
    keep = scores > thresholds[:, None]
    n_kept = keep.sum(dim=1).tolist()
    return [
        PairResult(
            presence=pair_presence, best_score=best, scores=kept.numpy(), boxes_xyxy=boxes.numpy(), mask_logits=logits
        )
        for pair_presence, best, kept, boxes, logits in zip(
            presence.squeeze(1).tolist(),
            scores.amax(dim=1).tolist(),
            torch.split(scores[keep].cpu(), n_kept),
            torch.split(out["pred_boxes_xyxy"][keep].float().cpu(), n_kept),
            torch.split(out["pred_masks"][keep].float().cpu(), n_kept),
            strict=True,
        )
    ]
