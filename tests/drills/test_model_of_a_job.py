"""Plan, claim, write, crash, resume and two drivers at once, in every order that hypothesis can think of.

Drivers run the real code, step by step, on a store in memory that may die in the middle of any write. Time is the
test's own, so that a lease expires without anyone waiting for it.
"""

import io
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import IO, BinaryIO, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from autolabel import plan, storage
from autolabel.config import LabelConfig, OutputConfig, VerifyConfig
from autolabel.errors import Refused, RejectCode
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation
from autolabel.labels.types import ImageLabels, PromptResult
from autolabel.labels.units import done_units, file_metadata, write_unit
from autolabel.output import lease, run_record
from autolabel.output.settings import LabelSettings, label_settings
from autolabel.output.verify import verify
from autolabel.plan import Plan
from autolabel.prompts.ontology import Category, Ontology
from autolabel.storage import Listed, Storage
from tests.support.ledger import LONG

Result = TypeVar("Result")

URI = "model://out"
ONTOLOGY = Ontology(categories=(Category(id=1, name="car", phrases=("car",)),))
SETTINGS = label_settings(LabelConfig(), ONTOLOGY, input_uri="in", weights="none")
N_EXAMPLES = 1000 if LONG else 200
FIRED: Counter[str] = Counter()  # over all runs: that the test tests something


class Died(Exception):
    """The process is gone, in the middle of a write."""


class Memory(Storage):
    """A store that creates once; its next write may be the death of the writer, before or after it took place."""

    def __init__(self) -> None:
        super().__init__("model", {})
        self.objects: dict[str, bytes] = {}
        self.dies: str | None = None

    def list(self, uri: str) -> Iterator[Listed]:
        return iter([self.stat(name) for name in self.objects if name.startswith(f"{uri.rstrip('/')}/")])

    def stat(self, uri: str) -> Listed:
        return Listed(uri, len(self.read(uri)), None)

    def read(self, uri: str, *, etag: str | None = None) -> bytes:
        if uri not in self.objects:
            raise FileNotFoundError(uri)
        return self.objects[uri]

    def read_with(self, uri: str, work: Callable[[IO[bytes]], Result]) -> Result:
        return work(io.BytesIO(self.read(uri)))

    def _create(self, uri: str, data: bytes) -> bool:
        with self.fault():
            if uri in self.objects:
                return False
            self.objects[uri] = data
            return True

    def delete(self, uri: str) -> None:
        self.objects.pop(uri, None)

    @contextmanager
    def replace(self, uri: str) -> Iterator[BinaryIO]:
        file = io.BytesIO()
        yield file
        with self.fault():
            self.objects[uri] = file.getvalue()

    @contextmanager
    def fault(self) -> Iterator[None]:
        dies, self.dies = self.dies, None
        if dies == "before":
            FIRED["died before a write"] += 1
            raise Died
        yield
        if dies == "after":
            FIRED["died after a write"] += 1
            raise Died


class Driver:
    """The steps of `job.label`, one at a time."""

    def __init__(self, store: Memory, wanted: LabelSettings, listing: Listing, unit_size: int) -> None:
        self.store, self.wanted, self.listing, self.unit_size = store, wanted, listing, unit_size
        self.run: lease.Run | None = None
        self.paused = False
        self.steps = self._steps()

    def _steps(self) -> Iterator[str]:
        contents = plan.encode(self.listing, unit_size=self.unit_size)
        record = run_record.create_or_match(self.store, URI, self.wanted)
        yield "claimed"
        self.run = lease.acquire(self.store, URI)
        yield "holds"
        plan.seal(self.store, URI, contents)
        yield "sealed"
        sealed = Plan(self.store, URI)
        metadata = file_metadata(record.fingerprint, ONTOLOGY)
        for unit in sorted(set(range(sealed.n_units)) - done_units(self.store, URI)):
            yield "about to write"
            rows = [row(image.image_id, image.uri) for image in sealed.images_of(unit)]
            created = write_unit(self.store, URI, unit, rows, metadata)
            FIRED["wrote a unit" if created else "found a unit written"] += 1
        self.end()

    def end(self) -> None:
        assert self.run is not None
        ended = replace(self.run, ended_at="later")
        last = lease.last_run(self.store, URI)
        assert last is not None
        if last.number == self.run.number:
            with self.store.replace(lease.record_uri(URI, self.run.number)) as file:
                file.write(lease.encoded(ended))
        self.run = None

    def renew(self) -> None:
        if self.run is not None and not self.paused:
            self.run = replace(self.run, renewals=self.run.renewals + 1)
            self.store.objects[lease.record_uri(URI, self.run.number)] = lease.encoded(self.run)


def row(image_id: int, uri: str) -> ImageLabels:
    if image_id % 3 == 0:
        return ImageLabels(image_id=image_id, uri=uri, reject_code=RejectCode.EMPTY_FILE, reject_detail="0 bytes")
    prompt = PromptResult(prompt_id=0, category_id=1, phrase="car", presence=0.1, best_score=0.1)
    return ImageLabels(image_id=image_id, uri=uri, size_hw=(4, 4), orientation=1, sha256="0" * 64, prompts=(prompt,))


class Job(RuleBasedStateMachine):
    """Drivers that come, work, pause and die."""

    @initialize(n_images=st.integers(1, 7), unit_size=st.integers(1, 3))
    def begin(self, n_images: int, unit_size: int) -> None:
        self.store, self.clock_s = Memory(), 0.0
        self.drivers: list[Driver] = []
        self.once: dict[str, bytes] = {}
        self.verified: set[str] = set()
        self.listing = Listing(root="in", images=[ImageLocation(f"in/{n}.jpg", 10, "e") for n in range(n_images)])
        self.n_images, self.unit_size = n_images, unit_size
        vars(lease)["time"] = SimpleNamespace(monotonic=lambda: self.clock_s, sleep=self.pass_time)
        vars(storage)["storage_class"] = lambda scheme: lambda *_: self.store

    def pass_time(self, seconds: float) -> None:
        self.clock_s += seconds
        for driver in self.drivers:
            driver.renew()

    def wanted(self, threshold: float) -> LabelSettings:
        return replace(SETTINGS, threshold=threshold)

    @precondition(lambda self: len(self.drivers) < 3)
    @rule(unit_size_now=st.integers(1, 3), more=st.booleans())
    def start(self, unit_size_now: int, more: bool) -> None:
        """Another driver, perhaps with another unit size, or when the input has grown."""
        grown = [ImageLocation("in/new.jpg", 1, "e")] if more else []
        listing = Listing(root="in", images=[*self.listing.images, *grown]) if self.sealed() else self.listing
        self.drivers.append(Driver(self.store, self.wanted(0.5), listing, unit_size_now))

    @precondition(lambda self: f"{URI}/run.json" in self.store.objects)
    @rule()
    def start_with_other_settings(self) -> None:
        with pytest.raises(Refused, match=r"threshold: 0\.5 there, 0\.4 now"):
            next(Driver(self.store, self.wanted(0.4), self.listing, self.unit_size).steps)
        FIRED["refused other settings"] += 1

    @precondition(lambda self: self.drivers)
    @rule(
        which=st.integers(0, 2),
        n_steps=st.integers(1, 6),
        dies=st.sampled_from([None, None, None, None, "before", "after"]),
    )
    def step(self, which: int, n_steps: int, dies: str | None) -> None:
        self.advance(self.drivers[which % len(self.drivers)], n_steps, dies)

    @precondition(lambda self: any(driver.run and not driver.paused for driver in self.drivers))
    @rule()
    def come_second(self) -> None:
        """Another driver, beside one that works."""
        self.drivers.append(Driver(self.store, self.wanted(0.5), self.listing, self.unit_size))
        self.advance(self.drivers[-1], 2)

    @precondition(lambda self: any(driver.run and not driver.paused for driver in self.drivers))
    @rule(n_steps=st.integers(1, 12))
    def overtake(self, n_steps: int) -> None:
        """A holder stands still, another driver takes over and works, and the first does the next that it was to do."""
        self.pause()
        first = next(driver for driver in self.drivers if driver.run and driver.paused)
        self.drivers.append(Driver(self.store, self.wanted(0.5), self.listing, self.unit_size))
        self.advance(self.drivers[-1], n_steps)
        self.advance(first, 1)

    def advance(self, driver: Driver, n_steps: int, dies: str | None = None) -> None:
        for _ in range(n_steps):
            others = [other for other in self.drivers if other is not driver and other.run and not other.paused]
            self.store.dies = dies
            try:
                reached = next(driver.steps)
            except (Died, StopIteration):
                self.drivers.remove(driver)
                break
            except Refused:
                assert any(other.run for other in self.drivers if other is not driver), "refused by nobody"
                FIRED["refused beside a live run"] += 1
                self.drivers.remove(driver)
                break
            finally:
                self.store.dies = None
            assert not (reached == "holds" and others), "two live drivers hold the output"

    @precondition(lambda self: len(self.drivers) > 1)
    @rule(which=st.integers(0, 2))
    def kill(self, which: int) -> None:
        self.drivers.pop(which % len(self.drivers))
        FIRED["killed"] += 1

    @precondition(lambda self: any(driver.run for driver in self.drivers))
    @rule()
    def pause(self) -> None:
        """The machine of a holder stands still: it renews nothing, and may go on writing as if nothing had been."""
        for driver in self.drivers:
            if driver.run is not None and not driver.paused:
                driver.paused = True
                FIRED["paused"] += 1
                break

    def sealed(self) -> bool:
        return f"{URI}/{plan.PLAN_NAME}" in self.store.objects

    @invariant()
    def what_is_created_once_never_changes(self) -> None:
        for uri, data in getattr(self, "store", Memory()).objects.items():
            if "/runs/" not in uri:
                assert self.once.setdefault(uri, data) == data, uri

    @invariant()
    def whatever_is_there_is_whole_and_right(self) -> None:
        if not hasattr(self, "store") or not self.sealed():
            return
        kept = {uri for uri in self.store.objects if "/runs/" not in uri}
        if kept != self.verified:  # what is there was verified, and never changes
            self.verified = kept
            verdict = verify(VerifyConfig(output=OutputConfig(uri=URI)))
            assert not verdict.n_problems, verdict
            assert verdict.n_duplicated == 0

    def teardown(self) -> None:
        """Whatever happened, one more run completes the job."""
        if not hasattr(self, "store"):
            return
        self.drivers.clear()
        for _ in Driver(self.store, self.wanted(0.5), self.listing, self.unit_size).steps:
            pass
        verdict = verify(VerifyConfig(output=OutputConfig(uri=URI)))
        assert verdict.clean, verdict
        assert verdict.n_images == self.n_images
        self.what_is_created_once_never_changes()


@pytest.mark.long
def test_nothing_is_lost_or_doubled_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "time", time)  # both are put back at the end
    monkeypatch.setattr(storage, "storage_class", storage.storage_class)
    monkeypatch.setattr(lease, "machine", lambda: None)  # processes cannot be asked for: renewals are all there is
    FIRED.clear()
    run_state_machine_as_test(
        Job,
        settings=settings(
            max_examples=N_EXAMPLES,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    expected: Sequence[str] = (
        *("died before a write", "died after a write", "killed", "paused", "wrote a unit"),
        *("refused other settings", "refused beside a live run"),
    )
    assert all(FIRED[fault] > N_EXAMPLES / 20 for fault in expected), FIRED
    assert FIRED["found a unit written"] > 0, "no two runs met on a unit"
