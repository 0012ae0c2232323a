"""Bit for bit what Meta's processor feeds its model."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from sam3.model.sam3_image_processor import Sam3Processor
from torchvision.transforms import v2

from autolabel.sam3.preprocess import normalize, resize

SIZES_HW = [(1, 1), (1, 50), (3, 2000), (100, 100), (224, 224), (225, 223), (480, 640), (1200, 1800), (1009, 17)]


def metas(rgb: npt.NDArray[np.uint8], resolution: int) -> torch.Tensor:
    """What `Sam3Processor.set_image` gives its model for a PIL image."""
    processor = Sam3Processor(model=None, resolution=resolution, device="cpu")
    transformed: torch.Tensor = processor.transform(v2.functional.to_image(Image.fromarray(rgb)))
    return transformed


@pytest.mark.parametrize("resolution", [224, 1008])
@pytest.mark.parametrize("size_hw", SIZES_HW, ids=str)
def test_bits_are_metas(size_hw: tuple[int, int], resolution: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    assert torch.equal(normalize(resize(rgb, resolution)), metas(rgb, resolution))


def test_bits_are_metas_on_photos(photos: Path) -> None:
    paths = sorted(photos.glob("*.jpg"))
    assert paths
    for path in paths:
        rgb = np.array(Image.open(path).convert("RGB"))
        assert torch.equal(normalize(resize(rgb, 1008)), metas(rgb, 1008))


def test_all_values_are_normalised_as_meta_does() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    expected = v2.functional.normalize(v2.functional.to_dtype(values, torch.float32, scale=True), [0.5] * 3, [0.5] * 3)
    assert torch.equal(normalize(values), expected)
    assert values.dtype == torch.uint8


@pytest.mark.parametrize("size_hw", [(224, 224), (50, 70)])
def test_the_result_is_contiguous_and_the_callers_own(size_hw: tuple[int, int]) -> None:
    rgb = np.zeros((*size_hw, 3), np.uint8)
    pixels = resize(rgb, 224)
    rgb += 1
    assert pixels.shape == (3, 224, 224)
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    assert not pixels.any()
