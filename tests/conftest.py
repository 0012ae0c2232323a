"""What tests share: an S3 server process, and a Ray that lets nobody else in."""

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.faulty_s3 import FaultyS3
from tests.support.photographs import write_photographs
from tests.support.s3 import S3, s3_server

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TESTS = Path(__file__).parent

# Inherited by every process that a test starts.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_AUTH_TOKEN", "tests-of-this-checkout-only")
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["AWS_ACCESS_KEY_ID"] = "tests"
os.environ["AWS_SECRET_ACCESS_KEY"] = "tests"
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"


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


@pytest.fixture
def duckdb() -> Iterator["DuckDBPyConnection"]:
    """A connection of the test's own.

    No test module imports DuckDB by name: pytest's loader, which modules of its plugins keep, holds test modules to the
    very end, and nanobind reports as leaked, on a page, what they hold.
    """
    import duckdb

    with duckdb.connect() as connection:
        yield connection


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn photographs, of different sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    write_photographs(folder)
    return folder


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
