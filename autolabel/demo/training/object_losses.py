"""What a good answer to a click or a box is: one mask of four, how good it is, and whether there is an object at all.

As SAM 2 is trained (Ravi et al. 2024): focal and Dice loss of the best of several masks where a prompt may mean several
things. A cross-entropy in which object and ground count the same is added in the first half: without it, masks of a
small model stay empty.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from autolabel.sam3.interactive import Proposals

FOCAL, DICE, IOU, PRESENT = 10.0, 2.0, 2.0, 0.5  # weights
OTHER = 0.5  # of the masks that the prompt does not ask for


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """Losses of M answers, and the mask that each gives."""

    losses: dict[str, torch.Tensor]
    pick: torch.Tensor  # (M,) which of the four masks is the answer


def judge(
    found: Proposals, coverage: torch.Tensor, *, ambiguous: torch.Tensor, exist: torch.Tensor, done: float
) -> Judged:
    """Compare proposals with the share of each cell that is meant.

    Args:
        coverage: (M, 4s, 4s).
        ambiguous: (M,) bool: the best of three is the answer, and not the one.
        exist: (M,) bool: there is an object.
        done: how far training has gone, from 0 to 1.
    """
    of_masks = _mask_losses(found.logits, coverage, balanced=max(0.0, 1 - 2 * done))
    best = of_masks[:, 1:].min(dim=1).values
    one = of_masks[:, 0]
    wanted, other = torch.where(ambiguous, best, one), torch.where(ambiguous, one, best)
    real = _real_ious(found.logits.detach(), coverage) * exist[:, None]
    return Judged(
        losses={
            "mask": ((wanted + OTHER * other) * exist).sum() / exist.sum().clamp(min=1),
            "iou": IOU * ((found.ious - real) ** 2).mean(),
            "present": PRESENT * F.binary_cross_entropy_with_logits(found.present, exist.float()),
        },
        pick=torch.where(ambiguous, 1 + found.ious[:, 1:].argmax(dim=1), 0),
    )


def _mask_losses(logits: torch.Tensor, coverage: torch.Tensor, *, balanced: float) -> torch.Tensor:
    """Return (M, 4) of logits (M, 4, 4s, 4s)."""
    target, sure = coverage[:, None].expand_as(logits), logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (entropy * (sure + target - 2 * sure * target) ** 2 * (0.75 - 0.5 * target)).mean(dim=(2, 3))
    dice = 1 - (2 * (sure * target).sum(dim=(2, 3)) + 1) / ((sure + target).sum(dim=(2, 3)) + 1)
    losses = FOCAL * focal + DICE * dice
    if balanced:
        inside = (entropy * target).sum(dim=(2, 3)) / target.sum(dim=(2, 3)).clamp(min=1)
        outside = (entropy * (1 - target)).sum(dim=(2, 3)) / (1 - target).sum(dim=(2, 3)).clamp(min=1)
        losses = losses + balanced * (inside + outside)
    return losses


def _real_ious(logits: torch.Tensor, coverage: torch.Tensor) -> torch.Tensor:
    """Return (M, 4) the IoU of masks with the cells that are covered by half or more; 1 where both are empty."""
    found, there = logits > 0, (coverage >= 0.5)[:, None]
    both, either = (found & there).sum(dim=(2, 3)), (found | there).sum(dim=(2, 3))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)
