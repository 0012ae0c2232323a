"""The slow path: Meta's own `forward_grounding`, everything of every pair computed and then thrown away."""

from collections.abc import Sequence

import torch

from autolabel.sam3.device import HostTensor
from autolabel.sam3.engine import Pair, PairResult
from autolabel.sam3.preprocess import normalize
from autolabel.sam3.text import VISUAL
from autolabel.sam3.upstream import Prompt, Sam3Image, find_stage


@torch.inference_mode()
def segment(model: Sam3Image, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
    """As `Engine.segment`, in one pass."""
    images = model.backbone.forward_image(normalize(pixels))
    phrases = [pair.text or VISUAL for pair in pairs]
    distinct = sorted(set(phrases))
    text = model.backbone.forward_text(distinct, device=pixels.device)
    n_boxes = max(len(pair.boxes_cxcywh) for pair in pairs)
    boxes = torch.zeros(n_boxes, len(pairs), 4)
    labels = torch.zeros(n_boxes, len(pairs), dtype=torch.long)
    padding = torch.ones(len(pairs), n_boxes, dtype=torch.bool)
    for index, pair in enumerate(pairs):
        for place, (box, positive) in enumerate(zip(pair.boxes_cxcywh, pair.positive, strict=True)):
            boxes[place, index], labels[place, index] = torch.tensor(box), int(positive)
            padding[index, place] = False
    stage = find_stage(
        torch.tensor([pair.image for pair in pairs]), torch.tensor([distinct.index(phrase) for phrase in phrases])
    )
    out = model.forward_grounding(
        backbone_out={**images, **text},
        find_input=stage,
        find_target=None,
        geometric_prompt=Prompt(box_embeddings=boxes, box_mask=padding, box_labels=labels),
    )
    presence = out["presence_logit_dec"].sigmoid()
    scores = out["pred_logits"].squeeze(-1).sigmoid() * presence
    keep = scores > torch.tensor([pair.threshold for pair in pairs])[:, None]
    return [
        PairResult(
            presence=presence[index].item(),
            best_score=scores[index].max().item(),
            scores=scores[index, keep[index]].numpy(),
            boxes_xyxy=out["pred_boxes_xyxy"][index, keep[index]].numpy(),
            masks=HostTensor(out["pred_masks"][index, keep[index]]),
        )
        for index in range(len(pairs))
    ]
