"""Captions on a drawing: each on its mask where that has the room, else beside it, with a line to where it belongs.

One caption hides no other, and no small mask that a place nearby would spare. How many found no place is written, too.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from autolabel.masks.rle import Rle, decode_crop

Rgb = tuple[int, int, int]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in whole pixels, the last two outside
Point = tuple[float, float]

SEARCHED_SIDE_PX = 256  # of a mask, in which its innermost point is looked for
ROOM = 2.0  # times a caption's sides: a mask's box, for the caption to stand on it
DIRECTIONS = 12
DISTANCES = (1.0, 1.5, 2.2, 3.2, 4.5)
GAP_PX = 3
MOST_COVERED = 0.3  # of the drawing, by captions: more of them would hide it
MORE_RGB = (236, 235, 231)


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What is written about a mask, whose box and innermost point are in pixels of the drawing."""

    text: str
    color_rgb: Rgb
    point_xy: Point
    box_xyxy: Box


def innermost_point(mask: Rle) -> Point | None:
    """Return (x, y), in pixels, of about the point of a mask that is farthest from its edges; None for an empty mask.

    Raises:
        ValueError: the mask is damaged.
    """
    (left, top), pixels = decode_crop(mask)
    if not pixels.size:
        return None
    step = max(1, math.ceil(max(pixels.shape) / SEARCHED_SIDE_PX))
    height, width = (math.ceil(side / step) for side in pixels.shape)
    padded = np.zeros((height * step, width * step), np.uint8)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    coarse = padded.reshape(height, step, width, step).mean(axis=(1, 3))
    solid = (coarse >= min(0.5, coarse.max())).astype(np.uint8)
    depth = cv2.distanceTransform(np.pad(solid, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    x, y = left + (column + 0.5) * step, top + (row + 0.5) * step
    return min(float(x), left + pixels.shape[1] - 0.5), min(float(y), top + pixels.shape[0] - 0.5)


def with_captions(canvas: npt.NDArray[np.uint8], captions: Sequence[Caption]) -> npt.NDArray[np.uint8]:
    """Return the drawing (h, w, 3) with captions, the first of which have the choice."""
    if not captions:
        return canvas
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    font_px = min(max(12, round(max(canvas.shape) / 64)), 40)
    font, pad_px = _font(font_px), font_px // 4

    def size_of(text: str) -> tuple[int, int]:
        return round(pen.textlength(text, font=font)) + 2 * pad_px, font_px + 2 * pad_px

    def write(box: Box, text: str, color_rgb: Rgb) -> None:
        pen.rounded_rectangle((box[0], box[1], box[2] - 1, box[3] - 1), radius=pad_px, fill=color_rgb)
        pen.text((box[0] + pad_px, (box[1] + box[3]) / 2), text, fill="black", font=font, anchor="lm")

    places = place(captions, [size_of(caption.text) for caption in captions], image.size)
    for caption, box in zip(captions, places, strict=True):
        if box is not None and not _contains(box, caption.point_xy):
            _lead(pen, caption, box, line_px=max(1, font_px // 12))
    for caption, box in zip(captions, places, strict=True):
        if box is not None:
            write(box, caption.text, caption.color_rgb)
    if n_more := sum(box is None for box in places):
        text = f"+ {n_more} more"
        write(_box_around((image.width, image.height), size_of(text), image.size), text, MORE_RGB)
    return np.array(image)


def place(
    captions: Sequence[Caption], sizes_wh: Sequence[tuple[int, int]], canvas_wh: tuple[int, int]
) -> list[Box | None]:
    """Return the box of each caption, inside the drawing and over no other's; None where there is no room."""
    masks = np.array([caption.box_xyxy for caption in captions]).reshape(-1, 4)
    areas = (masks[:, 2:] - masks[:, :2]).prod(axis=1)
    taken: list[Box] = []
    places: list[Box | None] = []
    room_px = MOST_COVERED * canvas_wh[0] * canvas_wh[1]
    for number, (caption, size_wh) in enumerate(zip(captions, sizes_wh, strict=True)):
        room_px -= size_wh[0] * size_wh[1]
        if room_px < 0 and taken:
            places.append(None)
            continue
        small = masks[(areas < ROOM**2 * size_wh[0] * size_wh[1]) & (np.arange(len(masks)) != number)]
        best, fewest = None, math.inf
        for box in _choices(caption, size_wh, canvas_wh):
            if any(_overlap(box, other) for other in taken):
                continue
            n_hidden = int(_overlaps(box, small).sum())
            if n_hidden < fewest:
                best, fewest = box, n_hidden
            if not n_hidden:
                break
        places.append(best)
        if best is not None:
            taken.append(best)
    return places


def _choices(caption: Caption, size_wh: tuple[int, int], canvas_wh: tuple[int, int]) -> Iterator[Box]:
    """Yield boxes for a caption: on its mask, if that has the room, then around it, farther and farther."""
    x, y = caption.point_xy
    x0, y0, x1, y1 = caption.box_xyxy
    width, height = size_wh
    if x1 - x0 >= ROOM * width and y1 - y0 >= ROOM * height:
        yield _box_around((x, y), size_wh, canvas_wh)
    reach_x = min((x1 - x0) / 2, width) + width / 2 + GAP_PX
    reach_y = min((y1 - y0) / 2, 2 * height) + height / 2 + GAP_PX
    for distance in DISTANCES:
        for turn in range(DIRECTIONS):
            angle = 2 * math.pi * turn / DIRECTIONS - math.pi / 2  # above it first
            centre = x + distance * reach_x * math.cos(angle), y + distance * reach_y * math.sin(angle)
            box = _box_around(centre, size_wh, canvas_wh)
            if not _contains(box, (x, y)):  # moved inside, it may have come to lie on the mask
                yield box
    yield _box_around((x, y), size_wh, canvas_wh)


def _box_around(centre_xy: Point, size_wh: tuple[int, int], canvas_wh: tuple[int, int]) -> Box:
    """Return the box of a size around a point, moved inside the drawing."""
    x, y = (
        max(0, min(round(at - part / 2), side - part))
        for at, part, side in zip(centre_xy, size_wh, canvas_wh, strict=True)
    )
    return x, y, x + size_wh[0], y + size_wh[1]


def _lead(pen: ImageDraw.ImageDraw, caption: Caption, box: Box, *, line_px: int) -> None:
    """Draw a line from a caption to its mask."""
    (x, y), dark = caption.point_xy, tuple(round(0.35 * channel) for channel in caption.color_rgb)
    start = min(max(x, box[0]), box[2] - 1), min(max(y, box[1]), box[3] - 1)
    for color, width in ((dark, line_px + 2), (caption.color_rgb, line_px)):
        pen.line((start, (x, y)), fill=color, width=width)
        pen.circle((x, y), line_px + (width > line_px), fill=color)


def _contains(box: Box, point_xy: Point) -> bool:
    return box[0] <= point_xy[0] < box[2] and box[1] <= point_xy[1] < box[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _overlaps(box: Box, others_xyxy: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell which of (N, 4) boxes a box overlaps."""
    begins, ends = (others_xyxy[:, :2] < box[2:]), (others_xyxy[:, 2:] > box[:2])
    meets: npt.NDArray[np.bool_] = np.logical_and.reduce((begins & ends).T)
    return meets


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib ships: Greek, Cyrillic and much else, which OpenCV and Pillow cannot write."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size_px)
