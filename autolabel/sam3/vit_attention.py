"""The attention of the ViT's blocks with its rotary position embedding in real numbers; Meta's is in complex ones.

A compiler can fuse it. Without one, and in bfloat16, it moves 14 bytes for each element of a query or a key, not 20,
by two kernels fewer. In float32, and on a CPU, the complex one is the better.
"""

from functools import partial
from typing import Any

import torch
from torch.nn import functional

from autolabel.sam3.upstream import ViT


def rotate_as_fits(vit: ViT, *, compiled: bool) -> None:
    """Let a placed ViT attend by the faster of the two ways on its device, at its precision."""
    weight = vit.blocks[0].attn.qkv.weight
    if compiled or (weight.dtype != torch.float32 and weight.device.type != "cpu"):
        rotate_in_real_numbers(vit)


def rotate_in_real_numbers(vit: ViT) -> None:
    """Let a placed ViT's blocks attend so, in place; call it again after another placement."""
    for block in vit.blocks:
        angles = block.attn.freqs_cis[:, None, None]  # (tokens, 1, 1, channels / 2)
        cos, sin = angles.real.contiguous(), angles.imag.contiguous()
        block.attn.forward = partial(_attended, block.attn, cos=cos, sin=sin)


def _attended(attention: Any, maps: torch.Tensor, *, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Attend within (B, h, w, C) of windows or whole images, as `Attention.forward`."""
    batch, height, width, _ = maps.shape
    projected = attention.qkv(maps).view(batch, height * width, 3, attention.num_heads, -1)
    rotate = _in_one_expression if torch.compiler.is_compiling() else _in_place
    queries, keys = rotate(projected[:, :, :2], cos, sin).transpose(1, 3).unbind(2)  # (B, heads, tokens, C / heads)
    attended = functional.scaled_dot_product_attention(queries, keys, projected[:, :, 2].transpose(1, 2))
    joined: torch.Tensor = attention.proj(attended.transpose(1, 2).reshape(batch, height, width, -1))
    return joined


def _in_one_expression(vectors: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate (B, tokens, 2, heads, channels) by angles of pairs of channels; for a compiler: as one kernel."""
    x, y = _pairs(vectors)
    return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2).type_as(vectors)


def _in_place(vectors: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Do the same without a compiler: rounded to the vectors' type as it is written, and where it belongs."""
    x, y = _pairs(vectors)
    rotated = torch.empty(vectors.shape, dtype=vectors.dtype, device=vectors.device)
    rotated_x, rotated_y = _pairs(rotated)
    torch.addcmul(x * cos, y, sin, value=-1, out=rotated_x)
    torch.addcmul(x * sin, y, cos, out=rotated_y)
    return rotated


def _pairs(vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return views of the even and the odd channels."""
    return vectors.view(*vectors.shape[:-1], -1, 2).unbind(-1)
