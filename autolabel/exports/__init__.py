"""Labels in the formats that others read. A new format is one module here and one line in `FORMATS`."""

from collections.abc import Callable

from autolabel import labels
from autolabel.config import ExportConfig
from autolabel.errors import BadInput
from autolabel.exports import coco
from autolabel.output import LabelledOutput, open_output

FORMATS: dict[str, Callable[[LabelledOutput], str]] = {"coco": coco.export}


def export(config: ExportConfig) -> str:
    """Write `format` from the labels of a finished job; what was written where, as text.

    Raises:
        BadInput: there is no such format, or the job is not finished.
    """
    if config.format not in FORMATS:
        raise BadInput(f"format: {config.format!r} is not one of {', '.join(FORMATS)}")
    output = open_output(config.output)
    n_units = output.plan.n_units
    missing = n_units - len(labels.done_units(output.storage, output.uri) & set(range(n_units)))
    if missing:
        raise BadInput(f"output.uri: {missing} of {n_units} units are not labelled yet; run the job again first")
    return FORMATS[config.format](output)
