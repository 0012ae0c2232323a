"""Attention batch first against torch's module, and the ViT's rotation in real numbers against Meta's complex one."""

import pytest
import torch
from torch import nn

from autolabel.sam3.architecture import TINY, build, seed_weights
from autolabel.sam3.attention import attend
from autolabel.sam3.precision import PRECISIONS, narrow
from autolabel.sam3.vit_attention import rotate_in_real_numbers

N_PAIRS, N_QUERIES, N_KEYS, WIDTH, HEADS = 3, 5, 7, 32, 4


@pytest.fixture
def module() -> nn.MultiheadAttention:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    nn.init.normal_(module.in_proj_bias)
    return module


def random(length: int) -> torch.Tensor:
    return torch.randn(N_PAIRS, length, WIDTH)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["self", "self with another value", "cross", "keys with another value"])
def test_equals_torchs_module(kind: str, module: nn.MultiheadAttention) -> None:
    own, keys = random(N_QUERIES), random(N_KEYS)
    query, key, value = {
        "self": (own, own, own),
        "self with another value": (own, own, random(N_QUERIES)),
        "cross": (own, keys, keys),
        "keys with another value": (own, keys, random(N_KEYS)),
    }[kind]
    torch.testing.assert_close(attend(module, query, key, value), module(query, key, value, need_weights=False)[0])


@torch.no_grad()
def test_keys_that_are_padding_are_not_looked_at(module: nn.MultiheadAttention) -> None:
    query, keys = random(N_QUERIES), random(N_KEYS)
    padding = torch.zeros(N_PAIRS, N_KEYS, dtype=torch.bool)
    padding[1, 2:] = padding[2, 6:] = True
    expected, _ = module(query, keys, keys, key_padding_mask=padding, need_weights=False)
    torch.testing.assert_close(attend(module, query, keys, keys, mask=~padding[:, None, None]), expected)


@torch.no_grad()
def test_a_bias_is_added_to_the_logits(module: nn.MultiheadAttention) -> None:
    query, keys = random(N_QUERIES), random(N_KEYS)
    bias = torch.randn(N_PAIRS, HEADS, N_QUERIES, N_KEYS)
    expected, _ = module(query, keys, keys, attn_mask=bias.flatten(0, 1), need_weights=False)
    torch.testing.assert_close(attend(module, query, keys, keys, mask=bias), expected)


@torch.no_grad()
def test_it_works_in_the_type_of_its_weights(module: nn.MultiheadAttention) -> None:
    query = random(N_QUERIES)
    assert attend(module.to(torch.bfloat16), query, query, query).dtype == torch.bfloat16


@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_rotation_in_real_numbers_is_metas(precision: str) -> None:
    """In float32 to its last digits; in bfloat16 to what one rounding more or less makes of a block after another."""
    model = build(TINY)
    seed_weights(model, 1)
    trunk = narrow(model, PRECISIONS[precision]).backbone.vision_backbone.trunk
    pixels = torch.randn(2, 3, TINY.resolution, TINY.resolution, generator=torch.Generator().manual_seed(0))
    expected = trunk(pixels)[-1]
    forwards = [block.attn.forward for block in trunk.blocks]
    rotate_in_real_numbers(trunk)
    assert all(block.attn.forward is not before for block, before in zip(trunk.blocks, forwards, strict=True))
    difference = (trunk(pixels)[-1] - expected).abs() / expected.std()
    assert difference.max() < {"float32": 1e-5, "bfloat16": 0.1}[precision]
    assert difference.mean() < {"float32": 1e-6, "bfloat16": 0.01}[precision]
