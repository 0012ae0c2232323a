"""Exemplar boxes as they are written -> the model's, checked.

A box may reach out of its image by half a pixel (in fractions: by 0.001), as rounding does, and is then clipped; more
is a problem.
"""

from collections.abc import Callable, Sequence
from typing import Any

from autolabel.errors import quoted_value

BOX_FORMATS: dict[str, Callable[[float, float, float, float], tuple[float, float, float, float]]] = {
    "xywh": lambda x, y, w, h: (x, y, x + w, y + h),
    "xyxy": lambda x1, y1, x2, y2: (x1, y1, x2, y2),
    "cxcywh": lambda cx, cy, w, h: (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2),
}


def box_cxcywh(
    bbox: Any, *, box_format: str, normalized: bool, size_hw: tuple[int, int] | None
) -> tuple[float, float, float, float]:
    """Return a box as written as centre and size in fractions; raise ValueError that says what is wrong with it.

    `size_hw` may be None for normalized boxes alone.
    """
    if bbox is None:
        raise ValueError("label without box: bbox is missing")
    if not isinstance(bbox, list | tuple) or len(bbox) != 4:
        raise ValueError(f"box {quoted_value(bbox)} is not a list of 4 numbers")
    if not all(type(value) in (int, float) and abs(value) < 1e12 for value in bbox):  # NaN is below nothing
        raise ValueError(f"box {quoted_value(bbox)} is not of 4 finite numbers")
    fault = _fault(bbox, box_format, normalized, size_hw)
    if fault:
        fitting = [name for name in BOX_FORMATS if name != box_format and not _fault(bbox, name, normalized, size_hw)]
        hint = f"; box_format: {' or '.join(fitting)}?" if fitting else ""
        if normalized != (max(bbox) <= 1) and not _fault(bbox, box_format, not normalized, size_hw or (2**31, 2**31)):
            hint = f"; normalized: {str(not normalized).lower()}?"
        raise ValueError(f"box {quoted_value(list(bbox))} as {box_format} {fault}{hint}")
    h, w = (1, 1) if normalized or not size_hw else size_hw
    x1, y1, x2, y2 = BOX_FORMATS[box_format](*bbox)
    x1, y1, x2, y2 = max(0, x1), max(0, y1), min(w, x2), min(h, y2)
    return (x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h


def _fault(bbox: Sequence[float], box_format: str, normalized: bool, size_hw: tuple[int, int] | None) -> str | None:
    h, w = (1, 1) if normalized or not size_hw else size_hw
    slack = 0.001 if normalized else 0.5
    x1, y1, x2, y2 = BOX_FORMATS[box_format](*bbox)
    image = "its image" if normalized else f"its image of width {w} and height {h}"
    if x2 < x1 or y2 < y1:
        return "is inverted" if box_format == "xyxy" else "has a negative width or height"
    if x2 == x1 or y2 == y1:
        return "has no area"
    if min(x2, w) <= max(x1, 0) or min(y2, h) <= max(y1, 0):
        return f"lies outside {image}"
    if x1 < -slack or y1 < -slack or x2 > w + slack or y2 > h + slack:
        return f"reaches out of {image}"
    if not normalized and x2 - x1 < 1 and y2 - y1 < 1:
        return "is smaller than a pixel"
    return None
