"""Floating-point operations per image at full size, counted by torch without computing anything.

Phrases are encoded once per job and not counted. `plain` is Meta's `forward_grounding`, which decodes every pair in
full; its text, too, is taken as cached. Each present prompt keeps ten queries.
"""

import json

import torch
from torch.utils.flop_counter import FlopCounterMode

from autolabel.sam3.architecture import FULL, build_empty, place
from autolabel.sam3.forward import EncodedPrompts, Forward
from autolabel.sam3.upstream import Prompt, Sam3Image, find_stage

CASES = ((1, 1), (4, 3), (16, 3), (80, 5))  # prompts, of which present
KEPT = 10  # queries of a present prompt
TOKENS = 5  # of a phrase, with start and end

META = torch.device("meta")


def run() -> None:
    model = place(build_empty(FULL), FULL, device=META)
    for n_prompts, n_present in CASES:
        figures = {
            "case": "flops",
            "prompts": n_prompts,
            "present": n_present,
            "tflop_per_image": round(ours(model, n_prompts, n_present) / 1e12, 2),
            "plain_tflop_per_image": round(plain(model, n_prompts) / 1e12, 2),
        }
        print(json.dumps(figures), flush=True)


@torch.inference_mode()
def ours(model: Sam3Image, n_prompts: int, n_present: int) -> int:
    """Return the operations of one image."""
    forward = Forward(model)
    with FlopCounterMode(display=False) as counter:
        features = forward.images(torch.empty(1, 3, FULL.resolution, FULL.resolution, device=META))
        prompts = EncodedPrompts(
            images=[0] * n_prompts,
            tokens=torch.empty(n_prompts, TOKENS + 1, FULL.width, device=META),  # and the geometry token
            padding=torch.empty(n_prompts, TOKENS + 1, dtype=torch.bool, device=META),
        )
        decoded = forward.find(features, prompts)
        index = torch.empty(KEPT * n_present, dtype=torch.long, device=META)
        hits, n_kept = range(n_present), [KEPT] * n_present
        forward.masks(features, prompts, decoded, pairs=hits, queries=(index, index), n_kept=n_kept)
    return int(counter.get_total_flops())


@torch.inference_mode()
def plain(model: Sam3Image, n_prompts: int) -> int:
    """Return those of one image by `forward_grounding`, whose tokens are padded to the context."""
    decoder, side = model.transformer.decoder, FULL.feature_side
    position_bias = type(decoder)._get_rpb_matrix
    # It is told the size as a tensor, whose value a meta tensor does not have.
    decoder._get_rpb_matrix = lambda boxes, size: position_bias(decoder, boxes, (side, side))
    with FlopCounterMode(display=False) as counter:
        images = model.backbone.forward_image(torch.empty(1, 3, FULL.resolution, FULL.resolution, device=META))
        text = {
            "language_features": torch.empty(FULL.context, n_prompts, FULL.width, device=META),
            "language_mask": torch.empty(n_prompts, FULL.context, dtype=torch.bool, device=META),
        }
        ids = torch.empty(n_prompts, dtype=torch.long, device=META)
        stage = find_stage(ids, ids)
        no_boxes = Prompt(
            box_embeddings=torch.empty(0, n_prompts, 4, device=META),
            box_mask=torch.empty(n_prompts, 0, dtype=torch.bool, device=META),
        )
        model.forward_grounding(
            backbone_out={**images, **text}, find_input=stage, find_target=None, geometric_prompt=no_boxes
        )
    return int(counter.get_total_flops())
