"""What tests share: an S3 server process, and a Ray that lets nobody else in."""

import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.faulty_s3 import FaultyS3

TESTS = Path(__file__).parent
SHARED_IMAGES = TESTS.parent.parent / "shared" / "images"

# Inherited by every process that a test starts.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_AUTH_TOKEN", "tests-of-this-checkout-only")
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["AWS_ACCESS_KEY_ID"] = "tests"
os.environ["AWS_SECRET_ACCESS_KEY"] = "tests"
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"


@dataclass(frozen=True)
class S3:
    """A running server. `options` are the storage_options to reach it."""

    endpoint_url: str

    @property
    def options(self) -> dict[str, Any]:
        return {"endpoint_url": self.endpoint_url}

    def make_bucket(self, name: str) -> str:
        import s3fs

        s3fs.S3FileSystem(**self.options).call_s3("create_bucket", Bucket=name)
        return f"s3://{name}"

    def put(self, uri: str, data: bytes) -> None:
        import s3fs

        bucket, _, key = uri.removeprefix("s3://").partition("/")
        s3fs.S3FileSystem(**self.options).call_s3("put_object", Bucket=bucket, Key=key, Body=data)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with s3_server() as endpoint_url:
        yield S3(endpoint_url)


@pytest.fixture(scope="session")
def failing_server() -> Iterator[str]:
    with s3_server() as endpoint_url:
        yield endpoint_url


@pytest.fixture
def faulty(failing_server: str) -> Iterator[FaultyS3]:
    """A server of its own whose faults a test chooses; without any before and after."""
    server = FaultyS3(failing_server)
    server.clear()
    yield server
    server.clear()


class s3_server:
    """Starts the server; its address."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self.latency_s = latency_s

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "tests.support.s3_server", str(self.latency_s)]
        self.process = subprocess.Popen(
            command, cwd=TESTS.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photos beside the checkout."""
    if not SHARED_IMAGES.is_dir():
        pytest.skip("needs the photos in ../shared/images")
    return SHARED_IMAGES


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """One Ray for all jobs that tests run in their own process; a job that finds itself connected uses it."""
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, about itself
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head of two cores; tests join further nodes to it. This process stays outside."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(TESTS.parent)  # actors import what holds them
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster
    cluster.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
