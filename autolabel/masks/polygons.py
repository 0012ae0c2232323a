"""Masks as polygons, and how well these fit. Points are (x, y); the pixel (x, y) covers x to x + 1 and y to y + 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from autolabel.masks.rle import Rle, decode_crop

Points = npt.NDArray[np.float64]  # (N, 2)
Pixels = npt.NDArray[np.int64]  # (N, 2)

QUARTER_PX = 0.25


@dataclass(kw_only=True)
class Fit:
    """The agreement of polygons with the masks they stand for."""

    n: int = 0
    sum_iou: float = 0.0
    lowest_iou: float = 1.0

    def add(self, iou: float) -> None:
        self.n += 1
        self.sum_iou += iou
        self.lowest_iou = min(self.lowest_iou, iou)

    @property
    def mean_iou(self) -> float:
        return self.sum_iou / self.n if self.n else 1.0

    def __str__(self) -> str:
        return f"IoU of the polygons with the masks: {self.mean_iou:.4f} on average, {self.lowest_iou:.4f} at worst"


def outlines(rle: Rle) -> list[Points]:
    """Return one closed line for each component of a mask, at least 3 points each; its holes are joined to it.

    A hole is reached by a cut, a line that is drawn there and back, which encloses nothing: filling by the even-odd
    rule, as pycocotools and OpenCV do, gives the mask with its holes. The lines run a quarter of a pixel inside the
    mask's edge, so that a reader who takes the pixels with their centres inside, as pycocotools does, gets it back.
    """
    (left, top), pixels = decode_crop(rle)
    if not pixels.size:
        return []
    doubled = np.repeat(np.repeat(pixels.view(np.uint8), 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    fewer = [cv2.approxPolyDP(contour, 2 * QUARTER_PX, closed=True)[:, 0].astype(np.int64) for contour in contours]
    parents = hierarchy[0, :, 3]  # of a hole, the component that it is in; -1 of a component
    lines = {component: fewer[component] for component in np.flatnonzero(parents < 0)}
    for hole in np.flatnonzero(parents >= 0):
        lines[parents[hole]] = _joined(lines[parents[hole]], fewer[hole])
    return [line / 2 + (left + QUARTER_PX, top + QUARTER_PX) for line in lines.values()]


def ring(rle: Rle) -> Pixels:
    """Return one closed line along the mask's border pixels, around all its components and holes.

    Parts and holes are joined by lines that are drawn there and back, so that filling by the even-odd rule and drawing
    the line itself, as cv2.fillPoly does, gives the mask and the pixels of those joints. At least 3 points.
    """
    corner, pixels = decode_crop(rle)
    contours, _ = cv2.findContours(pixels.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    first, *further = [contour[:, 0].astype(np.int64) + np.array(corner) for contour in contours]
    joined: Pixels = first
    for contour in further:
        joined = _joined(joined, contour)
    for _ in range(3 - len(joined)):
        joined = np.concatenate([joined, joined[-1:]])
    return joined


def _joined(line: Pixels, contour: Pixels) -> Pixels:
    """Return a closed line with a detour to a contour and around it, from where the two are close."""
    start = 0
    for _ in range(2):
        leave = int(_squared_px(line, contour[start]).argmin())
        start = int(_squared_px(contour, line[leave]).argmin())
    around = np.concatenate([contour[start:], contour[: start + 1]])
    return np.concatenate([line[: leave + 1], around, line[leave:]])


def _squared_px(points: Pixels, point: Pixels) -> Pixels:
    distances: Pixels = ((points - point) ** 2).sum(axis=1)
    return distances


def filled_iou(rle: Rle, line: Pixels) -> float:
    """Return the IoU of a mask and what cv2.fillPoly fills of a line within the mask's box."""
    corner, pixels = decode_crop(rle)
    filled = np.zeros(pixels.shape, np.uint8)
    cv2.fillPoly(filled, [(line - corner).astype(np.int32)], 1)
    drawn = filled.view(np.bool_)
    return float((drawn & pixels).sum() / (drawn | pixels).sum())


def flat(points: Sequence[Points]) -> list[list[float]]:
    """Return polygons as COCO writes them: x, y, x, y, ... of each."""
    return [outline.reshape(-1).tolist() for outline in points]
