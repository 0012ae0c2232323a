"""`autolabel status`: how far a job is and who is at work on it, from its output alone; anyone may ask, at any time.

Finished units are counted by their files. How fast it goes, and what is finished in units in hand, its driver says in
the record of its run every few seconds. What became of the images stands in the files' footers, of which a large
output has too many to read: an even sample then.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from tqdm import tqdm

from autolabel.config import StatusConfig
from autolabel.labels.summary import Summary
from autolabel.labels.types import Status
from autolabel.labels.units import done_units_at, read_summary
from autolabel.output import lease
from autolabel.output.job_output import JobOutput, open_output
from autolabel.output.lease import Run
from autolabel.parallel import IO_THREADS, in_threads

FOOTERS = 1000  # read at most


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """Progress of a job. Times are in seconds since 1970."""

    output_uri: str
    n_images: int
    n_units: int
    n_done_images: int
    n_done_units: int
    sampled: Summary  # of `n_units_sampled`
    n_units_sampled: int
    last_unit_at: float | None
    images_per_s: float | None  # None until a run has finished an image
    run: Run | None  # the last one
    renewed_at: float | None
    alive: bool | None  # None where only the age of its last renewal speaks
    asked_at: float

    def __str__(self) -> str:
        return "\n".join((self.progress_line(), self.result_line(), self.run_line()))

    def progress_line(self) -> str:
        share = self.n_done_images / self.n_images
        line = f"{self.output_uri}: {self.n_done_images} of {self.n_images} images ({share:.1%}), "
        line += f"{self.n_done_units} of {self.n_units} units"
        if self.last_unit_at is not None:
            line += f"; the last one {ago(self.asked_at - self.last_unit_at)}"
        if self.n_in_hand:
            verb = "is" if self.n_in_hand == 1 else "are"
            line += f"; {self.n_in_hand} more {verb} finished, in units in hand"
        if self.images_per_s is not None:
            line += f"; {self.images_per_s:.3g} images/s"
            left = self.n_images - self.n_done_images - self.n_in_hand
            if left and self.at_work:
                line += f", {tqdm.format_interval(left / self.images_per_s)} left"
        return line

    def result_line(self) -> str:
        counts = self.sampled
        if not counts.n_images:
            return "nothing is labelled yet"
        shares = ", ".join(f"{counts.images[status] / counts.n_images:.2%} {status}" for status in Status)
        seen = "all units" if self.n_units_sampled == self.n_done_units else f"{self.n_units_sampled} of the units"
        codes = "".join(f"; {code}: {n}" for code, n in counts.rejected_by.most_common())
        per_image = counts.n_instances / counts.n_images
        return f"{shares}; {per_image:.2f} instances an image ({seen} looked at){codes}"

    def run_line(self) -> str:
        if self.run is None:
            return "no run has begun"
        if self.run.ended_at is not None:
            done = "done" if self.n_done_units == self.n_units else "not done; the same command goes on"
            return f"{done}: run {self.run.number} ended at {self.run.ended_at}"
        told = "" if self.renewed_at is None else f", last heard of {ago(self.asked_at - self.renewed_at)}"
        state = "at work" if self.at_work else "died; the same command goes on"
        return f"run {self.run.number} of {self.run}{told}: {state}"

    @property
    def n_in_hand(self) -> int:
        """Return how many images the last run has finished in units that have no file yet; without it they are lost."""
        return max(0, self.run.n_finished - self.n_done_images) if self.run and self.at_work else 0

    @property
    def at_work(self) -> bool:
        """Tell whether the last run is alive; from its renewals, if its process is not this machine's."""
        if self.run is None or self.run.ended_at is not None:
            return False
        if self.alive is not None or self.renewed_at is None:
            return bool(self.alive)
        return self.asked_at - self.renewed_at < lease.EXPIRES_S


def status(config: StatusConfig) -> JobStatus:
    """Read the state of the job at `output.uri`.

    Raises:
        BadInput: no job was ever started there, or its plan is not sealed yet.
    """
    output = open_output(config.output)
    created_at = done_units_at(output.storage, output.uri)
    done = sorted(unit for unit in created_at if unit < output.plan.n_units)
    sample = done[:: -(-len(done) // FOOTERS)] if done else []
    last = lease.last_run(output.storage, output.uri)
    record = None if last is None else output.storage.stat(lease.record_uri(output.uri, last.number))
    return JobStatus(
        output_uri=output.uri,
        n_images=output.plan.n_images,
        n_units=output.plan.n_units,
        n_done_images=sum(map(output.plan.n_images_of, done)),
        n_done_units=len(done),
        sampled=summed(output, sample),
        n_units_sampled=len(sample),
        last_unit_at=max((at for unit in done if (at := created_at[unit]) is not None), default=None),
        images_per_s=images_per_s(output),
        run=last,
        renewed_at=None if record is None else record.modified_at,
        alive=None if last is None else lease.is_alive(last),
        asked_at=time.time(),
    )


def summed(output: JobOutput, units: Sequence[int]) -> Summary:
    summary = Summary()
    for one in in_threads(partial(read_summary, output.storage, output.uri), units, IO_THREADS):
        summary.add(one)
    return summary


def images_per_s(output: JobOutput) -> float | None:
    """Return the rate of the last run that finished an image, as its driver says; None where none does.

    Units end in bursts, and between two runs nobody is at work: from the times of files there is no telling.
    """
    last = lease.last_run(output.storage, output.uri)
    for number in range(last.number if last else 0, 0, -1):
        run = lease.read_run(output.storage, lease.record_uri(output.uri, number))
        if run.images_per_s:
            return run.images_per_s
    return None


def ago(seconds: float) -> str:
    """Say how long ago; a clock that is behind the storage's makes a negative age: now."""
    if seconds >= 48 * 3600:
        return f"at {datetime.fromtimestamp(time.time() - seconds, UTC):%Y-%m-%d %H:%M} UTC"
    return f"{tqdm.format_interval(max(0.0, seconds))} ago"
