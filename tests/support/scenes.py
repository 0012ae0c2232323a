"""Drawn images as files: what the tests label."""

import io
from pathlib import Path

from PIL import Image

from autolabel.demo.scenes import draw_scene

DIFFERENT = 12  # scenes; more images than that repeat them


def write_scenes(folder: Path, *, count: int, seed: int) -> list[str]:
    """Write `count` scenes, PNG and JPEG by turns, and one truncated file; return their names, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [encoded(seed, index) for index in range(min(count, DIFFERENT))]
    names = [f"scene-{index + 1:02d}.{'jpg' if index % 2 else 'png'}" for index in range(count)]
    for index, name in enumerate(names):
        (folder / name).write_bytes(drawn[index % DIFFERENT])
    (folder / "truncated.jpg").write_bytes(encoded(seed, 1)[:2000])
    return [*names, "truncated.jpg"]


def encoded(seed: int, index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw_scene(seed, index).rgb).save(file, "JPEG" if index % 2 else "PNG")
    return file.getvalue()
