"""CVAT for images 1.1: `cvat/annotations.xml`, to upload into a task with the same images, and `cvat/labels.json`.

Make a task of the images with the contents of `labels.json` as its labels ("Raw"), then upload the annotations as
"CVAT 1.1". Masks are pixel by pixel: run lengths of the mask's box, row by row, zeros first. CVAT finds images by
name: those whose names XML cannot hold are left out, and counted. A given object has its id as an attribute.
"""

import re
from xml.sax.saxutils import escape, quoteattr

import orjson

from autolabel.exports.base import Export, NamedImage
from autolabel.exports.painting import row_runs
from autolabel.labels.types import Instance
from autolabel.masks.rle import decode_crop
from autolabel.parallel import in_threads, n_cores
from autolabel.wording import counted

FILES = r"annotations\.xml|labels\.json"
OBJECT_ID = {"name": "object_id", "input_type": "text", "mutable": False, "values": [""]}
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


def write(export: Export) -> str:
    name_of = {category.id: category.name for category in export.output.record.settings.ontology.categories}
    attributes = [OBJECT_ID] if export.output.record.settings.objects else []
    labels = [{"name": name, "type": "mask", "attributes": attributes} for name in name_of.values()]
    export.write("labels.json", orjson.dumps(labels, option=orjson.OPT_INDENT_2))
    images = (image for image in export.images() if not NOT_XML.search(image.name))
    n_images = n_masks = 0
    with export.replace("annotations.xml") as file:
        file.write(head(list(name_of.values())).encode())
        for image, masks in in_threads(lambda image: (image, mask_elements(image, name_of)), images, n_cores()):
            height, width = image.size_hw
            size = f'width="{width}" height="{height}"'
            file.write(f'<image id="{n_images}" name={quoteattr(image.name)} {size}>\n'.encode())
            file.writelines(masks)
            file.write(b"</image>\n")
            n_images += 1
            n_masks += len(masks)
        file.write(b"</annotations>\n")
    told = (
        f"{export.uri('annotations.xml')}: {counted(n_images, 'image')}, {counted(n_masks, 'mask')}, {export.left_out}"
    )
    n_unnamed = export.summary.n_readable - n_images
    return told + (f", and {n_unnamed} with names that XML cannot hold" if n_unnamed else "")


def head(names: list[str]) -> str:
    labels = "".join(f"<label><name>{escape(name)}</name><type>mask</type><attributes/></label>" for name in names)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta><task><labels>{labels}</labels></task></meta>\n"
    )


def mask_elements(image: NamedImage, name_of: dict[int, str]) -> list[bytes]:
    return [mask_element(instance, name_of[instance.category_id]) for instance in image.labels.instances]


def mask_element(instance: Instance, label: str) -> bytes:
    (left, top), pixels = decode_crop(instance.rle)
    height, width = pixels.shape
    runs = ", ".join(map(str, row_runs(pixels).tolist()))
    box = f'left="{left}" top="{top}" width="{width}" height="{height}"'
    start = f'<mask label={quoteattr(label)} source="auto" occluded="0" rle="{runs}" {box} z_order="0"'
    if instance.object_id is None or NOT_XML.search(instance.object_id):
        return f"{start}/>\n".encode()
    return f'{start}><attribute name="object_id">{escape(instance.object_id)}</attribute></mask>\n'.encode()
