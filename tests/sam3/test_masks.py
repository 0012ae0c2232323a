"""Logits to masks, with torch's own upsampling as the oracle."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from autolabel.rle import decode
from autolabel.sam3 import masks
from autolabel.sam3.masks import logits_to_rles


@pytest.mark.parametrize("size_hw", [(64, 64), (480, 640), (17, 300), (1, 1), (63, 65)], ids=str)
def test_masks_are_upsampled_as_meta_does(size_hw: tuple[int, int]) -> None:
    logits = torch.randn(5, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = interpolate(logits[:, None], size_hw, mode="bilinear", align_corners=False)[:, 0] > 0
    rles = logits_to_rles(logits, size_hw)
    assert [rle.size_hw for rle in rles] == [size_hw] * 5
    assert np.array_equal(np.stack([decode(rle) for rle in rles]), expected.numpy())


@pytest.mark.parametrize("chunk_px", [1, 1000, 64 * 64 * 3])
def test_chunks_change_nothing(chunk_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(7, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = logits_to_rles(logits, (50, 70))
    monkeypatch.setattr(masks, "CHUNK_PX", chunk_px)
    assert logits_to_rles(logits, (50, 70)) == expected


def test_half_precision_is_widened_before_it_is_upsampled() -> None:
    logits = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert logits_to_rles(logits, (200, 300)) == logits_to_rles(logits.float(), (200, 300))


def test_none_give_none() -> None:
    assert logits_to_rles(torch.zeros(0, 64, 64), (480, 640)) == []
