"""Pictures with what photographs have and drawn scenes lack: texture at every scale, shading, blur, grain, JPEG noise.

Drawn by this project from a seed: hills under clouds, and lit balls on the ground before them.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SIZES_HW = {"small.jpg": (534, 800), "middle.jpg": (720, 1280), "large.jpg": (1200, 1800)}

Field = npt.NDArray[np.float64]


def write_photographs(folder: Path) -> None:
    for seed, (name, size_hw) in enumerate(SIZES_HW.items()):
        Image.fromarray(draw_photograph(seed, size_hw)).save(folder / name, quality=85)


def draw_photograph(seed: int, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return RGB (h, w, 3)."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    y, x = np.mgrid[0:height, 0:width] / height  # both in heights of the picture
    clouds = np.clip(texture(rng, size_hw, roughness=0.4), 0, 2)[..., None] / 2
    picture = shade(y / 0.5, (70, 120, 190), (190, 210, 230)) * (1 - clouds) + 245 * clouds
    for distance in (0.9, 0.55, 0.2):  # hills, the nearer the darker and the lower
        ridge = 0.62 - 0.25 * distance + 0.06 * texture(rng, (1, width), roughness=0.2)[0]
        light = 1 + 0.35 * texture(rng, size_hw, roughness=0.7)[..., None]
        hills = (np.array([60, 85, 45]) * light) * (1 - distance) + np.array([150, 170, 195]) * distance
        picture = blend(picture, hills, (y - ridge) * height)
    ground = shade((y - 0.6) / 0.4, (150, 135, 105), (95, 80, 60)) * (
        1 + 0.25 * texture(rng, size_hw, roughness=0.9)[..., None]
    )
    picture = blend(picture, ground, (y - 0.66 - 0.02 * np.sin(7 * x)) * height)
    for _ in range(12):
        colour, radius = rng.uniform(40, 255, 3), rng.uniform(0.02, 0.09)
        across, down = rng.uniform(0, width / height), rng.uniform(0.72, 0.95)
        top, left = (max(0, int((centre - 1.1 * radius) * height)) for centre in (down, across))
        near = np.s_[top : int((down + 1.4 * radius) * height), left : int((across + 2.3 * radius) * height)]
        u, v = (x[near] - across) / radius, (y[near] - down) / radius
        shadow = 1 - np.hypot((u - 0.6) / 1.6, (v - 0.9) * 3)
        picture[near] = blend(picture[near], picture[near] * 0.4, shadow * 8)
        depth = np.sqrt(np.clip(1 - u**2 - v**2, 0, None))
        lit = np.clip(0.6 * depth - 0.5 * u - 0.6 * v, 0.08, None)[..., None]
        picture[near] = blend(picture[near], colour * lit + 160 * lit**12, (1 - np.hypot(u, v)) * radius * height)
    corners = 1 - 0.25 * ((x - width / height / 2) ** 2 + (y - 0.5) ** 2)[..., None]
    grain = rng.normal(0, 4, (height, width, 3))
    pixels: npt.NDArray[np.uint8] = np.clip(picture * corners + grain, 0, 255).astype(np.uint8)
    return pixels


def texture(rng: np.random.Generator, size_hw: tuple[int, int], *, roughness: float) -> Field:
    """Return noise (h, w) of mean 0 and deviation 1 at every scale, as clouds (0.4) and stones (0.9) have it."""
    frequency = np.hypot(np.fft.fftfreq(size_hw[0])[:, None], np.fft.rfftfreq(size_hw[1])[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.normal(size=size_hw)) / frequency ** (2 - roughness)
    field = np.fft.irfft2(spectrum, s=size_hw)
    return np.asarray((field - field.mean()) / field.std())


def shade(at: Field, above: tuple[int, int, int], below: tuple[int, int, int]) -> Field:
    """Return a colour that goes over into another from 0 to 1."""
    at = np.clip(at, 0, 1)[..., None]
    return np.array(above) * (1 - at) + np.array(below) * at


def blend(behind: Field, front: Field, inside_px: Field) -> Field:
    """Return what is in front, where its edge is so far away; over two pixels, as a lens draws an edge."""
    covered = np.clip(inside_px / 2 + 0.5, 0, 1)[..., None]
    return behind * (1 - covered) + front * covered
