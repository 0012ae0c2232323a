"""SA-1B: one JSON file per image in `sa1b/`, named as the image, as in the data set of Segment Anything.

`predicted_iou` is that of given objects and of everything, `stability_score` and `point_coords` are there where
everything was asked for; a job that looks for concepts has none of them: null, null and no points. `category`,
`category_id`, `phrase`, `object_id` and `score` are added.
"""

from functools import partial
from typing import Any

import orjson

from autolabel.exports.base import Export, NamedImage
from autolabel.exports.file_names import Stems
from autolabel.labels.types import Instance
from autolabel.parallel import IO_THREADS, in_threads
from autolabel.wording import counted

FILES = r".+\.json"


def write(export: Export) -> str:
    stems = Stems(export.names())
    n_images = n_annotations = 0
    for n in in_threads(partial(write_image, export, stems), export.images(), IO_THREADS):
        n_images += 1
        n_annotations += n
    return (
        f"{export.folder_uri}: {counted(n_images, 'file')}, {counted(n_annotations, 'annotation')}, {export.left_out}"
    )


def write_image(export: Export, stems: Stems, image: NamedImage) -> int:
    """Write the file of an image; how many annotations it has."""
    height, width = image.size_hw
    about = {"image_id": image.labels.image_id, "width": width, "height": height, "file_name": image.name}
    found = [annotation(export, instance, n) for n, instance in enumerate(image.labels.instances, start=1)]
    document = {"image": about, "annotations": found}
    export.write(f"{stems.of(image.labels.image_id, image.name)}.json", orjson.dumps(document))
    return len(found)


def annotation(export: Export, instance: Instance, number: int) -> dict[str, Any]:
    height, width = instance.rle.size_hw
    settings = export.output.record.settings
    return {
        "id": number,
        "segmentation": instance.rle.to_coco(),
        "bbox": list(instance.bbox_xywh),
        "area": instance.area_px,
        "predicted_iou": None if settings.has_concepts else instance.score,
        "stability_score": instance.stability,
        "crop_box": [0, 0, width, height],
        "point_coords": [] if instance.point_xy is None else [list(instance.point_xy)],
        "category": settings.ontology.by_id[instance.category_id].name,
        "category_id": instance.category_id,
        "phrase": instance.phrase,
        "object_id": instance.object_id,
        "score": instance.score,
    }
