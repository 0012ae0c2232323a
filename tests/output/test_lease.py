"""One driver at a time: who is alive is refused nobody, who is dead holds nobody up."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from autolabel.errors import BadInput, JobFailed, Refused, StorageError
from autolabel.output import lease
from autolabel.output.lease import acquire, acquired, last_run, record_uri, this_run
from autolabel.storage import Storage, open_storage
from tests.support.faults import Start
from tests.support.free_model import FreeModel
from tests.support.jobs import run_verify
from tests.support.s3 import S3
from tests.support.scenes import write_scenes


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.1)
    monkeypatch.setattr(lease, "EXPIRES_S", 1.5)
    monkeypatch.setattr(lease, "LOOK_EVERY_S", 0.05)


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Storage, str]:
    if request.param == "disk":
        return open_storage(str(tmp_path), {"retry_for_s": 1.0}), str(tmp_path / "out")
    s3: S3 = request.getfixturevalue("s3")
    uri = s3.make_bucket(f"lease-{time.monotonic_ns()}")
    return open_storage(uri, {**s3.options, "retry_for_s": 1.0}), f"{uri}/out"


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is claimed inside is claimed on another machine."""
    with monkeypatch.context() as patch:
        patch.setattr(lease, "machine", lambda: "another boot/pid:[1]")
        yield


def test_a_live_run_of_this_machine_is_not_disturbed(place: tuple[Storage, str]) -> None:
    with acquired(*place) as mine:
        started = time.monotonic()
        with pytest.raises(Refused, match=rf"in the hands of .* \(process {os.getpid()}\), since 20") as refused:
            acquire(*place)
        assert time.monotonic() - started < 1
        assert refused.value.exit_code == 3
        assert f"; wait until it ends, or kill {os.getpid()}: the same command goes on then;" in str(refused.value)
        mine.check()


def test_what_the_holder_says_stands_in_the_record(place: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    with acquired(*place) as mine:
        mine.say(7, 2.5)
        deadline = time.monotonic() + 20
        while (seen := last_run(*place)) is None or not seen.n_finished:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert (seen.n_finished, seen.images_per_s, seen.ended_at) == (7, 2.5, None)
        mine.say(8, 2.75)
    ended = last_run(*place)
    assert ended is not None
    assert (ended.n_finished, ended.images_per_s) == (8, 2.75)
    assert ended.ended_at is not None


def test_a_live_run_of_another_machine_is_seen_by_its_renewals(
    place: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with elsewhere(monkeypatch):
        context = acquired(*place)
        context.__enter__()
    try:
        with pytest.raises(Refused, match=rf"in the hands of .* or stop process \d+ on {socket.gethostname()}:"):
            acquire(*place)
    finally:
        context.__exit__(None, None, None)
    assert acquire(*place).number == 2


def test_a_dead_run_of_another_machine_expires(
    place: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with elsewhere(monkeypatch):
        acquire(*place)  # and never renews
    started = time.monotonic()
    assert acquire(*place).number == 2
    assert lease.EXPIRES_S <= time.monotonic() - started < lease.EXPIRES_S + 5
    assert "taking over from" in caplog.text


def test_a_killed_process_of_this_machine_holds_nobody_up(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path), {})
    program = "import os, sys; from autolabel.output.lease import *; from autolabel.storage import open_storage\n"
    program += "acquire(open_storage(sys.argv[1], {}), sys.argv[1]); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode == -9
    left = last_run(storage, str(tmp_path))
    assert left is not None
    assert left.ended_at is None
    started = time.monotonic()
    assert acquire(storage, str(tmp_path)).number == 2
    assert time.monotonic() - started < 1


def test_another_process_with_the_pid_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path), {})
    earlier = replace(this_run(1), process_start_ticks=1)
    assert storage.create_once(record_uri(str(tmp_path), 1), lease.encoded(earlier))
    assert acquire(storage, str(tmp_path)).number == 2


def test_a_run_that_ended_is_followed_at_once(place: tuple[Storage, str]) -> None:
    for number in (1, 2, 3):
        with acquired(*place):
            run = last_run(*place)
            assert run is not None
            assert (run.number, run.ended_at) == (number, None)
        ended = last_run(*place)
        assert ended is not None
        assert ended.ended_at is not None


@pytest.mark.parametrize("damaged", [b"", b"{", b"[1]", b'{"number": 1}'])
def test_a_damaged_record_is_told(place: tuple[Storage, str], damaged: bytes) -> None:
    storage, uri = place
    storage.overwrite(record_uri(uri, 3), damaged)
    with pytest.raises(BadInput, match=r"runs/00000003\.json was not written by autolabel, or is damaged"):
        acquire(storage, uri)


def test_a_run_that_fails_lets_go(place: tuple[Storage, str]) -> None:
    with pytest.raises(ZeroDivisionError), acquired(*place):
        raise ZeroDivisionError
    assert acquire(*place).number == 2


@pytest.mark.parametrize("before", ["nothing", "ended", "dead"])
def test_of_many_claimants_one_wins(before: str, place: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch) -> None:
    if before == "ended":
        with acquired(*place):
            pass
    elif before == "dead":
        with elsewhere(monkeypatch):
            acquire(*place)
    outcomes: Counter[str] = Counter()
    barrier = threading.Barrier(8)

    def compete() -> None:
        barrier.wait()
        try:
            acquire(*place)
            outcomes["won"] += 1
        except Refused:
            outcomes["refused"] += 1

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"won": 1, "refused": 7}


def test_a_holder_that_was_taken_over_ends_and_leaves_the_record_alone(place: tuple[Storage, str]) -> None:
    storage, uri = place
    with pytest.raises(JobFailed, match="taken over by .* on "), acquired(storage, uri) as mine:
        assert storage.create_once(record_uri(uri, 2), lease.encoded(this_run(2)))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            mine.check()
            time.sleep(0.02)
    first = json.loads(storage.read(record_uri(uri, 1)))
    assert first["ended_at"] is None


def test_an_outage_shorter_than_the_lease_is_sat_out(
    place: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, uri = place
    failures: list[float] = []
    until = time.monotonic() + 0.7

    def failing(*_: object) -> None:
        failures.append(time.monotonic())
        raise StorageError("outage")

    with acquired(storage, uri) as mine:
        with monkeypatch.context() as patch:
            patch.setattr(lease, "last_run", failing)
            while time.monotonic() < until:
                mine.check()
                time.sleep(0.02)
        assert len(failures) >= 2
        time.sleep(0.3)
        mine.check()
        run = last_run(storage, uri)
        assert run is not None
        assert run.renewals >= 1
        monkeypatch.setattr(lease, "last_run", failing)
        time.sleep(lease.EXPIRES_S + 0.5)
        with pytest.raises(JobFailed, match="could not be renewed .* outage"):
            mine.check()


def test_a_second_job_on_an_output_is_refused_and_the_first_ends_well(tmp_path: Path, start: Start) -> None:
    photos, output = tmp_path / "photos", tmp_path / "labels"
    write_scenes(photos, count=60, seed=2)
    command = ["label", f"input.uri={photos}", f"output.uri={output}", "output.unit_size=4"]
    command += ["prompts=[red circle, triangle]", "cluster.cpus_per_actor=1"]
    first = start(command, model=FreeModel(partial(time.sleep, 0.2)))
    first.wait_until(lambda: list(output.glob("labels/*.parquet")))
    pid = first.process.pid
    second = start(command)
    assert second.wait() == 3
    assert f"(process {pid})" in second.log.read_text()
    assert first.process.is_alive(), "it ended before the second began"
    assert first.wait() == 0, first.log.read_text()
    assert run_verify(output).clean
    run = last_run(open_storage(str(output), {}), str(output))
    assert run is not None
    assert (run.number, run.pid, run.ended_at is not None) == (1, pid, True)


def test_a_lease_whose_storage_raises_what_nobody_expects_is_lost(
    place: tuple[Storage, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewer that died in silence would leave its holder at work while another driver takes the output over."""
    said = pytest.raises(JobFailed, match="could not be kept: RuntimeError: event loop is closed")
    with said, acquired(*place) as held:

        def broken(*_: object) -> None:
            raise RuntimeError("event loop is closed")

        monkeypatch.setattr(lease, "last_run", broken)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            held.check()
            time.sleep(0.02)


def test_a_clock_that_steps_makes_no_living_process_look_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What psutil calls the time of creation moves with the clock, by as much as the clock is set."""
    run = this_run(1)
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + 2.0)
    monkeypatch.setattr(time, "time", lambda: time.monotonic() + 1e9)
    assert lease.is_alive(run)
    assert lease.start_ticks_of(os.getpid()) == run.process_start_ticks
    assert lease.start_ticks_of(2**22 + 1) is None, "there is no such process"
