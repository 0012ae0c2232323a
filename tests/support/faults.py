"""A job that stands still at a chosen place of its path, so that a test can strike there and nowhere else.

The first process that comes to the place writes its id into `held`, and waits to be killed or let go. Every attempt at
a unit is noted in `begun`.
"""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Protocol

import psutil
import pyarrow.parquet as pq
import pytest

LONGEST_HOLD_S = 60.0
LONGEST_WAIT_S = 120.0


@dataclass(frozen=True)
class Place:
    """Where the job stands still: at a phase, in the driver or in an actor, of one node if `node_id` names it."""

    folder: Path
    phase: str
    node_id: str | None = None

    @property
    def held(self) -> Path:
        return self.folder / "held"

    @property
    def released(self) -> Path:
        """What lets go whoever stands still, once it is there."""
        return self.folder / "released"

    @property
    def begun(self) -> Path:
        return self.folder / "begun"

    def hold(self) -> None:
        """Stand still, if nobody has yet."""
        if self.node_id is not None:
            import ray

            if ray.get_runtime_context().get_node_id() != self.node_id:
                return
        partial_mark = self.folder / f"{os.getpid()}-{threading.get_ident()}"
        partial_mark.write_text(str(os.getpid()))
        try:
            os.link(partial_mark, self.held)
        except FileExistsError:
            return
        deadline = time.monotonic() + LONGEST_HOLD_S
        while time.monotonic() < deadline and not self.released.exists():
            time.sleep(0.02)

    def attempts(self) -> list[tuple[float, int, int]]:
        """When, by which process, at which unit."""
        lines = self.begun.read_text().splitlines() if self.begun.exists() else []
        return [tuple(json.loads(line)) for line in lines]


@dataclass(frozen=True)
class HeldEngine:
    """Loads the model in an actor, and prepares the place there."""

    place: Place
    load: Callable[[Any], Any] | None = None  # instead of the job's own model

    def __call__(self, job: Any) -> Any:
        from autolabel.labels.units import write_unit
        from autolabel.pipeline import actors, stream, unit
        from autolabel.pipeline.load import load_image

        place = self.place
        engine = (self.load or actors.load_job_engine)(job)
        hold_at_names(place)
        if place.phase == "fetching":
            vars(stream)["load_image"] = before(place.hold, load_image)
        elif place.phase == "segmenting":
            for question in ("segment", "segment_objects", "segment_grid"):
                setattr(engine, question, before(place.hold, getattr(engine, question)))
        elif place.phase == "written":

            def written(*arguments: Any) -> bool:
                created = write_unit(*arguments)
                place.hold()
                return created

            vars(unit)["write_unit"] = written
        label_unit = unit.UnitLabeler.label_unit

        def noted(self: Any, unit: int, **settings: Any) -> Any:
            with place.begun.open("a") as file:
                file.write(json.dumps([time.time(), os.getpid(), unit]) + "\n")
            return label_unit(self, unit, **settings)

        unit.UnitLabeler.label_unit = noted  # type: ignore[method-assign]
        return engine


def before(first: Callable[[], None], then: Callable[..., Any]) -> Callable[..., Any]:
    def both(*arguments: Any, **settings: Any) -> Any:
        first()
        return then(*arguments, **settings)

    return both


# A file has its bytes, but not yet its name, when the name is given to it.
NAMING = {"planning": r"/plan\.parquet$", "writing": r"/labels/\d{8}\.parquet$", "exporting": r"/coco/\w+\.json$"}


def hold_at_names(place: Place) -> None:
    link, replace = os.link, os.replace

    def named(give_name: Callable[..., None], source: Any, target: Any, **settings: Any) -> None:
        if place.phase in NAMING and re.search(NAMING[place.phase], str(target)):
            place.hold()
        give_name(source, target, **settings)

    os.link, os.replace = partial(named, link), partial(named, replace)


def run_command(arguments: list[str], engine: HeldEngine | None, log: Path, environment: Mapping[str, str]) -> None:
    """`autolabel` in a process of its own, its outputs in `log`."""
    from autolabel.cli import commands
    from autolabel.pipeline import job

    os.environ.clear()  # it is the forkserver's, as it was when that started
    os.environ.update(environment)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if engine is not None:
        hold_at_names(engine.place)
        job.label = partial(job.label, load=engine)
    sys.exit(commands.main(arguments))


class Command:
    """A running `autolabel` command; forked from a process that has imported what it needs."""

    def __init__(
        self,
        arguments: list[str],
        *,
        log: Path,
        engine: HeldEngine | None = None,
    ) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["autolabel.cli", "autolabel.pipeline.job", "tests.support.faults"])
        self.log = log
        self.process: ForkServerProcess = context.Process(
            target=run_command, args=(arguments, engine, log, dict(os.environ))
        )
        self.process.start()

    def wait_until(self, reached: Callable[[], object]) -> None:
        """Until it has come so far, and while it runs."""
        deadline = time.monotonic() + LONGEST_WAIT_S
        while not reached():
            assert self.process.is_alive(), self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def wait_until_held(self, place: Place) -> int:
        """The process that stands still at the place."""
        self.wait_until(place.held.exists)
        return int(place.held.read_text())

    def wait(self, timeout_s: float = 120.0) -> int:
        """Its exit code."""
        self.process.join(timeout_s)
        assert self.process.exitcode is not None, f"still running after {timeout_s} s:\n{self.log.read_text()}"
        return self.process.exitcode


class Start(Protocol):
    """Starts a command; see the fixture `start`."""

    def __call__(
        self,
        arguments: list[str],
        *,
        model: Callable[[Any], Any] | None = None,
    ) -> Command: ...


def strike(pid: int, sent: signal.Signals) -> float:
    """Send the signal to a process that is there; when."""
    process = psutil.Process(pid)
    assert process.status() != psutil.STATUS_ZOMBIE
    struck_at = time.time()
    process.send_signal(sent)
    return struck_at


@contextmanager
def reading(output: Path) -> Iterator[None]:
    """While the block runs, read all of `labels/` again and again: every file must be whole, no image in it twice.

    A file that was seen must stay as it is.
    """
    ended, problems, sizes = threading.Event(), list[str](), dict[Path, int]()
    n_read = 0

    def read() -> None:
        nonlocal n_read
        while not ended.wait(0.05):
            ids: list[int] = []
            for path in sorted((output / "labels").glob("*.parquet")):
                try:
                    ids += pq.read_table(path, columns=["image_id"]).column("image_id").to_pylist()
                    n_read += 1
                    if sizes.setdefault(path, path.stat().st_size) != path.stat().st_size:
                        problems.append(f"{path} has changed")
                except Exception as error:
                    problems.append(f"{path}: {error}")
            if len(ids) != len(set(ids)):
                problems.append("an image is there twice")

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join()
    if problems:
        pytest.fail("\n".join(problems[:5]))
    assert n_read > 0 or not list((output / "labels").glob("*.parquet"))
