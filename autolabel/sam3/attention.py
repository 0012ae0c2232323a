"""Multi-head attention over sequences that are batch first, by the weights of torch's own module.

Torch's module works sequence first: around every product it moves a batch-first sequence to that order and back. Here
none is moved, and a sequence that is projected twice is read once. The results differ by the order of additions.
"""

import torch
from torch import nn
from torch.nn import functional


def attend(
    attention: nn.MultiheadAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attend from queries (P, L, C) to keys and values (P, S, C): (P, L, C) in the type of the module's weights.

    `mask` broadcasts to (P, heads, L, S): True where a query may look, or what is added to the logits.
    """
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    width = query.shape[-1]

    def projected(sequence: torch.Tensor, first: int, n: int) -> tuple[torch.Tensor, ...]:
        """Return `n` of the three projections from `first` on, each (P, heads, length, C / heads)."""
        rows = slice(first * width, (first + n) * width)
        parts = functional.linear(sequence.to(weight.dtype), weight[rows], bias[rows]).chunk(n, dim=-1)
        return tuple(part.view(*part.shape[:2], attention.num_heads, -1).transpose(1, 2) for part in parts)

    if query is key:
        queries, keys = projected(query, 0, 2)
        (values,) = projected(value, 2, 1)
    elif key is value:
        (queries,) = projected(query, 0, 1)
        keys, values = projected(key, 1, 2)
    else:
        ((queries,), (keys,), (values,)) = (projected(each, n, 1) for n, each in enumerate((query, key, value)))
    attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    joined: torch.Tensor = attention.out_proj(attended.transpose(1, 2).flatten(2))
    return joined
