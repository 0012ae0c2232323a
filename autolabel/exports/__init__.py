"""Step 7 of 7, use: labels in the formats that others read.

A new format is one module here, one line in `FORMATS`, and its name in the help of `format`.

A format writes into a folder of its own in the output. What an earlier export left there is removed first, so that no
file of other splits is taken for one of these. The file that readers open first is written last: where it is, all is.
"""

from collections.abc import Callable
from dataclasses import dataclass

from autolabel.config import ExportConfig
from autolabel.errors import BadInput
from autolabel.exports import (
    coco,
    coco_polygons,
    cvat,
    huggingface,
    instances,
    label_studio,
    panoptic,
    sa1b,
    semantic,
    yolo,
)
from autolabel.exports.base import Export, clear
from autolabel.exports.splits import DEFAULT_SHARES, Splits
from autolabel.output.job_output import finished_output
from autolabel.storage.uris import join


@dataclass(frozen=True, kw_only=True)
class Format:
    """`files` is a pattern of the names that `write` gives to files in `folder`; `write` returns the closing text."""

    folder: str
    files: str
    write: Callable[[Export], str]


FORMATS = {
    "coco": Format(folder="coco", files=coco.FILES, write=coco.write),
    "coco-polygons": Format(folder="coco_polygons", files=coco.FILES, write=coco_polygons.write),
    "yolo": Format(folder="yolo", files=yolo.FILES, write=yolo.write),
    "label-studio": Format(folder="label_studio", files=label_studio.FILES, write=label_studio.write),
    "cvat": Format(folder="cvat", files=cvat.FILES, write=cvat.write),
    "huggingface": Format(folder="huggingface", files=huggingface.FILES, write=huggingface.write),
    "panoptic": Format(folder="panoptic", files=panoptic.FILES, write=panoptic.write),
    "semantic": Format(folder="semantic", files=semantic.FILES, write=semantic.write),
    "sa1b": Format(folder="sa1b", files=sa1b.FILES, write=sa1b.write),
    "instances": Format(folder="instances", files=instances.FILES, write=instances.write),
}


def export(config: ExportConfig) -> str:
    """Write `format` from the labels of a finished job; what was written where, as text.

    Raises:
        BadInput: there is no such format, or the job is not finished.
    """
    if config.format not in FORMATS:
        raise BadInput(f"format: {config.format!r} is not one of {', '.join(FORMATS)}")
    output = finished_output(config.output)
    chosen = FORMATS[config.format]
    folder_uri = join(output.uri, chosen.folder)
    clear(output, folder_uri, chosen.files)
    splits = Splits(shares=config.splits or DEFAULT_SHARES)
    return chosen.write(Export(output=output, folder_uri=folder_uri, splits=splits))
