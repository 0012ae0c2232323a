"""Labels in the formats that others read. A new format is one module here and one line in `FORMATS`."""

from collections.abc import Callable

from autolabel import labels, run_record
from autolabel.config import ExportConfig
from autolabel.errors import BadInput
from autolabel.exports import coco
from autolabel.exports.source import LabelledOutput
from autolabel.plan import Plan
from autolabel.storage import open_storage

FORMATS: dict[str, Callable[[LabelledOutput], str]] = {"coco": coco.export}


def export(config: ExportConfig) -> str:
    """Write `format` from the labels of a finished job; what was written where, as text.

    Raises:
        BadInput: there is no such format, or the job is not finished.
    """
    if config.format not in FORMATS:
        raise BadInput(f"format: {config.format!r} is not one of {', '.join(FORMATS)}")
    uri = config.output.uri
    storage = open_storage(uri, config.output.storage_options)
    record = run_record.read(storage, uri)
    if record is None:
        raise BadInput(f"output.uri: no job was ever started at {uri}")
    try:
        plan = Plan(storage, uri)
    except FileNotFoundError as error:
        raise BadInput(f"output.uri: {uri} has no plan yet; run its job again") from error
    missing = plan.n_units - len(labels.done_units(storage, uri) & set(range(plan.n_units)))
    if missing:
        raise BadInput(f"output.uri: {missing} of {plan.n_units} units are not labelled yet; run the job again first")
    return FORMATS[config.format](LabelledOutput(storage=storage, uri=uri, record=record, plan=plan))
