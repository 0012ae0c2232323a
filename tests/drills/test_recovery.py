"""The driver is killed in the middle, with the Ray that it started; the same command again ends the job."""

import os
import signal
import time
from functools import partial
from pathlib import Path

from tests.support.faults import Start, strike
from tests.support.free_model import FreeModel
from tests.support.jobs import rows_of, run_verify
from tests.support.scenes import write_scenes

N_IMAGES, UNIT_SIZE = 80, 4
SECONDS_PER_UNIT = 0.2


def test_a_killed_driver_loses_and_repeats_nothing(tmp_path: Path, start: Start) -> None:
    photos, output = tmp_path / "photos", tmp_path / "labels"
    write_scenes(photos, count=N_IMAGES - 1, seed=1)
    folder, model = output / "labels", FreeModel(partial(time.sleep, SECONDS_PER_UNIT))
    command = ["label", f"input.uri={photos}", f"output.uri={output}", f"output.unit_size={UNIT_SIZE}"]
    command += ["prompts=[red circle, triangle]", "cluster.cpus_per_actor=1"]

    killed = start(command, model=model)
    killed.wait_until(lambda: len(list(folder.glob("*.parquet"))) >= 3)
    assert killed.process.pid is not None
    strike(killed.process.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    time.sleep(1)
    assert "its process was ended; this goes on from here:\nautolabel label input.uri=" in killed.log.read_text()
    time.sleep(3)  # its Ray dies with it; a unit in flight may still land before

    done = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.parquet")}
    assert 3 <= len(done) < N_IMAGES / UNIT_SIZE, "the kill came too late to test anything"
    verdict = run_verify(output)
    assert verdict.n_problems == verdict.n_duplicated == 0
    assert verdict.n_missing == N_IMAGES - UNIT_SIZE * len(done)

    again = start(command, model=model)
    assert again.wait() == 0, again.log.read_text()
    assert f"{len(done)} of {N_IMAGES // UNIT_SIZE} units are labelled already" in again.log.read_text()
    assert f"{N_IMAGES} images" in again.log.read_text()
    assert run_verify(output).clean
    for name, stat in done.items():
        assert (os.stat(folder / name).st_ino, os.stat(folder / name).st_mtime_ns) == stat
    assert len(rows_of(output)) == N_IMAGES
