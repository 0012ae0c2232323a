"""Labels in the formats that others read. A new format is one module here and one line in `FORMATS`."""

from collections.abc import Callable

from autolabel.config import ExportConfig
from autolabel.errors import BadInput
from autolabel.exports import coco
from autolabel.output import LabelledOutput, finished_output

FORMATS: dict[str, Callable[[LabelledOutput], str]] = {"coco": coco.export}


def export(config: ExportConfig) -> str:
    """Write `format` from the labels of a finished job; what was written where, as text.

    Raises:
        BadInput: there is no such format, or the job is not finished.
    """
    if config.format not in FORMATS:
        raise BadInput(f"format: {config.format!r} is not one of {', '.join(FORMATS)}")
    return FORMATS[config.format](finished_output(config.output))
