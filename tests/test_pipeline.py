"""A job that cannot run says so and ends, soon."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from autolabel import pipeline
from autolabel.errors import CheckpointError, JobFailed, StorageError
from autolabel.pipeline import Tally
from tests.test_labeler import prepared

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
    model = replace(job.config.model, seed=None, checkpoint=str(tmp_path / "gone.safetensors"))
    job = replace(job, config=replace(job.config, model=model), checkpoint_sha256="0" * 64)
    began = time.monotonic()
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: there is no such file"):
        list(pipeline.label_units(job, [0, 1], Tally()))
    assert time.monotonic() - began < 60


def test_a_storage_that_fails_in_the_actor_ends_the_job_with_its_message(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path)
    (tmp_path / "out" / "labels").write_bytes(b"a file where the folder should be")
    with pytest.raises(StorageError, match="labels/00000000.parquet: cannot be written"):
        list(pipeline.label_units(job, [0], Tally()))


def test_a_cluster_without_the_gpus_asked_for_is_given_up(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path)
    cluster = replace(job.config.cluster, gpus_per_actor=1, start_timeout_s=3)
    began = time.monotonic()
    with pytest.raises(JobFailed, match="no labelling actor started within 3 s"):
        list(pipeline.label_units(replace(job, config=replace(job.config, cluster=cluster)), [0], Tally()))
    assert time.monotonic() - began < 30
