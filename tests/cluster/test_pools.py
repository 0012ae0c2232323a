"""Where the actors of a job land, and what a second one is worth. GPUs are those that a node only says it has."""

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from tests.support.faults import Command, HeldEngine, Place
from tests.support.free_model import BRIGHT, FreeModel
from tests.support.jobs import run_verify

N_IMAGES, BATCH = 96, 4
SECONDS_PER_BATCH = 0.4


@dataclass(frozen=True)
class Noted:
    """Takes its time over each batch, and notes where and when it began."""

    notes: Path

    def __call__(self) -> None:
        line = json.dumps([os.getpid(), ray.get_runtime_context().get_node_id(), time.time()])
        with self.notes.open("a") as file:
            file.write(line + "\n")
        time.sleep(SECONDS_PER_BATCH)


def started(nodes: Any, folder: Path, *overrides: str) -> Command:
    """Label white images, in a process of its own."""
    (folder / "in").mkdir(parents=True)
    for index in range(N_IMAGES):
        (folder / "in" / f"{index:03d}.png").write_bytes(BRIGHT)
    places = [f"input.uri='{folder / 'in'}'", f"output.uri='{folder / 'out'}'", f"cluster.address={nodes.address}"]
    settings = ["output.unit_size=8", "prompts=[disc]", f"batch.images={BATCH}", *overrides]
    (folder / "log").touch()
    engine = HeldEngine(Place(folder, "none"), FreeModel(Noted(folder / "notes")))
    return Command(["label", *places, *settings], log=folder / "log", engine=engine)


def batches(job: Command) -> list[tuple[int, str, float]]:
    """(process, node, time) of each batch of a job, once it is done."""
    assert job.wait(180) == 0, job.log.read_text()
    folder = job.log.parent
    assert run_verify(folder / "out").clean
    return [tuple(json.loads(line)) for line in (folder / "notes").read_text().splitlines()]


def test_actors_that_want_gpus_are_where_the_gpus_are(nodes: Any, tmp_path: Path) -> None:
    node = nodes.add_node(num_cpus=2, num_gpus=2)
    try:
        nodes.wait_for_nodes()
        found = batches(started(nodes, tmp_path, "cluster.gpus_per_actor=1", "cluster.max_actors=2"))
    finally:
        nodes.remove_node(node)
    assert {where for _, where, _ in found} == {node.node_id}
    assert len({process for process, _, _ in found}) == 2


def test_a_job_waits_for_gpus_that_come_later(nodes: Any, tmp_path: Path) -> None:
    gpus = ("cluster.gpus_per_actor=1", "cluster.max_actors=4", "cluster.cpus_per_actor=1")
    job = started(nodes, tmp_path, *gpus, "cluster.start_timeout_s=90")
    while "waiting up to 90 s for 1 actors of 1 GPUs and 1 CPUs; 0 fit now" not in job.log.read_text():
        assert job.process.is_alive(), job.log.read_text()
        time.sleep(0.1)
    node = nodes.add_node(num_cpus=1, num_gpus=1)
    try:
        found = batches(job)
    finally:
        nodes.remove_node(node)
    assert {where for _, where, _ in found} == {node.node_id}


def test_a_second_actor_doubles_the_rate(nodes: Any, tmp_path: Path) -> None:
    """With a model that takes a fixed time, whatever the cores do; while all actors are at work."""
    node = nodes.add_node(num_cpus=2)
    try:
        nodes.wait_for_nodes()
        rates = {}
        for n_actors in (1, 2):
            sizes = (f"cluster.min_actors={n_actors}", f"cluster.max_actors={n_actors}", "cluster.cpus_per_actor=1")
            began: dict[int, list[float]] = defaultdict(list)
            for process, _, at in batches(started(nodes, tmp_path / str(n_actors), *sizes)):
                began[process].append(at)
            assert len(began) == n_actors
            first, last = max(map(min, began.values())), min(map(max, began.values()))
            n_within = sum(first < at <= last for times in began.values() for at in times)
            assert n_within >= 8
            rates[n_actors] = n_within * BATCH / (last - first)
    finally:
        nodes.remove_node(node)
    assert rates[2] / rates[1] >= 1.8, rates
    assert rates[1] <= BATCH / SECONDS_PER_BATCH
