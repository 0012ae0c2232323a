"""COCO panoptic: `panoptic/panoptic.json` and a PNG per image in `panoptic/masks/`, named as the image.

A pixel's colour is the id of its segment, red + 256 green + 65536 blue, and 0 where nothing was found. Every pixel
has one segment at most: where instances overlap, the higher score is on top, and areas and boxes are of what is seen
then. An instance of which nothing is seen is left out. All categories are things.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import orjson

from autolabel.exports.base import Export, NamedImage
from autolabel.exports.coco import categories, images, info, write_list
from autolabel.exports.file_names import Stems
from autolabel.exports.painting import Painting, paint
from autolabel.labels.types import Instance
from autolabel.parallel import in_threads, n_cores
from autolabel.wording import counted

FILES = r"masks/.+\.png|panoptic\.json"


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """An image's entry, and what overlaps cost."""

    annotation: dict[str, Any]
    n_hidden: int
    n_contested_px: int


def write(export: Export) -> str:
    counts = Counter[str]()
    things = [category | {"isthing": 1} for category in categories(export)]
    with export.replace("panoptic.json") as file:
        file.write(b'{"info":' + orjson.dumps(info(export)) + b',\n"categories":' + orjson.dumps(things))
        n_images = write_list(file, "images", images(export, export.units))
        write_list(file, "annotations", annotations(export, counts))
        file.write(b"}\n")
    segments = counted(counts["segments"], "segment")
    return (
        f"{export.uri('panoptic.json')}: {counted(n_images, 'image')}, {segments}, {export.left_out}\n"
        f"{counted(counts['contested_px'], 'pixel')} that several instances claimed went to the higher score; "
        f"{counted(counts['hidden'], 'instance')} of which nothing is seen then left out"
    )


def annotations(export: Export, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Give the entry of each image, its PNG written; `counts` is added to."""
    write_png = partial(write_image, export, Stems(export.names()))
    for segmented in in_threads(write_png, export.images(), n_cores()):
        counts["segments"] += len(segmented.annotation["segments_info"])
        counts["hidden"] += segmented.n_hidden
        counts["contested_px"] += segmented.n_contested_px
        yield segmented.annotation


def write_image(export: Export, stems: Stems, image: NamedImage) -> Segmented:
    painting = paint(image, range(1, len(image.labels.instances) + 1))
    name = f"{stems.of(image.labels.image_id, image.name)}.png"
    red_green_blue = [(painting.values >> shift).astype(np.uint8) for shift in (0, 8, 16)]
    export.write(f"masks/{name}", cv2.imencode(".png", np.dstack(red_green_blue[::-1]))[1].tobytes())  # cv2 takes BGR
    seen = [segment_info(painting, instance, n) for n, instance in enumerate(image.labels.instances, start=1)]
    segments = [info for info in seen if info["area"]]
    return Segmented(
        annotation={"image_id": image.labels.image_id, "file_name": name, "segments_info": segments},
        n_hidden=len(seen) - len(segments),
        n_contested_px=painting.n_contested_px,
    )


def segment_info(painting: Painting, instance: Instance, segment_id: int) -> dict[str, Any]:
    """Return area and box of what is seen of an instance."""
    left, top, width, height = map(int, instance.bbox_xywh)
    seen = painting.values[top : top + height, left : left + width] == segment_id
    (rows,), (columns,) = np.nonzero(seen.any(axis=1)), np.nonzero(seen.any(axis=0))
    box_xyxy = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0, 0, 0, 0]
    x0, y0, x1, y1 = map(int, box_xyxy)
    return {
        "id": segment_id,
        "category_id": instance.category_id,
        "area": int(seen.sum()),
        "bbox": [left + x0, top + y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "score": instance.score,
        **({} if instance.object_id is None else {"object_id": instance.object_id}),
    }
