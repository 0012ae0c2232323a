"""Instances over their picture: translucent fills, thin contours, a label each.

Work is done on box crops, so that it costs what the masks cover and not what the picture measures. Masks are drawn as
their contours, scaled: a mask of one pixel is still seen where a picture is shrunk a hundredfold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from autolabel.masks.rle import Rle, decode_crop

Pixels = npt.NDArray[np.uint8]
Rgb = tuple[int, int, int]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in whole pixels, the last two outside

SMALLEST_SIDE_PX = 256  # labels need room
FILL = 0.38  # opacity
SUBPIXEL_BITS = 4  # of coordinates that OpenCV takes as fixed-point numbers
GOLDEN_ANGLE_DEG = 180 * (3 - math.sqrt(5))


@dataclass(frozen=True, kw_only=True)
class DrawnInstance:
    """An instance as it is drawn; an empty label draws none."""

    mask: Rle
    label: str
    color_rgb: Rgb


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A mask in the frame of the drawing: its contours (those of holes too) as fixed-point (N, 1, 2), and its box."""

    contours: list[npt.NDArray[np.int32]]
    box_xyxy: Box


def color_of(category_index: int) -> Rgb:
    """Return the colour of the n-th category, seen on light and on dark; those near in number are far in hue.

    Hues a golden angle apart at one lightness of OKLCH (Ottosson 2020, bottosson.github.io/posts/oklab).
    """
    hue = math.radians(25 + GOLDEN_ANGLE_DEG * category_index)
    a, b = 0.19 * math.cos(hue), 0.19 * math.sin(hue)
    lightness = 0.70
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _srgb(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _srgb(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _srgb(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def draw(rgb_u8: Pixels, instances: Sequence[DrawnInstance], *, max_side_px: int | None = None) -> Pixels:
    """Return the picture (h, w, 3) with its instances, (h', w', 3), shrunk until no side is over `max_side_px`.

    One of a longer side below SMALLEST_SIDE_PX is enlarged to that, or to `max_side_px` where it is less. Smaller masks
    lie on larger ones. Labels claim their places in the order given; one that finds none free is left out, since a heap
    of them would hide the picture.

    Raises:
        ValueError: a mask is damaged, or not of the picture's size.
    """
    height, width = rgb_u8.shape[:2]
    for instance in instances:
        if instance.mask.size_hw != (height, width):
            raise ValueError(f"a mask of {instance.mask.size_hw} on a picture of {(height, width)}")
    side_px = max(height, width, SMALLEST_SIDE_PX)
    scale = min(side_px, max_side_px or side_px) / max(height, width)
    canvas = _resized(rgb_u8, scale)
    canvas_wh = canvas.shape[1], canvas.shape[0]
    outlines = [_outline(instance.mask, canvas_wh) for instance in instances]
    drawn = [(o, instance) for o, instance in zip(outlines, instances, strict=True) if o is not None]
    line_px = max(1, 2 * round(max(canvas.shape) / 1400))  # not 3: OpenCV draws 3 and 4 alike
    for outline, instance in sorted(drawn, key=lambda pair: -_area(pair[0].box_xyxy)):
        _fill(canvas, outline, instance.color_rgb)
        _stroke(canvas, outline, instance.color_rgb, line_px)
    return _with_labels(canvas, [(o.box_xyxy, i.label, i.color_rgb) for o, i in drawn if i.label])


def _resized(rgb_u8: Pixels, scale: float) -> Pixels:
    """Return a copy, its sides times `scale`."""
    height, width = rgb_u8.shape[:2]
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    if size_wh == (width, height):
        return rgb_u8.copy()
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(rgb_u8, size_wh, interpolation=how).astype(np.uint8, copy=False)


def _outline(mask: Rle, canvas_wh: tuple[int, int]) -> Outline | None:
    """Return the contours of a mask on the canvas, or None for an empty mask."""
    (left, top), pixels = decode_crop(mask)
    if not pixels.size:
        return None
    scale_xy = np.array(canvas_wh) / mask.size_hw[::-1]
    contours, _ = cv2.findContours(pixels.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    centre_xy = np.array((left, top)) + 0.5
    drawn_xy = [(points + centre_xy) * scale_xy - 0.5 for points in contours]
    right_bottom = np.array((left + pixels.shape[1], top + pixels.shape[0]))
    x0, y0 = np.floor((left, top) * scale_xy).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(right_bottom * scale_xy), canvas_wh).astype(int).tolist()
    fixed = [np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32) for points in drawn_xy]
    return Outline(contours=fixed, box_xyxy=(x0, y0, x1, y1))


def _fill(canvas: Pixels, outline: Outline, color_rgb: Rgb) -> None:
    """Blend a colour into the mask, on its box; overlapping contours cancel out, so holes stay open."""
    x0, y0, x1, y1 = outline.box_xyxy
    cover = np.zeros((y1 - y0, x1 - x0), np.uint8)
    corner = np.array((x0, y0), np.int32) << SUBPIXEL_BITS
    cv2.fillPoly(cover, [points - corner for points in outline.contours], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    crop = canvas[y0:y1, x0:x1]
    opacity = cover[:, :, None] * np.float32(FILL / 255)
    crop[:] = np.rint(crop + (np.array(color_rgb, np.float32) - crop) * opacity)


def _stroke(canvas: Pixels, outline: Outline, color_rgb: Rgb, line_px: int) -> None:
    """Draw a line in the colour between darker edges, which show it on a ground of that very colour."""
    dark = tuple(round(0.35 * channel) for channel in color_rgb)
    for color, thickness_px in ((dark, line_px + 1), (color_rgb, line_px)):
        cv2.polylines(canvas, outline.contours, True, color, thickness_px, cv2.LINE_AA, SUBPIXEL_BITS)


def _with_labels(canvas: Pixels, labels: Sequence[tuple[Box, str, Rgb]]) -> Pixels:
    """Draw a chip for each label above its box, or below, or inside: where it covers no other."""
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    font_px = min(max(12, round(max(canvas.shape) / 64)), 40)
    font, pad_px = _font(font_px), font_px // 4
    placed: list[Box] = []
    for box_xyxy, label, color_rgb in labels:
        size_wh = round(pen.textlength(label, font=font)) + 2 * pad_px, font_px + 2 * pad_px
        boxes = (_moved_inside(corner, size_wh, image.size) for corner in _corners(box_xyxy, size_wh))
        chip = next((box for box in boxes if not any(_overlap(box, other) for other in placed)), None)
        if chip is None:
            continue
        placed.append(chip)
        pen.rounded_rectangle((chip[0], chip[1], chip[2] - 1, chip[3] - 1), radius=pad_px, fill=color_rgb)
        pen.text((chip[0] + pad_px, (chip[1] + chip[3]) / 2), label, fill="black", font=font, anchor="lm")
    return np.array(image)


def _corners(box_xyxy: Box, size_wh: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return where the left upper corner of a chip may be: above the box, below it, inside."""
    x0, y0, _, y1 = box_xyxy
    return (x0, y0 - size_wh[1] - 2), (x0, y1 + 2), (x0, y0), (x0, y1 - size_wh[1])


def _moved_inside(corner: tuple[int, int], size_wh: tuple[int, int], canvas_wh: tuple[int, int]) -> Box:
    x, y = (max(0, min(at, side - part)) for at, part, side in zip(corner, size_wh, canvas_wh, strict=True))
    return x, y, x + size_wh[0], y + size_wh[1]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _area(box_xyxy: Box) -> int:
    x0, y0, x1, y1 = box_xyxy
    return (x1 - x0) * (y1 - y0)


def _srgb(linear: float) -> int:
    """Return a linear channel as sRGB (IEC 61966-2-1), cut off where a screen has no such colour."""
    level = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * min(max(level, 0.0), 1.0))


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib ships: Greek, Cyrillic and much else, which OpenCV and Pillow cannot write."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size_px)
