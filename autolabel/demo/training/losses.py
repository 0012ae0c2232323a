"""What a good answer is: DETR's set losses, denoising, presence, masks, and attributes that can be read off.

Queries are matched to the objects of an answer one to one, per decoder layer, as in DETR (Carion et al. 2020). The
denoising queries start from jittered boxes of all objects, wanted or not, and so need no matching (DN-DETR, Li et al.
2022). Class targets turn from 1 to the square root of the box's IoU as training goes on (as in Align-DETR, Cai et al.
2023), so that scores come to rank boxes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.nn import functional as F

from autolabel.demo.training.examples import ATTRIBUTES, IGNORED, Batch
from autolabel.demo.training.forward import Answers
from autolabel.sam3.upstream import box_cxcywh_to_xyxy

WEIGHTS = {
    "class": 2.0,
    "l1": 5.0,
    "giou": 2.0,
    "noisy class": 2.0,
    "noisy l1": 3.0,
    "noisy giou": 1.0,
    "presence": 2.0,
    "mask": 25.0,
    "dice": 5.0,
    "semantic mask": 4.0,
    "semantic dice": 1.0,
    "attributes of cells": 1.0,
    "attributes of prompts": 0.5,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """M matched queries: layer, question, query and object slot of each."""

    layer: torch.Tensor
    question: torch.Tensor
    query: torch.Tensor
    slot: torch.Tensor


class AttributeHeads(nn.Module):
    """Colour, shape and fill read linearly from an image's cells and a prompt's mean, by the same weights.

    They tie words to looks in the first hundred steps, and are thrown away after training.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of = nn.ModuleDict({name: nn.Linear(width, len(values) + 1) for name, values in ATTRIBUTES.items()})


def noisy(boxes: torch.Tensor) -> torch.Tensor:
    """Boxes (..., 4) cxcywh moved by up to 40% of their size and scaled by up to 57%, at least 0.1 large."""
    size = boxes[..., 2:].clamp(min=0.1)
    centre = boxes[..., :2] + (torch.rand_like(size) - 0.5) * 0.8 * size
    return torch.cat([centre, size * torch.exp((torch.rand_like(size) - 0.5) * 0.9)], dim=-1).clamp(0.02, 0.98)


def losses(
    answers: Answers, batch: Batch, heads: AttributeHeads, *, n_noisy: int, segmented: torch.Tensor, by_iou: float
) -> dict[str, torch.Tensor]:
    """Every loss by its name in WEIGHTS; `by_iou` in 0..1 is how far class targets have turned to IoU."""
    n_own = answers.logits.shape[2] - n_noisy
    boxes, wanted = batch.boxes[batch.scene], batch.wanted
    matches = match(answers.logits[..., :n_own], answers.boxes[:, :, :n_own], boxes, wanted)
    found: dict[str, torch.Tensor] = {}
    found["class"], found["l1"], found["giou"] = _set_losses(
        answers.logits[..., :n_own], answers.boxes[:, :, :n_own], boxes, matches, max(1, int(wanted.sum())), by_iou
    )
    found["noisy class"], found["noisy l1"], found["noisy giou"] = _denoising_losses(
        answers.logits[..., n_own:], answers.boxes[:, :, n_own:], boxes, wanted, batch.exists[batch.scene]
    )
    present = wanted.any(1).float().expand_as(answers.presence)
    found["presence"] = F.binary_cross_entropy_with_logits(answers.presence, present)
    found["mask"], found["dice"] = _instance_mask_losses(answers, batch, matches, n_own, segmented)
    anything = (batch.coverage[batch.scene[segmented]] * wanted[segmented][..., None, None]).sum(1)
    found["semantic mask"], found["semantic dice"] = mask_losses(answers.semantic, anything)
    found["attributes of cells"], found["attributes of prompts"] = _attribute_losses(answers, batch, heads)
    return found


@torch.no_grad()
def match(logits: torch.Tensor, boxes: torch.Tensor, objects: torch.Tensor, wanted: torch.Tensor) -> Matches:
    """The cheapest assignment of queries (L, P, Q) to the wanted ones of the objects (P, K, 4)."""
    l1 = (boxes[:, :, :, None] - objects[None, :, None]).abs().sum(-1)
    giou, _ = giou_and_iou(boxes[:, :, :, None], objects[None, :, None])
    cost = (5 * l1 - 2 * giou - 2 * logits.sigmoid()[..., None]).float().cpu().numpy()
    found = [np.empty((4, 0), np.int64)]
    for question, slots in enumerate(wanted.cpu().numpy()):
        if len(slots := np.flatnonzero(slots)):
            for layer in range(len(cost)):
                query, column = linear_sum_assignment(cost[layer, question][:, slots])
                found.append(
                    np.stack([np.full_like(query, layer), np.full_like(query, question), query, slots[column]])
                )
    layer, question, query, slot = torch.from_numpy(np.concatenate(found, axis=1)).to(logits.device)
    return Matches(layer=layer, question=question, query=query, slot=slot)


def _set_losses(
    logits: torch.Tensor, boxes: torch.Tensor, objects: torch.Tensor, matches: Matches, n_wanted: int, by_iou: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Class, L1 and GIoU losses of matched queries; the others are background, weighted by how wrong they are."""
    at = matches.layer, matches.question, matches.query
    target_boxes = objects[matches.question, matches.slot]
    giou, iou = giou_and_iou(boxes[at], target_boxes)
    weight = 0.75 * logits.detach().sigmoid() ** 2
    weight[at] = 1.0
    target = torch.zeros_like(logits)
    target[at] = 1 - by_iou + by_iou * iou.detach().clamp(0, 1).sqrt()
    of_class = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum") / (len(logits) * n_wanted)
    n_matches = max(1, len(matches.slot))
    return of_class, (boxes[at] - target_boxes).abs().sum() / n_matches, (1 - giou).sum() / n_matches


def _denoising_losses(
    logits: torch.Tensor, boxes: torch.Tensor, objects: torch.Tensor, wanted: torch.Tensor, exists: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of queries that know their object: whether it is wanted, and where it really is."""
    n_layers, n_objects = len(logits), int(exists.sum())
    of_class = F.binary_cross_entropy_with_logits(logits[:, exists], wanted[exists].float().expand(n_layers, -1))
    target = objects[exists].expand(n_layers, -1, -1)
    giou, _ = giou_and_iou(boxes[:, exists], target)
    n = n_layers * n_objects
    return of_class, (boxes[:, exists] - target).abs().sum() / n, (1 - giou).sum() / n


def _instance_mask_losses(
    answers: Answers, batch: Batch, matches: Matches, n_own: int, segmented: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the last layer's matched queries and the denoising ones of wanted objects, where masks were made."""
    place = torch.full_like(batch.scene, -1)
    place[segmented] = torch.arange(len(segmented), device=place.device)
    last = matches.layer == len(answers.logits) - 1
    noisy_question, noisy_slot = batch.wanted.nonzero(as_tuple=True)
    question = torch.cat([matches.question[last], noisy_question])
    query = torch.cat([matches.query[last], noisy_slot + n_own])
    slot = torch.cat([matches.slot[last], noisy_slot])
    made = place[question] >= 0
    question, query, slot = question[made], query[made], slot[made]
    return mask_losses(answers.masks[place[question], query], batch.coverage[batch.scene[question], slot])


def _attribute_losses(answers: Answers, batch: Batch, heads: AttributeHeads) -> tuple[torch.Tensor, torch.Tensor]:
    features = answers.features.permute(0, 2, 3, 1)
    covered, slot = batch.cells.max(dim=1)
    of_cells, of_prompts = features.new_zeros(()), features.new_zeros(())
    for name, head in heads.of.items():
        nothing = len(ATTRIBUTES[name])
        there = batch.attributes[name].gather(1, slot.flatten(1)).view_as(slot)
        target = torch.where(covered > 0.4, there, torch.where(covered < 0.1, nothing, IGNORED))
        of_cells = of_cells + F.cross_entropy(head(features).flatten(0, 2), target.flatten(), ignore_index=IGNORED)
        of_prompts = of_prompts + F.cross_entropy(head(answers.prompts), batch.meant[name], ignore_index=IGNORED)
    return of_cells, of_prompts


def mask_losses(logits: torch.Tensor, coverage: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy and Dice loss of mask logits (N, h, w) against the share of each cell that is covered."""
    if not len(logits):
        return logits.sum(), logits.sum()
    entropy = F.binary_cross_entropy_with_logits(logits, coverage)
    soft = logits.sigmoid()
    overlap, total = (soft * coverage).sum((1, 2)), (soft**2).sum((1, 2)) + (coverage**2).sum((1, 2))
    return entropy, (1 - (2 * overlap + 1) / (total + 1)).mean()


def giou_and_iou(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised IoU (Rezatofighi et al. 2019) and IoU of boxes (..., 4) cxcywh that broadcast."""
    a, b = box_cxcywh_to_xyxy(one), box_cxcywh_to_xyxy(other)
    overlap = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    union = one[..., 2:].prod(-1) + other[..., 2:].prod(-1) - overlap
    iou = overlap / (union + 1e-7)
    return iou - (hull - union) / (hull + 1e-7), iou
