"""A node on which every process dies, as of a broken GPU: it is left alone, and its units are labelled elsewhere."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from autolabel.pipeline.heartbeat import DEATHS_TO_PARK
from autolabel.pipeline.messages import LabelJob
from autolabel.sam3.engine import Engine
from tests.support.faults import Command, HeldEngine, Place
from tests.support.free_model import BRIGHT, FreeEngine
from tests.support.jobs import rows_of, run_verify
from tests.support.ledger import LONG, Ledger

N_IMAGES, UNIT_SIZE = 96, 4
SECONDS_PER_BATCH = 1.5  # so that there is work left when the third process dies


@dataclass(frozen=True)
class FailsOn:
    """Loads a model everywhere, which on one node fails as a GPU with bad memory does."""

    node_id: str
    deaths: Path

    def __call__(self, job: LabelJob) -> Engine:
        return FreeEngine(self.work)

    def work(self) -> None:
        if ray.get_runtime_context().get_node_id() != self.node_id:
            time.sleep(SECONDS_PER_BATCH)
            return
        with self.deaths.open("a") as file:
            file.write(f"{os.getpid()}\n")
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered", 214)


@pytest.mark.skipif(not LONG, reason="minutes: make drills")
def test_a_node_whose_processes_always_die(nodes: Any, tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "in").mkdir()
    for n in range(N_IMAGES):
        (tmp_path / "in" / f"{n:03d}.png").write_bytes(BRIGHT)
    # With a GPU each, as Ray is told, so that a process that dies is begun again where it was.
    good, bad = (nodes.add_node(num_cpus=1, num_gpus=1) for _ in range(2))
    try:
        nodes.wait_for_nodes()
        places = [f"input.uri='{tmp_path / 'in'}'", f"output.uri='{tmp_path / 'out'}'"]
        settings = [f"output.unit_size={UNIT_SIZE}", "prompts=[disc]", f"cluster.address={nodes.address}"]
        settings += ["cluster.gpus_per_actor=1", "cluster.max_actors=2"]
        model = FailsOn(bad.node_id, tmp_path / "deaths")
        (tmp_path / "log").touch()
        job = Command(
            ["label", *places, *settings], log=tmp_path / "log", engine=HeldEngine(Place(tmp_path, "none"), model)
        )
        assert job.wait(400) == 0, job.log.read_text()
    finally:
        for node in (good, bad):
            nodes.remove_node(node)
    n_deaths = len(set((tmp_path / "deaths").read_text().split()))
    assert n_deaths == DEATHS_TO_PARK, "it is left alone then, also by those who label what it gave back"
    ledger.add(
        "a process that its device ends costs itself",
        "a node whose processes always die",
        run_verify(tmp_path / "out"),
        n_fired=n_deaths,
    )
    assert len(rows_of(tmp_path / "out")) == N_IMAGES
