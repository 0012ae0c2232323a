"""A picture of what was found: a row per image, a column per category, from the COCO exports of outputs."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from autolabel.masks.rle import Rle, decode

TILE_WH = (252, 204)  # pixels; images keep their proportions inside
GAP, HEADING = 10, 46
PAPER, INK, FAINT = (250, 249, 246), (30, 32, 38), (120, 122, 128)
TINTS = ((230, 57, 70), (29, 120, 220), (20, 150, 100), (240, 140, 0), (130, 60, 200), (0, 150, 170))
DIMMED = 0.4  # of what was not found
MARK = (0, 220, 90)
Marks = Mapping[tuple[str, str], Sequence[Sequence[float]]]  # boxes xywh and points xy, by file name and category


def draw_sheet(
    outputs: Mapping[Path, Marks],
    images: Path,
    *,
    headings: Mapping[str, str],
    rows: int,
) -> Image.Image:
    """Draw the first `rows` images of exported outputs, each alone and under each category.

    Args:
        outputs: of the same images, with what prompted to draw on them.
        images: the folder that the export's file names start from.
        headings: a second line under a category's name.
    """
    columns = [one for output, marks in outputs.items() for one in columns_of(output, marks)]
    shown = list(columns[0].found)[:rows]
    width, height = TILE_WH
    n_columns = 1 + len(columns)
    size = n_columns * (width + GAP) + GAP, HEADING + len(shown) * (height + GAP) + GAP
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    titles = [("image", "as it was read")] + [(one.category, headings.get(one.category, "")) for one in columns]
    for column, (title, line) in enumerate(titles):
        left = GAP + column * (width + GAP)
        draw.text((left, 8), title, fill=INK, font=ImageFont.load_default(16))
        draw.text((left, 28), line, fill=FAINT, font=ImageFont.load_default(12))
    for row, name in enumerate(shown):
        with Image.open(images / name) as opened:
            rgb = np.asarray(opened.convert("RGB"))
        top = HEADING + row * (height + GAP)
        _paste(sheet, Image.fromarray(rgb), (GAP, top), caption=name)
        for number, one in enumerate(columns, start=1):
            annotations = one.found[name]
            tile = Image.fromarray(_highlighted(rgb, annotations))
            for mark in one.marks.get((name, one.category), ()):
                _draw_mark(tile, mark)
            scores = ", ".join(f"{annotation['score']:.2f}" for annotation in annotations[:5])
            more = ", ..." if len(annotations) > 5 else ""
            caption = f"{len(annotations)} found: {scores}{more}" if annotations else "nothing found"
            _paste(sheet, tile, (GAP + number * (width + GAP), top), caption=caption)
    return sheet


@dataclass(frozen=True, kw_only=True)
class Column:
    """A category of an output: what was found on each image, by its name, and what prompted."""

    category: str
    found: Mapping[str, Sequence[dict[str, Any]]]
    marks: Marks


def columns_of(output: Path, marks: Marks) -> Iterator[Column]:
    coco = orjson.loads((output / "coco" / "annotations.json").read_bytes())
    annotations_of: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for annotation in coco["annotations"]:
        annotations_of[annotation["image_id"], annotation["category_id"]].append(annotation)
    for category in coco["categories"]:
        found = {image["file_name"]: annotations_of[image["id"], category["id"]] for image in coco["images"]}
        yield Column(category=category["name"], found=found, marks=marks)


def _draw_mark(tile: Image.Image, mark: Sequence[float]) -> None:
    """Draw a box or a point."""
    draw, line_px = ImageDraw.Draw(tile), max(2, tile.width // 120)
    if len(mark) == 4:
        x, y, w, h = mark
        draw.rectangle((x, y, x + w, y + h), outline=MARK, width=line_px)
    else:
        x, y = mark[:2]
        draw.ellipse((x - 3 * line_px, y - 3 * line_px, x + 3 * line_px, y + 3 * line_px), fill=MARK)


def _highlighted(rgb: npt.NDArray[np.uint8], annotations: Sequence[dict[str, Any]]) -> npt.NDArray[np.uint8]:
    """Return the picture in grey, with each instance in its own colours, tinted and outlined."""
    grey = rgb.mean(axis=2, keepdims=True)
    shown = np.repeat(grey * DIMMED + 255 * 0.25 * DIMMED, 3, axis=2)
    for number, annotation in enumerate(annotations):
        height, width = annotation["segmentation"]["size"]
        mask = decode(Rle(size_hw=(height, width), counts=annotation["segmentation"]["counts"]))
        tint = np.array(TINTS[number % len(TINTS)])
        shown[mask] = 0.75 * rgb[mask] + 0.25 * tint
        edge_px = 2 * (max(height, width) // 250) + 3
        grown = Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(edge_px))
        shown[(np.asarray(grown) > 0) & ~mask] = tint
    return np.clip(shown, 0, 255).astype(np.uint8)


def _paste(sheet: Image.Image, tile: Image.Image, left_top: tuple[int, int], *, caption: str) -> None:
    (left, top), (width, height) = left_top, TILE_WH
    tile.thumbnail((width, height - 18), Image.Resampling.LANCZOS)
    sheet.paste(tile, (left, top))
    ImageDraw.Draw(sheet).text((left, top + tile.height + 2), caption, fill=INK, font=ImageFont.load_default(12))
