"""One driver at a time on an output, and a record of who worked on it when.

`runs/00000003.json` is the third run of an output. It is created once, so that of several claimants one gets it, and
rewritten by its holder every `RENEW_S`. Nobody's clock is trusted: a holder is alive while its record changes, and
dead when it has not for `EXPIRES_S`; on the same machine its process is looked for instead. Whoever finds the last run
ended or dead creates the next one.

A holder that was stopped or cut off for longer than that, and so may have lost its lease, ends when it finds a later
run, and goes on where it finds none. What its actors still write in between does no harm: a unit's file is created
once, with the same rows.
"""

import getpass
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson

from autolabel.errors import BadInput, JobFailed, Refused, StorageError
from autolabel.storage import Storage
from autolabel.storage.uris import join

FOLDER = "runs"
RENEW_S = 10.0
EXPIRES_S = 45.0
LOOK_EVERY_S = 1.0

log = logging.getLogger("autolabel")

released_claims: set[str] = set()  # claims of this process that have ended, whatever could be written of it


@dataclass(frozen=True, kw_only=True)
class Run:
    """The contents of a record. `machine` is None where processes cannot be told apart from outside."""

    number: int
    host: str
    user: str
    pid: int
    machine: str | None
    process_start_ticks: int | None  # of that pid, since the machine's start; tells it from a later one of the same pid
    started_at: str
    claim_id: str = ""  # tells a claim whose answer was lost from another's
    renewals: int = 0
    n_finished: int = 0  # images of the job, in units that are done and in hand, as the holder says at each renewal
    images_per_s: float | None = None  # of this run, while it finished images; None where nobody says
    ended_at: str | None = None

    def __str__(self) -> str:
        return f"{self.user} on {self.host} (process {self.pid}), since {self.started_at}"


class Lease:
    """A run that this process holds."""

    def __init__(self, storage: Storage, output_uri: str, run: Run) -> None:
        self._storage = storage.retrying_for(RENEW_S)
        self._give_up_s = max(EXPIRES_S, storage.retry_for_s)
        self._output_uri, self._run = output_uri, run
        self._lost: str | None = None
        self._said: dict[str, Any] = {}
        self._ended = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewer.start()

    def check(self) -> None:
        """Raise JobFailed if another process has taken the output over."""
        if self._lost is not None:
            raise JobFailed(self._lost)

    def say(self, n_finished: int, images_per_s: float | None) -> None:
        """Have the next renewal tell how far the job is."""
        self._said = {"n_finished": n_finished, "images_per_s": images_per_s}

    def end(self) -> None:
        self._ended.set()
        self._renewer.join()
        released_claims.add(self._run.claim_id)
        try:
            if self._lost is None and last_run(self._storage, self._output_uri) is not None:
                self._write(replace(self._run, **self._said, ended_at=now()))
        except (BadInput, StorageError, OSError) as error:  # what the run came to is told already, and matters more
            log.warning("the next run will have to find out by itself that this one has ended: %s", error)

    def _renew(self) -> None:
        """Renew until the end. Whatever ends this sooner loses the lease: nobody may go on without one."""
        try:
            self._lost = self._renew_until_lost()
        except BaseException as error:
            self._lost = f"the lease on the output could not be kept: {type(error).__name__}: {error}"
            log.exception("the lease on %s is lost", self._output_uri)

    def _renew_until_lost(self) -> str | None:
        """Return why the lease is lost, or None at its end."""
        renewed_at = time.monotonic()
        while not self._ended.wait(RENEW_S):
            try:
                later = last_run(self._storage, self._output_uri)
                if later is None:
                    return f"{self._output_uri} disappeared while the job ran"
                if later.number > self._run.number:
                    return f"this process stood still for too long; the output was taken over by {later}"
                self._run = replace(self._run, **self._said, renewals=self._run.renewals + 1)
                self._write(self._run)
                renewed_at = time.monotonic()
            except (BadInput, StorageError, OSError) as error:  # which may pass
                if time.monotonic() - renewed_at > self._give_up_s:
                    return f"the lease on the output could not be renewed for {self._give_up_s:g} s: {error}"
        return None

    def _write(self, run: Run) -> None:
        self._storage.overwrite(record_uri(self._output_uri, run.number), encoded(run))


@contextmanager
def acquired(storage: Storage, output_uri: str) -> Iterator[Lease]:
    """Hold the output for as long as the `with` block runs.

    Raises:
        Refused: another process holds it; the message says which, and since when.
    """
    lease = Lease(storage, output_uri, acquire(storage, output_uri))
    try:
        yield lease
    finally:
        lease.end()


def acquire(storage: Storage, output_uri: str) -> Run:
    """Create the next run's record, once the last one has ended or died."""
    while True:
        last = last_run(storage, output_uri)
        if last is not None:
            wait_for_end(storage, output_uri, last)
        run = this_run(1 if last is None else last.number + 1)
        if storage.create_once(record_uri(output_uri, run.number), encoded(run)):
            return run


def wait_for_end(storage: Storage, output_uri: str, run: Run) -> None:
    """Return once a run is known to have ended or died.

    Raises:
        Refused: it is alive.
    """
    if run.ended_at is not None or run.claim_id in released_claims:
        return
    alive = is_alive(run)
    if alive is None:
        log.info("seeing whether %s is still at work", run)
    deadline = time.monotonic() + EXPIRES_S
    while alive is None and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
        seen = last_run(storage, output_uri)
        if seen is None or seen.number > run.number or seen.ended_at is not None:
            return
        if seen.renewals != run.renewals:
            alive = True
    if alive:
        raise Refused(f"{output_uri} is in the hands of {run}; {what_to_do(run)}")
    log.warning("taking over from %s, which did not end", run)


def what_to_do(run: Run) -> str:
    """Return what whoever is refused for a run can do about it."""
    is_here = run.machine is not None and run.machine == machine()
    stop = f"kill {run.pid}" if is_here else f"stop process {run.pid} on {run.host}"
    return f"wait until it ends, or {stop}: the same command goes on then; or use another output.uri"


def is_alive(run: Run) -> bool | None:
    """Tell whether the process of a run exists; None if it is not this machine's to know."""
    if run.machine is None or run.machine != machine():
        return None
    return start_ticks_of(run.pid) == run.process_start_ticks


def last_run(storage: Storage, output_uri: str) -> Run | None:
    """Return the latest record of an output.

    Raises:
        BadInput: it is damaged.
    """
    names = (item.uri.rpartition("/")[2] for item in storage.list(join(output_uri, FOLDER)))
    numbers = [int(name[:8]) for name in names if re.fullmatch(r"\d{8}\.json", name)]
    if not numbers:
        return None
    return read_run(storage, record_uri(output_uri, max(numbers)))


def read_run(storage: Storage, uri: str) -> Run:
    """Return a record.

    Raises:
        BadInput: it is damaged.
    """
    try:
        return Run(**orjson.loads(storage.read(uri)))
    except (orjson.JSONDecodeError, TypeError) as error:
        raise BadInput(f"{uri} was not written by autolabel, or is damaged: {error}") from error


def record_uri(output_uri: str, number: int) -> str:
    return join(output_uri, f"{FOLDER}/{number:08d}.json")


def encoded(run: Run) -> bytes:
    return orjson.dumps(asdict(run), option=orjson.OPT_INDENT_2)


def this_run(number: int) -> Run:
    return Run(
        number=number,
        host=socket.gethostname(),
        user=getpass.getuser(),
        pid=os.getpid(),
        machine=machine(),
        process_start_ticks=start_ticks_of(os.getpid()),
        started_at=now(),
        claim_id=uuid4().hex,
    )


def start_ticks_of(pid: int) -> int | None:
    """Return when a process started, in clock ticks since the machine did; None where there is no such process.

    Not its time of day, which moves with the clock: a step of two seconds would make a living process look dead.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # what is before may hold blanks: the name of the program
    except OSError:
        return None
    return int(fields[19])  # the 22nd of all, see proc(5)


def machine() -> str | None:
    """Return what two processes that see each other have in common: the boot of a Linux, and a namespace of pids."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
