"""Coloured shapes on a plain ground, deterministic by seed: something to segment where no photos are at hand."""

import io
import random
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {"red": (214, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (232, 210, 40)}
SHAPES = ("circle", "square", "triangle")


def scene(rng: random.Random, size_wh: tuple[int, int]) -> Image.Image:
    """A scene of three to eight shapes."""
    width, height = size_wh
    image = Image.new("RGB", size_wh, tuple(rng.randint(60, 130) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(3, 8)):
        radius = rng.uniform(0.06, 0.16) * width
        x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
        fill = rng.choice(list(COLOURS.values()))
        match rng.choice(SHAPES):
            case "circle":
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
            case "square":
                draw.rectangle((x - radius, y - radius, x + radius, y + radius), fill=fill)
            case "triangle":
                draw.polygon(((x, y - radius), (x - radius, y + radius), (x + radius, y + radius)), fill=fill)
    return image


def write_scenes(folder: Path, *, count: int, seed: int) -> list[str]:
    """Draw `count` scenes and one truncated file; the names written, in order.

    A JPEG or PNG each, in two sizes, so that a first run shows that sizes and formats may mix.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    names = []
    for index in range(count):
        name = f"scene-{index + 1:02d}.{'jpg' if index % 2 else 'png'}"
        scene(rng, (480, 360) if index % 3 else (360, 480)).save(folder / name)
        names.append(name)
    whole = io.BytesIO()
    scene(rng, (480, 360)).save(whole, "JPEG")
    (folder / "truncated.jpg").write_bytes(whole.getvalue()[:2000])
    return [*names, "truncated.jpg"]
