"""`autolabel demo-scenes`: drawn images, and what every phrase means on every one of them, as COCO."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson
from PIL import Image

from autolabel.config import DemoScenesConfig
from autolabel.demo.phrases import PHRASES
from autolabel.demo.scenes import Scene, draw_scene
from autolabel.errors import Refused
from autolabel.masks.rle import area, bbox_xywh, encode
from autolabel.storage import Storage, check_output, open_storage
from autolabel.storage.uris import absolute_uri, join
from autolabel.wording import counted

GROUND_TRUTH_NAME = "ground_truth.json"
JPEG_QUALITY = 93


def demo_scenes(config: DemoScenesConfig) -> str:
    """Write the scenes of a seed and their ground truth; the text to close with.

    The categories of the ground truth are the phrases to prompt with. An object has an annotation for every phrase
    that means it. As in LVIS, an image's `neg_category_ids` are the phrases that mean nothing on it; all other phrases
    are annotated exhaustively.

    Raises:
        Refused: the folder holds other scenes.
    """
    check_output(config.output.uri)
    uri = absolute_uri(config.output.uri)
    storage = open_storage(uri, config.output.storage_options)
    ground_truth_uri = join(uri, GROUND_TRUTH_NAME)
    about = {"description": "scenes drawn by autolabel demo-scenes", "seed": config.seed, "count": config.count}
    _refuse_other_scenes(storage, ground_truth_uri, about)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(config.count):
        scene = draw_scene(config.seed, index)
        name = file_name(index)
        with storage.replace(join(uri, name)) as file:
            write_jpeg(scene, file)
        of_scene = list(_annotations(scene))
        annotations += [
            {"id": len(annotations) + n, "image_id": index + 1, **item} for n, item in enumerate(of_scene, start=1)
        ]
        present = {annotation["category_id"] for annotation in of_scene}
        height, width = scene.ids.shape
        images.append(
            {
                "id": index + 1,
                "file_name": name,
                "width": width,
                "height": height,
                "neg_category_ids": [number for number in range(1, len(PHRASES) + 1) if number not in present],
            }
        )
    categories = [{"id": number, "name": phrase.text} for number, phrase in enumerate(PHRASES, start=1)]
    document = {"info": about, "categories": categories, "images": images, "annotations": annotations}
    with storage.replace(ground_truth_uri) as file:
        file.write(orjson.dumps(document))
    return (
        f"{counted(config.count, 'scene')} in {uri}\n"
        f"{ground_truth_uri}: {counted(len(annotations), 'annotation')} of {len(PHRASES)} phrases"
    )


def file_name(index: int) -> str:
    """Return the name of a scene's image, in the order of the series."""
    return f"{index + 1:06d}.jpg"


def write_jpeg(scene: Scene, file: BinaryIO) -> None:
    encoded = io.BytesIO()  # Pillow seeks, and a storage's writer need not
    Image.fromarray(scene.rgb).save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    file.write(encoded.getvalue())


def _annotations(scene: Scene) -> Iterator[dict[str, Any]]:
    """Yield an annotation for each object and phrase that means it; `object` tells objects apart."""
    for index, kind in enumerate(scene.kinds):
        rle = encode(scene.mask(index))
        shared = {
            "object": index,
            "segmentation": rle.to_coco(),
            "area": area(rle),
            "bbox": list(bbox_xywh(rle)),
            "iscrowd": 0,
        }
        for number, phrase in enumerate(PHRASES, start=1):
            if phrase.means(kind):
                yield {"category_id": number, **shared}


def _refuse_other_scenes(storage: Storage, uri: str, about: dict[str, Any]) -> None:
    try:
        there = orjson.loads(storage.read(uri)).get("info")
    except FileNotFoundError:
        return
    if there != about:
        raise Refused(f"{uri} is of other scenes ({there}); use a new output.uri")
