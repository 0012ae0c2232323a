"""What the tests of SAM3 share: one small seeded model, and drawn scenes."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageDraw

from autolabel.sam3.architecture import TINY, build, seed_weights
from autolabel.sam3.upstream import Sam3Image

SEED = 10  # finds something in every scene, but not with every prompt


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> Sam3Image:
    """TINY with seeded weights. Shared: tests that change a model build their own."""
    model = build(TINY)
    seed_weights(model, SEED)
    return model


def scene(seed: int, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """An image (h, w, 3) of six coloured shapes on a coloured ground."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    image = Image.new("RGB", (width, height), colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = int(rng.integers(0, width)), int(rng.integers(0, height))
        side = int(rng.integers(min(size_hw) // 10, min(size_hw) // 3))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((left, top, left + side, top + side), fill=colour(rng))
    return np.array(image)


def colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue
