"""What a worker killed every minute costs: two workers, and a model that takes a fixed time whatever the cores do."""

import itertools
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults import Command, HeldEngine, Place, strike
from tests.support.free_model import FreeModel
from tests.support.jobs import run_verify
from tests.support.ledger import LONG, Ledger
from tests.support.scenes import write_scenes

SECONDS_PER_BATCH = 0.2  # of four images
N_SCENES, N_COPIES, UNIT_SIZE = 40, 120, 64
FIRST_KILL_S, KILL_EVERY_S = 30, 60


def started(nodes: Any, photos: Path, folder: Path) -> tuple[Command, Place]:
    folder.mkdir()
    place = Place(folder, "none")
    settings = [f"output.unit_size={UNIT_SIZE}", "prompts=[person]", "cluster.cpus_per_actor=1"]
    settings += ["cluster.min_actors=2", "cluster.max_actors=2", f"cluster.address={nodes.address}"]
    arguments = ["label", f"input.uri={photos}", f"output.uri={folder / 'output'}", *settings]
    return Command(
        arguments, log=folder / "log", engine=HeldEngine(place, FreeModel(partial(time.sleep, SECONDS_PER_BATCH)))
    ), place


def seconds_of(place: Place) -> float:
    """From the first attempt at a unit to the last file."""
    files = (place.folder / "output" / "labels").glob("*.parquet")
    return max(file.stat().st_mtime for file in files) - place.attempts()[0][0]


@pytest.mark.skipif(not LONG, reason="minutes: make drills")
def test_a_worker_killed_every_minute_costs_a_fifth_at_most(nodes: Any, tmp_path: Path, ledger: Ledger) -> None:
    photos = tmp_path / "photos"
    scenes = write_scenes(photos, count=N_SCENES - 1, seed=8)
    for name, copy in itertools.product(scenes, range(1, N_COPIES)):
        os.link(photos / name, photos / f"{copy:03d}-{name}")
    node = nodes.add_node(num_cpus=1)
    try:
        calm, calm_place = started(nodes, photos, tmp_path / "calm")
        assert calm.wait(600) == 0, calm.log.read_text()

        job, place = started(nodes, photos, tmp_path / "struck")
        while not place.attempts():
            assert job.process.is_alive(), job.log.read_text()
            time.sleep(0.1)
        began, n_killed = place.attempts()[0][0], 0
        while job.process.is_alive():
            if time.time() - began > FIRST_KILL_S + n_killed * KILL_EVERY_S:
                strike(place.attempts()[-1][1], signal.SIGKILL)
                n_killed += 1
            time.sleep(0.2)
        assert job.wait() == 0, job.log.read_text()
    finally:
        nodes.remove_node(node)
    assert n_killed >= 2
    goodput = seconds_of(calm_place) / seconds_of(place)
    drill = f"a worker of two killed every minute: goodput {goodput:.0%}"
    ledger.add(
        "a lost worker costs what it had in hand", drill, run_verify(tmp_path / "struck/output"), n_fired=n_killed
    )
    assert goodput >= 0.8
