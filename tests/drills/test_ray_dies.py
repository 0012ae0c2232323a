"""Processes of Ray's own die, and take its driver along: the job says how to go on, and goes on there."""

import signal
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.support.faults import Start, strike
from tests.support.free_model import FreeModel
from tests.support.jobs import rows_of, run_verify
from tests.support.ledger import LONG
from tests.support.scenes import write_scenes

N_IMAGES, UNIT_SIZE = 80, 4
SECONDS_PER_UNIT = 0.3


@pytest.mark.parametrize(
    "name", ["ray::RuntimeEnvAgent", "raylet", *(["ray::DashboardAgent", "gcs_server"] if LONG else [])]
)
def test_a_process_of_ray_is_killed(name: str, tmp_path: Path, start: Start) -> None:
    photos, output = tmp_path / "photos", tmp_path / "labels"
    write_scenes(photos, count=N_IMAGES - 1, seed=4)
    model = FreeModel(partial(time.sleep, SECONDS_PER_UNIT))
    command = ["label", f"input.uri={photos}", f"output.uri={output}", f"output.unit_size={UNIT_SIZE}"]
    command += ["prompts=[red circle, triangle]", "cluster.cpus_per_actor=1", "cluster.stall_timeout_s=60"]
    job = start(command, model=model)
    job.wait_until(lambda: len(list(output.glob("labels/*.parquet"))) >= 2)
    assert job.process.pid is not None
    victims = [child for child in psutil.Process(job.process.pid).children(recursive=True) if is_called(child, name)]
    assert len(victims) == 1, f"{name} is not there"
    strike(victims[0].pid, signal.SIGKILL)
    assert job.wait(180) != 0, job.log.read_text()
    time.sleep(1)
    told = job.log.read_text()
    assert "goes on" in told, told
    assert "Traceback" not in told, told
    assert not run_verify(output).n_problems
    again = start(command, model=model)
    assert again.wait() == 0, again.log.read_text()
    assert run_verify(output).clean
    assert len(rows_of(output)) == N_IMAGES


def is_called(process: psutil.Process, name: str) -> bool:
    command = process.cmdline()
    return bool(command) and (command[0] == name or Path(command[0]).name == name)
