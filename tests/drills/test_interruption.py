"""SIGTERM and Ctrl-C end a job soon, with exit code 1 and the command that goes on as the last line."""

import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.support.faults import Start, strike
from tests.support.free_model import FreeModel
from tests.support.jobs import run_verify
from tests.support.scenes import write_scenes

N_IMAGES, UNIT_SIZE = 80, 4
SECONDS_PER_UNIT = 0.2


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_an_interrupted_job_says_how_to_go_on(sent: signal.Signals, tmp_path: Path, start: Start) -> None:
    photos, output = tmp_path / "two words", tmp_path / "labels"
    write_scenes(photos, count=N_IMAGES - 1, seed=4)
    model = FreeModel(partial(time.sleep, SECONDS_PER_UNIT))
    settings = [f"output.unit_size={UNIT_SIZE}", "prompts=[red circle, triangle]", "cluster.cpus_per_actor=1"]
    job = start(["label", f"input.uri={photos}", f"output.uri={output}", *settings], model=model)
    job.wait_until(lambda: len(list(output.glob("labels/*.parquet"))) >= 2)
    assert job.process.pid is not None
    strike(job.process.pid, sent)
    began = time.monotonic()
    assert job.wait(60) == 1
    assert time.monotonic() - began < 25
    assert len(list(output.glob("labels/*.parquet"))) < N_IMAGES / UNIT_SIZE, "it was over before the signal came"
    told = job.log.read_text()
    assert "Traceback" not in told
    assert "retries remaining" not in told, "what Ray says as its actors are ended looks like an error"
    again = shlex.split(told.splitlines()[-1])
    assert again[:2] == ["autolabel", "label"]
    assert not run_verify(output).n_problems
    done = start(again[1:], model=model)
    assert done.wait() == 0, done.log.read_text()
    assert run_verify(output).clean


def test_what_does_not_end_in_time_is_dropped() -> None:
    """A block that swallows the interruption, as one that hangs in a storage would."""
    program = """
import sys, time
from autolabel import signals
signals.GRACE_S = 0.5
with signals.interruptible(lambda: print("farewell", flush=True)):
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("swallowed", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert 0.4 < time.monotonic() - began < 10
    assert (process.returncode, out) == (1, "swallowed\nfarewell\n")


def test_a_block_that_ends_leaves_the_handlers_as_they_were() -> None:
    from autolabel.signals import interruptible

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible(lambda: None):
        signal.raise_signal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
