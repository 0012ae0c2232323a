"""The driver is killed in the middle; the same command again brings the job to its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.support.jobs import rows_of, run_verify
from tests.support.scenes import write_scenes

N_IMAGES = 400
UNIT_SIZE = 4


def start(photos: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "autolabel.cli", "label", f"input.uri={photos}", f"output.uri={output}"]
    command += [f"output.unit_size={UNIT_SIZE}", "prompts=[red circle, triangle]", "cluster.cpus_per_actor=1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_driver_loses_and_repeats_nothing(tmp_path: Path) -> None:
    photos, output = tmp_path / "photos", tmp_path / "labels"
    write_scenes(photos, count=N_IMAGES - 1, seed=1)
    folder = output / "labels"

    killed = start(photos, output)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.parquet"))) < 3:
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    _, said = killed.communicate()
    assert "its process was ended; this goes on from here:\nautolabel label input.uri=" in said
    assert killed.returncode == -signal.SIGKILL
    time.sleep(3)  # its Ray dies with it; a unit in flight may still land before

    done = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.parquet")}
    assert 3 <= len(done) < N_IMAGES / UNIT_SIZE, "the kill came too late to test anything"
    verdict = run_verify(output)
    assert verdict.n_problems == verdict.n_duplicated == 0
    assert verdict.n_missing == N_IMAGES - UNIT_SIZE * len(done)

    again = start(photos, output)
    stdout, stderr = again.communicate(timeout=300)
    assert again.returncode == 0, stderr
    assert f"{len(done)} of {N_IMAGES // UNIT_SIZE} units are labelled already" in stderr
    assert f"{N_IMAGES} images" in stdout
    assert run_verify(output).clean
    for name, stat in done.items():
        assert (os.stat(folder / name).st_ino, os.stat(folder / name).st_mtime_ns) == stat
    assert len(rows_of(output)) == N_IMAGES
