"""Everything in an image: masks of a grid of points, filtered and made unique before any leaves the device.

As the mask generator of SAM 2, with two differences. Stability and overlap are those of the head's own masks of
4s x 4s cells, where SAM 2 enlarges all of them first: near the threshold, a mask may fall on the other side. And masks
are compared, not their boxes: of two objects one in the other's box, both stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from autolabel.sam3.chunks import Chunks
from autolabel.sam3.device import HostTensor, on_device, to_host
from autolabel.sam3.interactive import POSITIVE, ObjectFeatures, ObjectForward, stabilities

STABILITY_OFFSET = 1.0  # of the logits, as in SAM 2

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """Which of the three masks of every point stay."""

    iou: float  # predicted, more than this
    stability: float  # area above 1 over area above -1, at least this
    nms: float  # of two masks with more IoU than this, the one of less predicted IoU goes


@dataclass(frozen=True, kw_only=True, eq=False)
class GridResult:
    """A mask that stayed."""

    point_xy: tuple[float, float]  # that prompted it
    score: float  # predicted IoU
    presence: float  # that the point is on an object: sigmoid of the object logit
    stability: float  # area above 1 over area above -1
    masks: HostTensor  # (1, 4s, 4s) float32 logits, low resolution; perhaps still on their way from a GPU

    @property
    def mask_logits(self) -> torch.Tensor:
        """Return (1, 4s, 4s) float32 on the CPU, once they are there."""
        return self.masks.get()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    """A mask that passed the filter: its logits are on the device, what NMS compares is not."""

    point: int
    score: float
    presence: float
    stability: float
    logits: torch.Tensor  # (4s, 4s)
    bits: npt.NDArray[np.uint64]  # (n,) its cells, packed
    rows: Bools  # (4s,) that have one of them
    columns: Bools


class GridSegmenter:
    """Asks the head about a grid of points on one encoded image. Not thread-safe."""

    def __init__(self, forward: ObjectForward, *, resolution: int, device: torch.device, chunks: Chunks) -> None:
        """Take the stages, and the chunks of objects that fit."""
        self._forward = forward
        self._resolution = resolution
        self._device = device
        self._chunks = chunks

    def segment(
        self, features: ObjectFeatures, points_xy: Sequence[tuple[float, float]], settings: GridSettings
    ) -> list[GridResult]:
        """Return the masks that stay, best first, of points as fractions of the one image of the features.

        What passes the filter stays on the device until all points are through: at full size, 1 GB for 3,072 masks.
        """
        candidates: list[_Candidate] = []

        def passing(points: Sequence[int]) -> list[list[_Candidate]]:
            return self._passing(features, points, [points_xy[point] for point in points], settings)

        for of_point in self._chunks.run(range(len(points_xy)), passing):
            candidates += of_point
        candidates.sort(key=lambda candidate: -candidate.score)
        kept = [candidates[index] for index in unique_masks(candidates, settings.nms)]
        if not kept:
            return []
        masks = to_host(torch.stack([candidate.logits for candidate in kept])).split([1] * len(kept))
        return [
            GridResult(
                point_xy=points_xy[candidate.point],
                score=candidate.score,
                presence=candidate.presence,
                stability=candidate.stability,
                masks=mask,
            )
            for candidate, mask in zip(kept, masks, strict=True)
        ]

    def _passing(
        self,
        features: ObjectFeatures,
        points: Sequence[int],
        points_xy: Sequence[tuple[float, float]],
        settings: GridSettings,
    ) -> list[list[_Candidate]]:
        """Decode points in one pass and filter their masks; the host waits for it once."""
        proposals = self._forward.objects(
            features,
            on_device([0] * len(points), self._device),
            on_device(torch.tensor(points_xy)[:, None] * self._resolution, self._device),
            on_device(torch.full((len(points), 1), float(POSITIVE)), self._device),
        )
        logits, ious = proposals.logits[:, 1:], proposals.ious[:, 1:].clamp(0, 1)
        positive = to_host(logits > 0)
        figures = [ious, stabilities(logits, STABILITY_OFFSET), proposals.present.sigmoid()[:, None]]
        scores, stability, presence = torch.cat(figures, dim=1).cpu().split([3, 3, 1], dim=1)
        masks = positive.get().numpy()
        passes = (scores > settings.iou) & (stability >= settings.stability)
        row, which = (passes & torch.from_numpy(masks.any(axis=(2, 3)))).nonzero(as_tuple=True)
        passed: list[list[_Candidate]] = [[] for _ in points]
        if not len(row):
            return passed
        some = logits[on_device(row, self._device), on_device(which, self._device)]
        cells = masks[row.numpy(), which.numpy()]
        packed = np.packbits(cells.reshape(len(row), -1), axis=1)
        packed = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)
        for index, (at, mask) in enumerate(zip(row.tolist(), which.tolist(), strict=True)):
            passed[at].append(
                _Candidate(
                    point=points[at],
                    score=scores[at, mask].item(),
                    presence=presence[at].item(),
                    stability=stability[at, mask].item(),
                    logits=some[index],
                    bits=packed[index],
                    rows=cells[index].any(axis=1),
                    columns=cells[index].any(axis=0),
                )
            )
        return passed


def unique_masks(candidates: Sequence[_Candidate], limit: float) -> list[int]:
    """Return which of some masks stay, best first: those with at most this IoU with every better one that does.

    Bits are compared where boxes allow so much overlap.
    """
    if not candidates:
        return []
    bits = np.stack([candidate.bits for candidate in candidates])
    areas = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
    sides = [np.stack(side) for side in zip(*((c.columns, c.rows) for c in candidates), strict=True)]
    low = np.stack([side.argmax(axis=1) for side in sides], axis=1)
    high = np.stack([side.shape[1] - side[:, ::-1].argmax(axis=1) for side in sides], axis=1)
    kept: list[int] = []
    for index in range(len(candidates)):
        common = (np.minimum(high[index], high[kept]) - np.maximum(low[index], low[kept])).clip(min=0).prod(axis=1)
        close = np.array(kept, dtype=np.int64)[common > limit * np.maximum(areas[index], areas[kept])]
        overlap = np.bitwise_count(bits[close] & bits[index]).sum(axis=1, dtype=np.int64)
        if not (overlap > limit * (areas[index] + areas[close] - overlap)).any():
            kept.append(index)
    return kept
