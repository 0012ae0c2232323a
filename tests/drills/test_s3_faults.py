"""Whole jobs from and to an S3 that fails: every row is that of an undisturbed job, or the job says what is wrong."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from autolabel.errors import StorageError
from autolabel.labels.units import done_units, read_unit
from autolabel.storage import open_storage
from tests.support.faulty_s3 import Fault, FaultyS3
from tests.support.jobs import assert_same_labels, run_label, run_verify
from tests.support.ledger import LONG, Ledger
from tests.support.s3 import S3
from tests.support.scenes import write_scenes

pytestmark = pytest.mark.usefixtures("cluster")

PROMISE = "a storage error that passes costs time alone"
N_IMAGES, UNIT_SIZE = (640, 16) if LONG else (24, 2)
OUTAGE_S = 60.0 if LONG else 4.0


@dataclass(frozen=True)
class Dataset:
    """Images in a bucket, and the rows of an undisturbed job over them."""

    server: S3
    uri: str
    rows: list[dict[str, Any]]

    def settings(self, *, retry_for_s: float = 120.0) -> list[str]:
        options = {
            "endpoint_url": self.server.endpoint_url,
            "retry_for_s": retry_for_s,
            "config_kwargs.read_timeout": 1,
        }
        of_both = [f"{place}.storage_options.{k}={v}" for place in ("input", "output") for k, v in options.items()]
        return [*of_both, f"output.unit_size={UNIT_SIZE}", "prompts=[red circle, triangle]"]

    def label(self, output: str, *, retry_for_s: float = 120.0) -> float:
        """Seconds that the job took."""
        began = time.monotonic()
        run_label(f"{self.uri}/photos", output, *self.settings(retry_for_s=retry_for_s))
        return time.monotonic() - began

    def verify(self, output: str) -> Any:
        return run_verify(output, f"output.storage_options.endpoint_url={self.server.endpoint_url}")

    def rows_of(self, output: str) -> list[dict[str, Any]]:
        storage = open_storage(output, self.server.options)
        return [
            row for unit in sorted(done_units(storage, output)) for row in read_unit(storage, output, unit).to_pylist()
        ]

    def assert_rows_right(self, output: str) -> None:
        for found, expected in zip(self.rows_of(output), self.rows, strict=True):
            assert (found["image_id"], found["uri"]) == (expected["image_id"], expected["uri"])
            assert_same_labels(found, expected)


@pytest.fixture(scope="module")
def dataset(failing_server: str, tmp_path_factory: pytest.TempPathFactory, cluster: None) -> Dataset:
    server, folder = S3(failing_server), tmp_path_factory.mktemp("s3") / "photos"
    FaultyS3(failing_server).clear()
    uri = server.make_bucket("drill")
    names = write_scenes(folder, count=31, seed=8)
    for number in range(N_IMAGES):
        name = names[number % len(names)]
        server.put(f"{uri}/photos/{number:04d}-{name}", (folder / name).read_bytes())
    undisturbed = Dataset(server, uri, [])
    undisturbed.label(f"{uri}/undisturbed")
    rows = undisturbed.rows_of(f"{uri}/undisturbed")
    assert len(rows) == N_IMAGES
    return Dataset(server, uri, rows)


SHORT = {
    "503 to 20% of requests": [Fault(kind="slow_down", rate=0.2)],
    "409 and 412 at the conditional PUT": [
        Fault(kind="conflict", rate=0.2),
        Fault(kind="reset_after", methods="PUT", rate=0.25, seed=1),
        Fault(kind="slow_down_after", methods="PUT", rate=0.25, seed=2),
    ],
    "20% of requests, in every way": [
        Fault(kind=kind, rate=0.05, seed=seed)
        for seed, kind in enumerate(("slow_down", "internal", "reset", "reset_after", "short_body"))
    ],
}
ALONE = {
    "503 to 5% of requests": [Fault(kind="slow_down", rate=0.05)],
    "resets of 20% of connections": [Fault(kind="reset", rate=0.1), Fault(kind="reset_after", rate=0.1, seed=1)],
    "stalls of 5% of requests": [Fault(kind="stall", rate=0.05)],
    "short bodies of 20% of objects": [Fault(kind="short_body", rate=0.2)],
}
FAULTS = {**SHORT, **ALONE} if LONG else {**SHORT, "stalls of 5% of requests": ALONE["stalls of 5% of requests"]}


@pytest.mark.parametrize("drill", FAULTS)
def test_errors_that_pass(drill: str, dataset: Dataset, faulty: FaultyS3, ledger: Ledger) -> None:
    output = f"{dataset.uri}/{list(FAULTS).index(drill)}"
    with faulty.failing(*FAULTS[drill]):
        dataset.label(output)
        n_fired = sum(faulty.fired().values())
    ledger.add(PROMISE, drill, dataset.verify(output), n_fired=n_fired)
    dataset.assert_rows_right(output)


@pytest.mark.skipif(not LONG, reason="make drills: a short job is mostly its start")
@pytest.mark.parametrize("drill", ["503 to 20% of requests", "20% of requests, in every way"])
def test_a_fifth_of_requests_failing_costs_less_than_the_same_time_again(
    drill: str, dataset: Dataset, faulty: FaultyS3
) -> None:
    """Against the faster of two undisturbed jobs, before and after: other work on the machine must not excuse it."""
    place = f"{dataset.uri}/timed-{list(FAULTS).index(drill)}"
    before_s = dataset.label(f"{place}-before")
    with faulty.failing(*FAULTS[drill]):
        seconds = dataset.label(f"{place}-failing")
        n_fired, n_requests = sum(faulty.fired().values()), faulty.n_requests()
    after_s = dataset.label(f"{place}-after")
    print(f"{n_fired} of {n_requests} failed: {seconds:.1f} s; undisturbed {before_s:.1f} s and {after_s:.1f} s")
    assert n_fired > 0.15 * n_requests
    assert seconds < 2 * min(before_s, after_s)


@contextmanager
def once_some_are_done(dataset: Dataset, output: str, server: FaultyS3, fault: Fault) -> Iterator[list[float]]:
    """Inject the fault as soon as units are done, in the middle of the job; when it was."""
    storage, injected, ended = open_storage(output, dataset.server.options), list[float](), threading.Event()

    def wait() -> None:
        while not ended.wait(0.05):
            if done_units(storage, output):
                server.inject(fault)
                injected.append(time.monotonic())
                return

    watch = threading.Thread(target=wait)
    watch.start()
    try:
        yield injected
    finally:
        ended.set()
        watch.join()


def test_an_outage_that_ends(dataset: Dataset, faulty: FaultyS3, ledger: Ledger) -> None:
    output = f"{dataset.uri}/outage"
    with once_some_are_done(dataset, output, faulty, Fault(kind="reset", for_s=OUTAGE_S)) as injected:
        dataset.label(output)
    assert time.monotonic() - injected[0] > OUTAGE_S, "it was over before the job was"
    n_fired = faulty.fired()["reset"]
    ledger.add(PROMISE, "an outage that ends", dataset.verify(output), n_fired=n_fired)
    dataset.assert_rows_right(output)


@pytest.mark.parametrize("kind", ["reset", "slow_down", "stall"] if LONG else ["reset"])
def test_an_outage_that_does_not_end(kind: str, dataset: Dataset, faulty: FaultyS3, ledger: Ledger) -> None:
    output, retry_for_s = f"{dataset.uri}/endless-{kind}", 30.0 if LONG else 3.0
    with once_some_are_done(dataset, output, faulty, Fault(kind=kind)) as injected:
        with pytest.raises(StorageError, match=rf"{dataset.uri}/.*tried \d+ times") as told:
            dataset.label(output, retry_for_s=retry_for_s)
        detected_s = time.monotonic() - injected[0]
    assert told.value.exit_code == 1
    assert retry_for_s < detected_s < retry_for_s + 40
    n_fired = faulty.fired()[kind]
    faulty.clear()
    assert not dataset.verify(output).clean, "the outage came too late"
    dataset.label(output)
    drill = f"an outage that does not end ({kind.replace('slow_down', '503')})"
    ledger.add(
        "an output that fails ends the job", drill, dataset.verify(output), n_fired=n_fired, detected_s=detected_s
    )
    dataset.assert_rows_right(output)
