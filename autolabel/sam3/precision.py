"""Which parts of SAM3 can work in bfloat16.

The wide parts, in which nearly all operations are: the image encoder and its neck, the text encoder, the fusion
encoder and the pixel decoder. Boxes, scores and what positions are made of stay in float32: they are small, and a
score or a box must not jump by 1/256.
"""

import torch

from autolabel.sam3.upstream import Sam3Image

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@torch.no_grad()
def narrow(model: Sam3Image, dtype: torch.dtype) -> Sam3Image:
    """Store the wide parts' weights in a type, in place.

    Parameters alone: the rotary embedding's buffers are complex, and `module.to(dtype)` would drop half of them.
    """
    head = model.segmentation_head
    for part in (
        model.backbone.vision_backbone,
        model.backbone.language_backbone,
        model.transformer.encoder,
        head.cross_attend_prompt,
        head.cross_attn_norm,
        head.pixel_decoder,
    ):
        for parameter in part.parameters():
            parameter.data = parameter.data.to(dtype)
    return model
