"""An output as its readers find it: what was asked, what was planned, and where the rows are."""

from dataclasses import dataclass
from pathlib import Path

from autolabel.config import OutputConfig
from autolabel.errors import BadInput, did_you_mean_beside
from autolabel.labels.units import done_units
from autolabel.output import run_record
from autolabel.output.run_record import RunRecord
from autolabel.plan import Plan
from autolabel.storage import Storage, open_storage
from autolabel.storage.uris import join, path_of, resolve_uri, scheme_of


@dataclass(frozen=True, kw_only=True)
class JobOutput:
    """The output of a job; `plan` is sealed, its units may be done or not."""

    storage: Storage
    uri: str
    record: RunRecord
    plan: Plan

    def file_name(self, image_uri: str) -> str:
        """Return the name of an image relative to the input root, if it leads from there to that image, not further up.

        Otherwise its whole URI: so it is where the image lies elsewhere, and for keys such as `../a.jpg` or `/a.jpg`.
        """
        root = self.plan.input_root
        name = image_uri.removeprefix(f"{root.rstrip('/')}/")
        return name if ".." not in name.split("/") and resolve_uri(name, root) == image_uri else image_uri


def finished_output(config: OutputConfig) -> JobOutput:
    """Return the output at `config.uri`, of which every unit is done.

    Raises:
        BadInput: as `open_output`, or units are missing.
    """
    output = open_output(config)
    n_units = output.plan.n_units
    missing = n_units - len(done_units(output.storage, output.uri) & set(range(n_units)))
    if missing:
        raise BadInput(f"output.uri: {missing} of {n_units} units are not labelled yet; run the job again first")
    return output


def open_output(config: OutputConfig) -> JobOutput:
    """Open the output at `config.uri`.

    Raises:
        BadInput: no job was ever started there, or it was stopped before its plan was sealed.
    """
    storage = open_storage(config.uri, config.storage_options)
    record = run_record.read(storage, config.uri)
    if record is None:
        meant = did_you_mean_beside(Path(path_of(config.uri))) if scheme_of(config.uri) == "file" else ""
        place = join(config.uri, run_record.RUN_NAME)
        raise BadInput(f"output.uri: there is no {place}: no job was ever started here{meant}")
    try:
        plan = Plan(storage, config.uri)
    except FileNotFoundError as error:
        raise BadInput(f"output.uri: {config.uri} has no plan yet: its job was stopped early; run it again") from error
    return JobOutput(storage=storage, uri=config.uri, record=record, plan=plan)
