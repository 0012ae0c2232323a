"""Label Studio: tasks with predictions to review, `label_studio/tasks-00000.json` and so on, and `labels.xml`.

Make a project with `labels.xml` as its labelling interface, then import the tasks. Masks are brush labels, which hold
them pixel by pixel. Images on object stores are read through the project's cloud storage. Those of a local input are
read through Label Studio's local files: run it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the folder above the input's, and add the input's folder as local
storage.

Brush labels are run lengths of the mask as RGBA bytes, row by row, as the rle-pack library of thi.ng packs them: 32
bits for the number of bytes, 5 for a word's bits less 1, four times 4 for the sizes of length fields less 1; then
runs, each a set bit, 2 bits for the size of its length field, its length less 1 in as many bits, and its word.
"""

from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt
import orjson

from autolabel.exports.base import Export, NamedImage
from autolabel.exports.painting import row_runs
from autolabel.labels.types import Instance
from autolabel.masks.rle import Rle, decode_crop
from autolabel.parallel import in_threads, n_cores
from autolabel.storage.uris import scheme_of
from autolabel.wording import counted

FILES = r"tasks-\d+\.json|labels\.xml"
TASKS_PER_FILE = 500  # Label Studio takes uploads of 250 MB, and a mask is some 10 KB
TO_NAME, FROM_NAME = "image", "label"

WORD_BITS = 8
LENGTH_BITS = np.array([3, 4, 8, 16])
LONGEST_RUN = 2**16
CHANNELS = 4


def write(export: Export) -> str:
    tasks = in_threads(partial(encoded_task, export), export.images(), n_cores())
    n_files = 0
    for first in tasks:
        with export.replace(f"tasks-{n_files:05d}.json") as file:
            file.write(b"[" + first)
            for task in islice(tasks, TASKS_PER_FILE - 1):
                file.write(b",\n" + task)
            file.write(b"]\n")
        n_files += 1
    names = [category.name for category in export.output.record.settings.ontology.categories]
    export.write("labels.xml", interface(names).encode())
    return (
        f"{export.folder_uri}: {counted(export.summary.n_readable, 'task')} in {counted(n_files, 'file')}, "
        f"{counted(export.summary.n_instances, 'mask')}, {export.left_out}\n"
        f"{export.uri('labels.xml')}: the labelling interface; make a project with it, then import the tasks"
    )


def interface(names: list[str]) -> str:
    """Label Studio's configuration of a project."""
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in names)
    return (
        "<View>\n"
        f'  <Image name="{TO_NAME}" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="{FROM_NAME}" toName="{TO_NAME}">\n{labels}  </BrushLabels>\n'
        "</View>\n"
    )


def encoded_task(export: Export, image: NamedImage) -> bytes:
    height, width = image.size_hw
    shared = {
        "type": "brushlabels",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    results = [
        {"id": f"{image.labels.image_id}-{n}", **shared, **result(export, i)}
        for n, i in enumerate(image.labels.instances, 1)
    ]
    prediction: dict[str, Any] = {"model_version": export.output.record.fingerprint[:12], "result": results}
    if image.labels.instances:
        prediction["score"] = min(instance.score for instance in image.labels.instances)
    data = {"image": shown_uri(export, image), "image_id": image.labels.image_id, "uri": image.labels.uri}
    return orjson.dumps({"data": data, "predictions": [prediction]})


def result(export: Export, instance: Instance) -> dict[str, Any]:
    """Return what is of an instance alone in its result."""
    name = export.output.record.settings.ontology.by_id[instance.category_id].name
    value = {"format": "rle", "rle": brush(instance.rle).tolist(), "brushlabels": [name]}
    meta = {} if instance.object_id is None else {"meta": {"text": [instance.object_id]}}
    return {"score": instance.score, "value": value, **meta}


def shown_uri(export: Export, image: NamedImage) -> str:
    """Return where Label Studio finds an image: below its document root, if it is a local one of the input's folder."""
    if scheme_of(image.labels.uri) != "file" or image.name == image.labels.uri:
        return image.labels.uri
    return f"/data/local-files/?d={quote(str(PurePosixPath(export.output.plan.input_root).name))}/{quote(image.name)}"


def brush(rle: Rle) -> npt.NDArray[np.uint8]:
    """Return a mask as bytes of Label Studio's run lengths."""
    n_pixels, words = pixel_runs(rle)
    n_bytes = CHANNELS * n_pixels
    n_pieces = -(-n_bytes // LONGEST_RUN)  # all of the greatest length but the last
    pieces = np.full(n_pieces.sum(), LONGEST_RUN)
    pieces[np.cumsum(n_pieces) - 1] = n_bytes - (n_pieces - 1) * LONGEST_RUN
    size = np.searchsorted(2**LENGTH_BITS, pieces)
    n_length_bits = LENGTH_BITS[size]
    codes = ((0b100 | size) << n_length_bits | (pieces - 1)) << WORD_BITS | np.repeat(words, n_pieces)
    header = [n_bytes.sum(), WORD_BITS - 1, *(LENGTH_BITS - 1)]
    header_bits = [32, 5, *[4] * len(LENGTH_BITS)]
    return packed(np.concatenate([header, codes]), np.concatenate([header_bits, 3 + n_length_bits + WORD_BITS]))


def pixel_runs(rle: Rle) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pixels, and 0 or 255, of each run of the whole mask row by row; none is without pixels."""
    height, width = rle.size_hw
    (left, top), pixels = decode_crop(rle)
    band = np.zeros((pixels.shape[0], width), np.bool_)
    band[:, left : left + pixels.shape[1]] = pixels
    above, below = top * width, (height - top - len(band)) * width
    runs = np.concatenate([[above], row_runs(band), [below]])
    words = np.concatenate([[0], np.arange(len(runs) - 2) % 2 * 255, [0]])
    return runs[runs > 0], words[runs > 0]


def packed(values: npt.NDArray[np.int64], n_bits: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return numbers of so many bits each, highest bit first, one after the other; zeros fill the last byte."""
    ends = np.repeat(np.cumsum(n_bits), n_bits)
    place = ends - 1 - np.arange(len(ends))
    return np.packbits((np.repeat(values, n_bits) >> place & 1).astype(np.uint8))
