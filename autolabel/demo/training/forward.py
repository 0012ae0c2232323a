"""SAM3's forward pass with what training needs beside Meta's: denoising queries, every layer's answer, fewer masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from autolabel.demo.training.examples import Batch
from autolabel.sam3.forward import fused, self_attended
from autolabel.sam3.text import VISUAL
from autolabel.sam3.upstream import Prompt, Sam3Image, find_stage, inverse_sigmoid


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Of L decoder layers, P questions and Q queries, the last D of them denoising ones."""

    logits: torch.Tensor  # (L, P, Q)
    boxes: torch.Tensor  # (L, P, Q, 4) cxcywh
    presence: torch.Tensor  # (L, P) logits
    masks: torch.Tensor  # (S, Q, 4s, 4s) logits of the questions in `segmented`
    semantic: torch.Tensor  # (S, 4s, 4s) logits of anything wanted
    features: torch.Tensor  # (B, width, s, s) of the images
    prompts: torch.Tensor  # (P, width) mean of a prompt's tokens


def answer(model: Sam3Image, batch: Batch, *, noisy_boxes: torch.Tensor, segmented: torch.Tensor) -> Answers:
    """Ask every question of a batch at once.

    `noisy_boxes` (P, D, 4) cxcywh start further queries, which see neither each other nor the model's own. `segmented`
    (S,) are the questions whose masks are made.
    """
    device = batch.pixels.device
    images = model.backbone.forward_image(batch.pixels)
    texts = [question.text or VISUAL for question in batch.questions]
    distinct = sorted(set(texts))
    images.update(model.backbone.forward_text(distinct, device=device))
    stage = find_stage(batch.scene, torch.tensor([distinct.index(text) for text in texts], device=device))
    prompt, padding, images = model._encode_prompt(images, stage, _exemplars(batch.exemplars, device))
    features, positions = images["backbone_fpn"][-1], images["vision_pos_enc"][-1][:1].flatten(2).transpose(1, 2)
    encoder = model.transformer.encoder
    attended = self_attended(encoder.layers[0], features.flatten(2).transpose(1, 2), positions)[batch.scene]
    memory = fused(encoder, attended, positions, prompt.transpose(0, 1), padding).transpose(0, 1)

    decoder, n_questions = model.transformer.decoder, len(texts)
    n_own, n_noisy = decoder.num_queries, noisy_boxes.shape[1]
    own = decoder.query_embed.weight
    borrowed = own[torch.randint(n_own, (n_noisy,), device=device)]
    own_boxes = decoder.reference_points.weight.sigmoid()[:, None].expand(-1, n_questions, -1)
    blind = ~torch.eye(1 + n_own + n_noisy, dtype=torch.bool, device=device)  # the first is the presence token
    blind[: 1 + n_own, : 1 + n_own] = False
    hidden, references, presence, _ = decoder(
        tgt=torch.cat([own, borrowed])[:, None].expand(-1, n_questions, -1),
        memory=memory,
        memory_key_padding_mask=None,
        pos=positions.transpose(0, 1),
        reference_boxes=torch.cat([own_boxes, noisy_boxes.transpose(0, 1)]),
        level_start_index=torch.zeros(1, dtype=torch.long, device=device),
        spatial_shapes=torch.tensor([features.shape[-2:]], device=device),
        valid_ratios=torch.ones(n_questions, 1, 2, device=device),
        tgt_mask=blind,
        memory_text=prompt,
        text_attention_mask=padding,
        apply_dac=False,
    )
    hidden, references = hidden.transpose(1, 2), references.transpose(1, 2)
    seen = model.segmentation_head(
        backbone_feats=images["backbone_fpn"],
        obj_queries=hidden[-1:, segmented],
        image_ids=batch.scene[segmented],
        encoder_hidden_states=memory[:, segmented],
        prompt=prompt[:, segmented],
        prompt_mask=padding[segmented],
    )
    weight = (~padding).T[..., None].float()
    return Answers(
        logits=model.dot_prod_scoring(hidden, prompt, padding).squeeze(-1),
        boxes=(inverse_sigmoid(references) + decoder.bbox_embed(hidden)).sigmoid(),
        presence=presence.flatten(1),
        masks=seen["pred_masks"],
        semantic=seen["semantic_seg"][:, 0],
        features=features,
        prompts=(prompt * weight).sum(0) / weight.sum(0),
    )


def _exemplars(exemplars: Sequence[Sequence[tuple[tuple[float, ...], bool]]], device: torch.device) -> Prompt:
    """The boxes of all questions, padded to the most that one has."""
    n_boxes = max(1, max(map(len, exemplars)))
    boxes = torch.zeros(n_boxes, len(exemplars), 4)
    labels = torch.zeros(n_boxes, len(exemplars), dtype=torch.long)
    padding = torch.ones(len(exemplars), n_boxes, dtype=torch.bool)
    for question, given in enumerate(exemplars):
        for place, (box, positive) in enumerate(given):
            boxes[place, question] = torch.tensor(box)
            labels[place, question] = int(positive)
            padding[question, place] = False
    return Prompt(box_embeddings=boxes.to(device), box_mask=padding.to(device), box_labels=labels.to(device))
