"""A job that cannot run says so and ends, soon."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from ray import cloudpickle

from autolabel.config import ClusterConfig
from autolabel.config.compose import compose_config
from autolabel.errors import CheckpointError, JobFailed, StorageError
from autolabel.pipeline import actors
from autolabel.pipeline.heartbeat import Heartbeat
from autolabel.pipeline.job import label
from autolabel.sam3.device import HostTensor
from autolabel.sam3.engine import Engine, Pair, PairResult
from tests.support.planned import prepared
from tests.support.scenes import write_scenes

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(autouse=True)
def actors_are_given_back(cluster: None) -> Iterator[None]:
    """However a job ended, and though the exception it ended with is kept."""
    yield
    deadline = time.monotonic() + 20
    while ray.available_resources().get("CPU") != 4:
        assert time.monotonic() < deadline, ray.available_resources()
        time.sleep(0.2)


def test_a_checkpoint_that_only_the_actor_lacks_ends_the_job_with_its_message(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path)
    model = replace(job.model, seed=None, checkpoint=str(tmp_path / "gone.safetensors"))
    job = replace(job, model=model, checkpoint_sha256="0" * 64)
    began = time.monotonic()
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: there is no such file"):
        list(actors.label_units(job, [0, 1], Heartbeat(), ClusterConfig()))
    assert time.monotonic() - began < 60


def test_a_storage_that_fails_in_the_actor_ends_the_job_with_its_message(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path)
    (tmp_path / "out" / "labels").write_bytes(b"a file where the folder should be")
    with pytest.raises(StorageError, match="labels/00000000.parquet: cannot be written"):
        list(actors.label_units(job, [0], Heartbeat(), ClusterConfig()))


def test_a_cluster_without_the_gpus_asked_for_is_given_up(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path)
    cluster = ClusterConfig(gpus_per_actor=1, start_timeout_s=3)
    began = time.monotonic()
    with pytest.raises(JobFailed, match="no labelling actor started within 3 s; each takes 1 CPUs and 1 GPUs"):
        list(actors.label_units(job, [0], Heartbeat(), cluster))
    assert time.monotonic() - began < 30


class Stuck(Engine):
    """Segments one batch, and hangs in the next."""

    def __init__(self) -> None:
        self.n = 0

    def segment(self, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
        self.n += 1
        if self.n > 1:
            time.sleep(3600)
        logits = torch.zeros(0, 8, 8)
        none = np.zeros((0, 4), np.float32)
        found = PairResult(presence=0.0, best_score=0.0, scores=none[:, 0], boxes_xyxy=none, masks=HostTensor(logits))
        return [found for _ in pairs]


def test_a_stuck_actor_ends_the_job_and_says_what_it_was_at(tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", count=9, seed=0)
    settings = [f"input.uri={tmp_path}/in", f"output.uri={tmp_path}/out", "output.unit_size=5", "batch.images=2"]
    settings += ["cluster.stall_timeout_s=5", "cluster.cpus_per_actor=1"]
    config = compose_config("label", settings)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import it
    began = time.monotonic()
    with pytest.raises(JobFailed, match=r"nothing has happened for \d+ s; units in hand: \[0, 1\]"):
        label(config, load=lambda job: Stuck())
    assert time.monotonic() - began < 60


def test_an_actor_that_dies_at_its_start_is_given_up(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path)
    deaths = tmp_path / "deaths"

    def die(_: object) -> Engine:
        with deaths.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(8)  # so that it does not die as often as parks it
        os._exit(1)

    cluster = ClusterConfig(start_timeout_s=20)
    with pytest.raises(JobFailed, match="no labelling actor started within 20 s"):
        list(actors.label_units(job, [0], Heartbeat(), cluster, load=die))
    assert deaths.read_text()


class Deadly(Stuck):
    """Ends its process wherever it is asked."""

    def segment(self, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
        os._exit(1)


def test_a_unit_that_kills_every_process_ends_the_job(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import it

    def load(_: object) -> Engine:
        actors.MAX_ATTEMPTS = 2  # in the actor
        return Deadly()

    with pytest.raises(JobFailed, match="unit 0: the process at work on it has died 2 times"):
        list(actors.label_units(job, [0], Heartbeat(), ClusterConfig(), load=load))
