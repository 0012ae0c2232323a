"""The ViT's rotary position embedding in real numbers, which a compiler can fuse; Meta's is in complex ones."""

from functools import partial

import torch

from autolabel.sam3.upstream import ViT


def rotate_in_real_numbers(vit: ViT) -> None:
    """Give a placed ViT's attention the same rotation, in place; call it again after another placement."""
    for block in vit.blocks:
        angles = block.attn.freqs_cis
        block.attn._apply_rope = partial(_rotated, cos=angles.real.contiguous(), sin=angles.imag.contiguous())


def _rotated(
    queries: torch.Tensor, keys: torch.Tensor, *, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, heads, tokens, channels) each, by the angles (tokens, channels / 2) of pairs of channels; in float32."""

    def rotated(vectors: torch.Tensor) -> torch.Tensor:
        x, y = vectors.float().view(*vectors.shape[:-1], -1, 2).unbind(-1)
        return torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1).flatten(-2).type_as(vectors)

    return rotated(queries), rotated(keys)
