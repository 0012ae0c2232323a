"""Drawn scenes, and the seed whose weights find something in them."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

SEED = 10  # finds something in every scene, but not with every prompt


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
