"""Photos to measure with: 1800 x 1200 JPEGs of about half a megabyte, as many as asked for."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

SIZE_WH = (1800, 1200)
DIFFERENT = 8


def jpeg(seed: int) -> bytes:
    """Return clouds of several scales with grain, which compress as photos do."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.float32)
    for cells, strength in ((6, 60), (40, 30), (300, 14)):
        coarse = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        picture += np.asarray(Image.fromarray(coarse).resize(SIZE_WH, Image.Resampling.BICUBIC)) / 255.0 * strength
    picture += rng.normal(90, 4, picture.shape)
    file = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
    return file.getvalue()


def write_photos(folder: Path, count: int) -> None:
    """Write hard links to a few different files: the page cache holds them all, so that no disk is measured."""
    folder.mkdir(parents=True)
    for seed in range(min(count, DIFFERENT)):
        (folder / f"{seed:06d}.jpg").write_bytes(jpeg(seed))
    for index in range(DIFFERENT, count):
        os.link(folder / f"{index % DIFFERENT:06d}.jpg", folder / f"{index:06d}.jpg")
