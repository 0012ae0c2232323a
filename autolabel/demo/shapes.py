"""The outlines of the demo's shapes and the exact coverage of a pixel grid by them."""

import math
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Polygon = npt.NDArray[np.float64]  # (N, 2) x and y, within the unit circle

SUBPIXELS = 4  # along each side of a pixel


@cache
def outline(shape: str) -> tuple[Polygon, Polygon | None]:
    """Return the outer polygon of a shape and its hole; raise KeyError for a shape not in `phrases.SHAPES`."""
    turn = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    if shape == "heart":
        x = 16 * np.sin(turn) ** 3
        y = -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn))
        return np.stack([x, y - 2.5], axis=1) / 18.3, None
    plain = {
        "circle": circle,
        "square": _regular(4, start=math.pi / 4),
        "triangle": _regular(3, start=-math.pi / 2),
        "star": _regular(10, start=-math.pi / 2) * np.tile([1.0, 0.45], 5)[:, None],
        "ring": circle,
        "cross": _cross(0.36),
        "moon": _crescent(),
    }
    return plain[shape], circle * 0.55 if shape == "ring" else None


def coverage(shape: str, *, radius_px: float, angle: float, offset_xy: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Return the share of every pixel that the shape covers, 0 to 1, in a square patch that holds all of it.

    The patch's side is `patch_side(radius_px)`; the shape's centre lies `offset_xy`, fractions of a pixel, from the
    patch's centre pixel corner.
    """
    side = patch_side(radius_px)
    rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    image = Image.new("L", (side * SUBPIXELS, side * SUBPIXELS), 0)
    draw = ImageDraw.Draw(image)
    for polygon, value in zip(outline(shape), (255, 0), strict=True):
        if polygon is not None:
            points = (polygon @ rotation * radius_px + side / 2 + np.array(offset_xy)) * SUBPIXELS
            draw.polygon([(x, y) for x, y in points], fill=value)
    return np.asarray(image.reduce(SUBPIXELS), dtype=np.float32) / np.float32(255)


def patch_side(radius_px: float) -> int:
    return 2 * (math.ceil(radius_px) + 2)


def _regular(corners: int, *, start: float) -> Polygon:
    turn = start + np.arange(corners) * 2 * math.pi / corners
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def _cross(arm: float) -> Polygon:
    """Return a plus whose arms are 2 * `arm` wide and 2 long, scaled into the unit circle."""
    corner = np.array([(arm, arm), (arm, 1), (-arm, 1)])
    quarter_turn = np.array([[0, 1], [-1, 0]])
    corners = [corner @ np.linalg.matrix_power(quarter_turn, quarter) for quarter in range(4)]
    polygon: Polygon = np.concatenate(corners) / math.hypot(1, arm)
    return polygon


def _crescent() -> Polygon:
    """Return the unit circle without a circle of radius 0.85 whose centre lies 0.55 to the right of its own."""
    bite, distance = 0.85, 0.55
    x = (1 - bite**2 + distance**2) / (2 * distance)  # where the two circles meet
    outer = np.linspace(math.acos(x), 2 * math.pi - math.acos(x), 60)
    edge = math.acos((x - distance) / bite)
    inner = np.linspace(2 * math.pi - edge, edge, 60)
    return np.concatenate(
        [
            np.stack([np.cos(outer), np.sin(outer)], axis=1),
            np.stack([distance + bite * np.cos(inner), bite * np.sin(inner)], axis=1),
        ]
    )
