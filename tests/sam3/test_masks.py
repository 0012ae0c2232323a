"""Run lengths from logits, with torch's own upsampling and pycocotools' own encoding as the oracle."""

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn.functional import interpolate

from autolabel.masks.rle import Rle, decode, encode
from autolabel.sam3.masks import logits_to_rles

TIE = 1e-4  # of the largest logit: what rounding may turn


def plainly(logits: torch.Tensor, size_hw: tuple[int, int]) -> tuple[torch.Tensor, list[Rle]]:
    """The upsampled logits, and what is above 0 of them."""
    upsampled = interpolate(logits[:, None].float(), size_hw, mode="bilinear", align_corners=False)[:, 0]
    return upsampled, [encode(mask) for mask in (upsampled > 0).numpy()]


def assert_equal_but_for_ties(logits: torch.Tensor, size_hw: tuple[int, int]) -> int:
    """The number of masks that differ at all."""
    upsampled, expected = plainly(logits, size_hw)
    found = logits_to_rles(logits, size_hw)
    assert [rle.size_hw for rle in found] == [size_hw] * len(logits)
    n_differ = 0
    for values, one, other in zip(upsampled.numpy(), found, expected, strict=True):
        if one != other:
            differs = decode(one) != decode(other)
            assert differs.any(), "the same mask, written in another way"
            assert np.abs(values[differs]).max() < TIE * np.abs(values).max()
            n_differ += 1
    return n_differ


def realistic(n: int, side: int, seed: int) -> torch.Tensor:
    """Steep-edged blobs of many sizes, with ragged outlines, holes and islands, some cut by the border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    drawn = []
    for _ in range(n):
        radius = side * np.exp(rng.uniform(np.log(0.03), np.log(0.4)))
        cy, cx = rng.uniform(0, side, 2)
        distance = radius - np.hypot((y - cy) * rng.uniform(0.6, 1.6), x - cx)
        coarse = torch.from_numpy(rng.normal(size=(1, 1, side // 12, side // 12)))
        ragged = interpolate(coarse, (side, side), mode="bicubic")[0, 0].numpy() * radius * 0.3
        drawn.append(np.clip((distance + ragged) * 1.2 + rng.normal(0, 0.3, (side, side)), -12, 10))
    return torch.from_numpy(np.array(drawn, np.float32))


@pytest.mark.parametrize("size_hw", [(1200, 1800), (640, 427), (288, 288), (150, 2000)], ids=str)
def test_realistic_masks_are_byte_identical(size_hw: tuple[int, int]) -> None:
    logits = realistic(12, 288, seed=size_hw[0])
    assert logits_to_rles(logits, size_hw) == plainly(logits, size_hw)[1]


@pytest.mark.parametrize("kind", ["noise", "integers", "stripes", "almost zero"])
def test_adversarial_masks_are_equal_but_for_ties(kind: str) -> None:
    """Any sizes up and down, from a single logit to a single pixel; exact zeros everywhere in some."""
    rng = np.random.default_rng(len(kind))
    n_masks = n_differ = 0
    for _ in range(150):
        h, w = (int(n) for n in rng.integers(1, 70, 2))
        size_hw = int(rng.integers(1, 260)), int(rng.integers(1, 260))
        values: npt.NDArray[Any] = rng.normal(size=(4, h, w))
        if kind == "integers":
            values = rng.integers(-2, 3, (4, h, w))
        elif kind == "stripes":
            values = np.where(np.arange(h)[None, :, None] % 2, 1.0, -1.0) * rng.choice([-1, 1, 3], (4, 1, w))
        elif kind == "almost zero":
            values = values * 1e-30
        n_differ += assert_equal_but_for_ties(torch.from_numpy(values.astype(np.float32)), size_hw)
        n_masks += 4
    assert n_differ <= n_masks // 50


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("size_hw", [(1, 1), (5, 7), (300, 200)], ids=str)
def test_flat_logits(value: float, size_hw: tuple[int, int]) -> None:
    logits = torch.full((2, 16, 16), value)
    assert logits_to_rles(logits, size_hw) == plainly(logits, size_hw)[1]


def test_masks_that_touch_every_border() -> None:
    logits = torch.full((4, 8, 8), 0.7)
    for index, (rows, columns) in enumerate(((0, 0), (7, 7), (3, 3), (0, 7))):
        logits[index, rows, :] = -1
        logits[index, :, columns] = -1
    logits = torch.cat([logits, -logits])
    for size_hw in ((8, 8), (50, 30), (3, 90), (2, 2)):
        assert assert_equal_but_for_ties(logits, size_hw) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_before_it_is_upsampled(dtype: torch.dtype) -> None:
    logits = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert logits_to_rles(logits, (200, 300)) == logits_to_rles(logits.float(), (200, 300))


def test_none_give_none() -> None:
    assert logits_to_rles(torch.zeros(0, 64, 64), (480, 640)) == []


def test_it_is_several_times_faster_than_the_plain_way() -> None:
    """About 25 times on an idle core (jobs/benchmark.py host); far less is a regression even on a busy one."""
    logits = realistic(8, 288, seed=1)

    def seconds(work: object) -> float:
        assert callable(work)
        times = []
        for _ in range(3):
            started = time.process_time()
            work(logits, (1200, 1800))
            times.append(time.process_time() - started)
        return min(times)

    assert seconds(plainly) > 5 * seconds(logits_to_rles)
