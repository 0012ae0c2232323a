"""The transformer of SAM3's head for single objects, in which a few tokens and the cells of an image see each other.

As Meta's `TwoWayTransformer`, but for the order of additions: the cells, by far the most there is, are projected by
all that a layer wants of them in one product, and the part that a cell's position has in it is added and not computed.

Shapes: M objects, T tokens, C channels, s x s cells; all is batch first.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def position_terms(transformer: Any, where: torch.Tensor) -> list[torch.Tensor]:
    """Return what each layer's projections add for a cell's position (s*s, C), whatever the cell is: (s*s, n C/2).

    Keys and queries are of a cell with its position, values of the cell alone; the biases are in it, too.
    """
    terms = []
    for linears in _projections(transformer):
        seen = (where, torch.zeros_like(where), where)
        terms.append(torch.cat([linear(cells) for linear, cells in zip(linears, seen, strict=False)], dim=-1))
    return terms


def two_way(
    transformer: Any,
    positions: list[torch.Tensor],
    prompt: torch.Tensor,
    memory: torch.Tensor,
    shared: list[torch.Tensor] | None,
    may_look: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run `TwoWayTransformer`: tokens (M, T, C) and cells (M, s*s, C).

    `shared` is what the first layer projects of the cells, if that is known; `may_look` (M, 1, 1, T) at which tokens.
    """
    *of_layers, of_last = _projections(transformer)
    tokens = prompt
    for index, (layer, linears) in enumerate(zip(transformer.layers, of_layers, strict=True)):
        known = shared if index == 0 else None
        keys, values, queries = known or _projected(linears, memory, positions[index], transformer)
        if layer.skip_first_layer_pe:
            tokens = _self_attended(layer.self_attn, tokens, tokens, may_look)
        else:
            tokens = tokens + _self_attended(layer.self_attn, tokens + prompt, tokens, may_look)
        tokens = layer.norm1(tokens)
        seeing = layer.cross_attn_token_to_image
        asked = _heads(seeing.q_proj(tokens + prompt), transformer)
        tokens = layer.norm2(tokens + _attended(seeing, asked, keys, values))
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        seen = layer.cross_attn_image_to_token
        token_keys = _heads(seen.k_proj(tokens + prompt), transformer)
        token_values = _heads(seen.v_proj(tokens), transformer)
        memory = layer.norm4(memory + _attended_to_few(seen, queries, token_keys, token_values, may_look))
    keys, values = _projected(of_last, memory, positions[-1], transformer)
    last = transformer.final_attn_token_to_image
    tokens = tokens + _attended(last, _heads(last.q_proj(tokens + prompt), transformer), keys, values)
    return transformer.norm_final_attn(tokens), memory


def _projections(transformer: Any) -> list[tuple[nn.Linear, ...]]:
    """Return what projects the cells in each layer and after the last: to keys, values and, in a layer, queries."""
    of_layers = [
        (
            layer.cross_attn_token_to_image.k_proj,
            layer.cross_attn_token_to_image.v_proj,
            layer.cross_attn_image_to_token.q_proj,
        )
        for layer in transformer.layers
    ]
    last = transformer.final_attn_token_to_image
    return [*of_layers, (last.k_proj, last.v_proj)]


def first_projections(transformer: Any, cells: torch.Tensor, position: torch.Tensor) -> list[torch.Tensor]:
    """Return what the first layer makes of cells (B, s*s, C): keys, values and queries (B, heads, s*s, d)."""
    return _projected(_projections(transformer)[0], cells, position, transformer)


def _projected(
    linears: Sequence[nn.Linear], cells: torch.Tensor, position: torch.Tensor, transformer: Any
) -> list[torch.Tensor]:
    """Project cells (M, s*s, C) by all of these at once; `position` is their term of `position_terms`."""
    weight = torch.cat([linear.weight for linear in linears])
    together = functional.linear(cells, weight) + position
    return [_heads(each, transformer) for each in together.chunk(len(linears), dim=-1)]


def _self_attended(
    attention: Any, asking: torch.Tensor, value: torch.Tensor, may_look: torch.Tensor | None
) -> torch.Tensor:
    queries, keys = (_heads(project(asking), attention) for project in (attention.q_proj, attention.k_proj))
    return _attended(attention, queries, keys, _heads(attention.v_proj(value), attention), may_look)


def _attended(
    attention: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attend by heads (M, heads, L, d) and join them: (M, L, C)."""
    attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    joined: torch.Tensor = attention.out_proj(attended.transpose(1, 2).flatten(2))
    return joined


def _attended_to_few(
    attention: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Do the same for far more queries than keys: every product has the queries last, where they fill a vector.

    On a CPU this takes a third of the time of torch's own attention, which works along the few channels of a head.
    """
    logits = (keys * keys.shape[-1] ** -0.5) @ queries.transpose(2, 3)  # (M, heads, few, L)
    if mask is not None:
        logits = logits.masked_fill(~mask.transpose(2, 3), -torch.inf)
    attended = values.transpose(2, 3) @ logits.softmax(dim=2)
    joined: torch.Tensor = attention.out_proj(attended.flatten(1, 2).transpose(1, 2))
    return joined


def _heads(sequence: torch.Tensor, of: Any) -> torch.Tensor:
    """Turn (M, L, heads x d) into (M, heads, L, d)."""
    split: torch.Tensor = sequence.unflatten(2, (of.num_heads, -1))
    return split.transpose(1, 2)
