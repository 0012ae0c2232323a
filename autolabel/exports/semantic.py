"""Semantic masks: a PNG per image in `semantic/`, named as the image, each pixel the class it belongs to.

0 is unlabelled, and the n-th category is n; `classes.json` has their names. 8 bits a pixel up to 255 categories, 16
from there. Where instances of different categories overlap, the one with the higher score is on top.
"""

from functools import partial

import cv2
import numpy as np
import orjson

from autolabel.exports.base import Export, NamedImage
from autolabel.exports.file_names import Stems
from autolabel.exports.painting import paint
from autolabel.parallel import in_threads, n_cores
from autolabel.wording import counted

FILES = r".+\.png|classes\.json"
MOST_IN_8_BITS = 255


def write(export: Export) -> str:
    categories = export.output.record.settings.ontology.categories
    stems = Stems(export.names())
    n_images = n_contested_px = 0
    for contested_px in in_threads(partial(write_image, export, stems), export.images(), n_cores()):
        n_images += 1
        n_contested_px += contested_px
    classes = [{"value": n, "name": category.name, "id": category.id} for n, category in enumerate(categories, start=1)]
    export.write("classes.json", orjson.dumps(classes, option=orjson.OPT_INDENT_2))
    return (
        f"{export.folder_uri}: {counted(n_images, 'mask')}, {export.left_out}\n"
        f"{counted(n_contested_px, 'pixel')} that several categories claimed went to the higher score"
    )


def write_image(export: Export, stems: Stems, image: NamedImage) -> int:
    """Write the mask of an image; how many of its pixels several categories claimed."""
    categories = export.output.record.settings.ontology.categories
    value_of = {category.id: n for n, category in enumerate(categories, start=1)}
    painting = paint(image, [value_of[instance.category_id] for instance in image.labels.instances])
    values = painting.values
    pixels = values.astype(np.uint8) if len(categories) <= MOST_IN_8_BITS else values.astype(np.uint16)
    export.write(f"{stems.of(image.labels.image_id, image.name)}.png", cv2.imencode(".png", pixels)[1].tobytes())
    return painting.n_contested_px
