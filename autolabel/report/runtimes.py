"""How long the job worked, as far as its output says: the runs that held it, each from its start to its end.

A run that was killed has no end: then it worked at least as long as it renewed its lease.
"""

from dataclasses import dataclass
from datetime import datetime

from autolabel.errors import BadInput
from autolabel.output import lease
from autolabel.storage import Storage
from autolabel.storage.uris import join


@dataclass(frozen=True, kw_only=True)
class Work:
    """One run. `seconds` is a lower bound unless it `ended`."""

    number: int
    started_at: str
    ended: bool
    seconds: float


def works(storage: Storage, output_uri: str) -> list[Work]:
    """Return every run of an output, in order.

    Raises:
        BadInput: a record is damaged.
    """
    uris = sorted(item.uri for item in storage.list(join(output_uri, lease.FOLDER)) if item.uri.endswith(".json"))
    return [work(storage, uri) for uri in uris]


def work(storage: Storage, uri: str) -> Work:
    run = lease.read_run(storage, uri)
    try:
        started = datetime.fromisoformat(run.started_at)
        ended = None if run.ended_at is None else datetime.fromisoformat(run.ended_at)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{uri} was not written by autolabel: {error}") from error
    seconds = lease.RENEW_S * run.renewals if ended is None else (ended - started).total_seconds()
    return Work(number=run.number, started_at=run.started_at, ended=ended is not None, seconds=seconds)
