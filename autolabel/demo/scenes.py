"""Drawn scenes: shapes in light and shadow on a textured ground, with the exact mask of every one of them."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from autolabel.demo.phrases import COLORS, FILLS, SHAPES, Kind
from autolabel.demo.shapes import coverage, patch_side

WIDTHS_PX, HEIGHTS_PX = (320, 640), (240, 480)
MAX_OBJECTS = 20
SIZES = (0.04, 0.40)  # diameter of an object, as a share of the scene's width
STRIPED_FROM_PX = 36  # a smaller object is plain: its stripes could not be told from noise
ATTEMPTS = 30  # to find a place for an object, which is left out after that
MIN_VISIBLE = 0.6  # of an object's area, in the frame and not behind another
SHADOW = 0.35

Pixels = npt.NDArray[np.float32]  # (h, w, 3) in 0..255
Ids = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A picture and what is in it."""

    rgb: npt.NDArray[np.uint8]  # (h, w, 3)
    ids: Ids  # (h, w): 0 is the ground, k + 1 the visible part of object k
    kinds: tuple[Kind, ...]  # of every object

    def mask(self, index: int) -> npt.NDArray[np.bool_]:
        """Return (h, w) the visible part of one object."""
        mask: npt.NDArray[np.bool_] = self.ids == index + 1
        return mask


def draw_scene(seed: int, index: int) -> Scene:
    """Draw scene number `index` of an endless series; two seeds share no scene."""
    rng = np.random.default_rng([seed, index])
    width = int(rng.integers(WIDTHS_PX[0], WIDTHS_PX[1] + 1))
    height = int(np.clip(width * rng.uniform(0.65, 1.0), *HEIGHTS_PX))
    picture = ground(rng, width, height)
    ids = np.zeros((height, width), np.uint8)
    n_objects = 2 + int((MAX_OBJECTS - 1) * rng.random() ** 1.8)
    kinds = some_kinds(rng, n_objects)
    largest = min(SIZES[1], 0.8 / math.sqrt(n_objects))
    full_areas: list[int] = []
    drawn: list[Kind] = []
    for number in range(n_objects):
        kind = kinds[number] if number < len(kinds) else kinds[rng.integers(len(kinds))]
        for attempt in range(ATTEMPTS):
            smallest = SIZES[0] if rng.random() < 0.05 else max(SIZES[0], 0.4 * largest)
            radius_px = rng.uniform(smallest, largest) * width / 2
            may_touch = attempt > ATTEMPTS * 2 // 3 or rng.random() < 0.15
            placed = place(rng, kind.shape, radius_px, ids, full_areas, may_touch=may_touch)
            if placed is not None:
                if 2 * radius_px < STRIPED_FROM_PX:
                    kind = replace(kind, fill="plain")
                paint(rng, picture, kind, radius_px, placed)
                full_areas.append(placed.full_area)
                drawn.append(kind)
                ids[placed.rows, placed.columns][placed.solid] = len(drawn)
                break
    return Scene(rgb=developed(rng, picture), ids=ids, kinds=tuple(drawn))


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """The place of an object: its rows and columns in the frame, and its coverage of their pixels."""

    rows: slice
    columns: slice
    alpha: npt.NDArray[np.float32]
    solid: npt.NDArray[np.bool_]  # the pixels that are the object's in the ground truth
    full_area: int  # pixels, those outside the frame too
    angle: float


def some_kinds(rng: np.random.Generator, n_objects: int) -> list[Kind]:
    """Return two to five kinds of objects for a scene, often look-alikes that differ in a single attribute."""
    kinds: list[Kind] = []
    while len(kinds) < min(n_objects, int(rng.integers(2, 6))) or len(kinds) < 2:
        kind = Kind(
            color=str(rng.choice(list(COLORS))), shape=str(rng.choice(SHAPES)), fill=FILLS[int(rng.random() < 0.35)]
        )
        if kinds and rng.random() < 0.5:
            other = kinds[rng.integers(len(kinds))]
            attribute = ("color", "shape", "fill")[rng.choice(3, p=(0.4, 0.4, 0.2))]
            kind = replace(other, **{attribute: getattr(kind, attribute)})
        if kind not in kinds:
            kinds.append(kind)
    return kinds


def place(
    rng: np.random.Generator,
    shape: str,
    radius_px: float,
    ids: Ids,
    full_areas: list[int],
    *,
    may_touch: bool,
) -> Placed | None:
    """Return a random place for an object, or None where it, or one below it, would be hidden too much."""
    height, width = ids.shape
    side = patch_side(radius_px)
    x, y = rng.uniform(0.6 * radius_px, width - 0.6 * radius_px), rng.uniform(0.6 * radius_px, height - 0.6 * radius_px)
    left, top = round(x) - side // 2, round(y) - side // 2
    angle = rng.uniform(0, 2 * math.pi)
    alpha = coverage(shape, radius_px=radius_px, angle=angle, offset_xy=(x - round(x), y - round(y)))
    full_area = int((alpha >= 0.5).sum())
    rows = slice(max(top, 0), min(top + side, height))
    columns = slice(max(left, 0), min(left + side, width))
    alpha = alpha[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    solid = alpha >= 0.5
    below = ids[rows, columns]
    if not may_touch and below.any():
        return None
    visible = np.bincount(ids.ravel(), minlength=len(full_areas) + 1)
    hidden = np.bincount(below[solid], minlength=len(full_areas) + 1)
    left_of_below = (visible - hidden)[1:]
    if solid.sum() < MIN_VISIBLE * full_area or np.any(left_of_below < MIN_VISIBLE * np.array(full_areas)):
        return None
    return Placed(rows=rows, columns=columns, alpha=alpha, solid=solid, full_area=full_area, angle=angle)


def paint(rng: np.random.Generator, picture: Pixels, kind: Kind, radius_px: float, placed: Placed) -> None:
    """Paint an object with its shadow onto the picture."""
    _cast_shadow(picture, placed, radius_px)
    target = picture[placed.rows, placed.columns]
    height, width = placed.alpha.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    tint = 1 + rng.normal(0, 0.03, 3)
    color = np.broadcast_to(np.array(COLORS[kind.color][0]) * tint, target.shape)
    if kind.fill == "striped":
        period = max(2 * radius_px / rng.uniform(4.5, 7), 9.0)
        across = x * math.cos(placed.angle) + y * math.sin(placed.angle)
        light = np.clip(np.sin(across * 2 * math.pi / period) * 3 + 0.5, 0, 1)[..., None]
        color = color * light + np.array(COLORS[kind.color][1]) * tint * (1 - light)
    shade = 1 + rng.uniform(0, 0.12) * ((height - 2 * y) / height)[..., None]  # lit from above
    alpha = placed.alpha[..., None]
    target[:] = target * (1 - alpha) + np.clip(color * shade, 0, 255) * alpha


def _cast_shadow(picture: Pixels, placed: Placed, radius_px: float) -> None:
    """Darken what lies below and to the right of an object."""
    offset = max(1, round(radius_px * 0.12))
    blur = 2 * offset  # how far the soft edge reaches
    rows, columns = placed.rows, placed.columns
    shadow = np.pad((placed.alpha * 255).astype(np.uint8), ((blur + offset, blur), (blur + offset, blur)))
    soft = np.asarray(Image.fromarray(shadow).filter(ImageFilter.GaussianBlur(0.7 * offset)), dtype=np.float32) / 255
    top, left = max(rows.start - blur, 0), max(columns.start - blur, 0)
    target = picture[top : rows.stop + blur + offset, left : columns.stop + blur + offset]
    soft = soft[top - rows.start + blur :, left - columns.start + blur :][: target.shape[0], : target.shape[1]]
    target *= 1 - SHADOW * soft[..., None]


def ground(rng: np.random.Generator, width: int, height: int) -> Pixels:
    """Return a gradient between two muted colours, with clouds and a grain or a weave on it."""
    base = rng.uniform(80, 145)
    first, second = (np.clip(base + rng.normal(0, 22) + rng.normal(0, 12, 3), 55, 175) for _ in range(2))
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width, y / height
    along = (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)) * 0.7 + 0.5
    picture: Pixels = (first + along[..., None] * (second - first)).astype(np.float32)
    picture += _noise(rng, width, height, cells=int(rng.integers(3, 8)))[..., None] * rng.uniform(2, 16)
    if rng.random() < 0.3:
        waves = rng.uniform(20, 60, 2) * rng.choice([0, 1], 2)
        picture += (np.sin(x * waves[0] * 6.3) + np.sin(y * waves[1] * 6.3))[..., None] * rng.uniform(2, 6)
    else:
        picture += _noise(rng, width, height, cells=int(rng.integers(20, 90)))[..., None] * rng.uniform(0, 9)
    return picture


def _noise(rng: np.random.Generator, width: int, height: int, *, cells: int) -> npt.NDArray[np.float32]:
    """Return (h, w) smooth standard normal noise."""
    coarse = rng.normal(size=(max(2, cells * height // width), cells)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def developed(rng: np.random.Generator, picture: Pixels) -> npt.NDArray[np.uint8]:
    """Return the picture under the light that is over all of it, through the lens and onto the sensor."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j].astype(np.float32)
    angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.25)
    light = rng.uniform(0.92, 1.05) + strength * (x * math.cos(angle) + y * math.sin(angle))
    lit = Image.fromarray(np.clip(picture * light[..., None], 0, 255).astype(np.uint8))
    blurred = np.asarray(lit.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.0))), dtype=np.float32)
    grain = rng.standard_normal(blurred.shape, dtype=np.float32) * rng.uniform(1, 7)
    developed: npt.NDArray[np.uint8] = np.clip(blurred + grain, 0, 255).astype(np.uint8)
    return developed
