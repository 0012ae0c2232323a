"""Which parts of SAM3 can work in bfloat16.

The layers in which nine tenths of the operations are: those of the ViT's blocks, and the fusion encoder's
self-attention and feed-forward. Such a layer takes what it is given as bfloat16; what it gives is added to a float32
stream, as under Meta's autocast. All the rest stays float32, the head for points and boxes too: a score or a box must
not jump by 1/256, nor an outline, which is where a sum over the channels of the finest map crosses 0. What that costs
and gains: jobs/benchmarks/README.md.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from autolabel.sam3.architecture import Part, parts_of
from autolabel.sam3.upstream import Sam3Image

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@torch.no_grad()
def narrow(model: Sam3Image, dtype: torch.dtype) -> Sam3Image:
    """Store the wide layers' weights in a type and let them work in it, in place.

    Parameters alone: the rotary embedding's buffers are complex, and `module.to(dtype)` would drop half of them.
    """
    if dtype == torch.float32:
        return model

    def narrowed(layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return tuple(map(cast, args)), {name: cast(value) for name, value in kwargs.items()}

    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    for layer in _wide_layers(model):
        layer.register_forward_pre_hook(narrowed, with_kwargs=True)
        for parameter in layer.parameters():
            parameter.data = parameter.data.to(dtype)
    for block in model.backbone.vision_backbone.trunk.blocks:  # before windows are cut of it, not after: half the bytes
        block.norm1.register_forward_hook(lambda norm, args, normed: normed.to(dtype))
    return model


def multiply_in(dtype: torch.dtype) -> None:
    """Let GPUs multiply float32 in TF32 beside narrower layers, else in float32 itself, for the whole process."""
    allowed = dtype != torch.float32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def _wide_layers(model: Sam3Image) -> Iterator[nn.Module]:
    for block in model.backbone.vision_backbone.trunk.blocks:
        yield from (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
    encoder_layers = model.transformer.encoder.layers if Part.DETECTOR in parts_of(model) else ()
    for layer in encoder_layers:
        yield from (layer.self_attn, layer.linear1, layer.linear2)
