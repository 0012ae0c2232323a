"""Instances over their picture: translucent fills, thin contours, a label each.

Work is done on box crops, so that it costs what the masks cover and not what the picture measures. Masks are drawn as
their contours, scaled: a mask of one pixel is still seen where a picture is shrunk a hundredfold. Where masks of
several colours are of one object, each but the first is drawn on stripes: all of them are seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from autolabel.masks.captions import Box, Caption, Rgb, innermost_point, with_captions
from autolabel.masks.rle import Rle, decode_crop, pairwise_overlap

Pixels = npt.NDArray[np.uint8]
Cover = npt.NDArray[np.float32]  # (h, w): the share of each pixel that is covered

SMALLEST_SIDE_PX = 256  # labels need room
FILL = 0.38  # opacity
SAME_OBJECT_IOU = 0.5
STRIPE_PX = 6  # at a longer side of 960 pixels, at least 3
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


def draw(
    rgb_u8: Pixels,
    instances: Sequence[DrawnInstance],
    *,
    min_side_px: int = SMALLEST_SIDE_PX,
    max_side_px: int | None = None,
) -> Pixels:
    """Return the picture (h, w, 3) with its instances, (h', w', 3), shrunk until no side is over `max_side_px`.

    One of a longer side below `min_side_px` is enlarged to that, or to `max_side_px` where it is less. Smaller masks
    lie on larger ones. Labels claim their places in the order given.

    Raises:
        ValueError: a mask is damaged, or not of the picture's size.
    """
    height, width = rgb_u8.shape[:2]
    for instance in instances:
        if instance.mask.size_hw != (height, width):
            raise ValueError(f"a mask of {instance.mask.size_hw} on a picture of {(height, width)}")
    side_px = max(height, width, min_side_px)
    scale = min(side_px, max_side_px or side_px) / max(height, width)
    picture = _resized(rgb_u8, scale)
    canvas_wh = picture.shape[1], picture.shape[0]
    outlines = [_outline(instance.mask, canvas_wh) for instance in instances]
    drawn = [(o, instance) for o, instance in zip(outlines, instances, strict=True) if o is not None]
    drawn.sort(key=lambda pair: -_area(pair[0].box_xyxy))
    canvas = picture.copy()
    for (outline, instance), n_below in zip(drawn, n_sharing([i for _, i in drawn]), strict=True):
        _paint(canvas, picture, outline, instance.color_rgb, n_below)
    of_mask = {id(instance): outline for outline, instance in drawn}
    labelled = [instance for instance in instances if instance.label and id(instance) in of_mask]
    return with_captions(canvas, [_caption(instance, of_mask[id(instance)], canvas_wh) for instance in labelled])


def n_sharing(instances: Sequence[DrawnInstance]) -> list[int]:
    """Return, for each instance, how many of the ones before it are of another colour and the same object."""
    masks = [instance.mask for instance in instances]
    same = pairwise_overlap(masks, masks, "iou") >= SAME_OBJECT_IOU
    colors = [instance.color_rgb for instance in instances]
    return [len({colors[j] for j in range(i) if same[i, j]} - {colors[i]}) for i in range(len(instances))]


def _caption(instance: DrawnInstance, outline: Outline, canvas_wh: tuple[int, int]) -> Caption:
    point = innermost_point(instance.mask)
    assert point is not None, "it has an outline"
    height, width = instance.mask.size_hw
    x, y = point[0] * canvas_wh[0] / width, point[1] * canvas_wh[1] / height
    return Caption(text=instance.label, color_rgb=instance.color_rgb, point_xy=(x, y), box_xyxy=outline.box_xyxy)


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


def _paint(canvas: Pixels, picture: Pixels, outline: Outline, color_rgb: Rgb, n_below: int) -> None:
    """Draw a mask: a fill, and a line between darker edges, which show it on a ground of its very colour.

    What lies there already is covered, and not mixed with: else a colour would be seen that is nobody's. On an object
    that `n_below` other colours have already, only stripes are drawn, so that those are seen between them.
    """
    line_px = max(1, 2 * round(max(canvas.shape) / 1400))  # not 3: OpenCV draws 3 and 4 alike
    x0, y0, x1, y1 = _grown(outline.box_xyxy, line_px + 2, (canvas.shape[1], canvas.shape[0]))
    place = slice(y0, y1), slice(x0, x1)
    corner = np.array((x0, y0), np.int32) << SUBPIXEL_BITS
    contours = [points - corner for points in outline.contours]
    fill = np.zeros((y1 - y0, x1 - x0), np.uint8)  # overlapping contours cancel out, so holes stay open
    cv2.fillPoly(fill, contours, 255, cv2.LINE_AA, SUBPIXEL_BITS)
    color = np.array(color_rgb, np.float32)
    tinted = picture[place] + (color - picture[place]) * np.float32(FILL)
    painted = _blended(canvas[place].astype(np.float32), tinted, _share(fill))
    for shade, thickness_px in ((0.35, line_px + 1), (1.0, line_px)):
        line = np.zeros_like(fill)
        cv2.polylines(line, contours, True, 255, thickness_px, cv2.LINE_AA, SUBPIXEL_BITS)
        painted = _blended(painted, np.rint(color * np.float32(shade)), _share(line))
    if n_below:
        painted = _blended(canvas[place], painted, _stripes((x0, y0, x1, y1), n_below, max(canvas.shape)))
    canvas[place] = np.rint(painted)


def _share(cover_u8: Pixels) -> Cover:
    return cover_u8.astype(np.float32) / np.float32(255)


def _blended(ground: npt.NDArray[Any], color: npt.NDArray[Any], cover: Cover) -> npt.NDArray[np.float32]:
    """Return colours (h, w, 3) or (3,) over a ground, by the share of each pixel that they cover."""
    blended: npt.NDArray[np.float32] = ground + (color - ground) * cover[:, :, None]
    return blended


def _stripes(box_xyxy: Box, n_below: int, side_px: int) -> Cover:
    """Return which part of each pixel of a box lies on diagonal stripes, of every n-th the first, rising or falling."""
    x0, y0, x1, y1 = box_xyxy
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    width_px = max(3.0, STRIPE_PX * side_px / 960)
    along = (x + y if n_below % 2 else x - y) / (math.sqrt(2) * width_px) % (n_below + 1)
    edge = np.minimum(along, 1 - along) * width_px + 0.5  # pixels from the edge, inside it
    cover: Cover = np.clip(edge, 0, 1).astype(np.float32)
    return cover


def _grown(box_xyxy: Box, by_px: int, canvas_wh: tuple[int, int]) -> Box:
    x0, y0, x1, y1 = box_xyxy
    return max(0, x0 - by_px), max(0, y0 - by_px), min(canvas_wh[0], x1 + by_px), min(canvas_wh[1], y1 + by_px)


def _area(box_xyxy: Box) -> int:
    x0, y0, x1, y1 = box_xyxy
    return (x1 - x0) * (y1 - y0)


def _srgb(linear: float) -> int:
    """Return a linear channel as sRGB (IEC 61966-2-1), cut off where a screen has no such colour."""
    level = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * min(max(level, 0.0), 1.0))
