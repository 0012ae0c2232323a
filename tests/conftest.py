"""What tests share: an S3 server process, and a Ray that lets nobody else in."""

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.faults import Command, HeldEngine, Place, Start
from tests.support.faulty_s3 import FaultyS3
from tests.support.ledger import LONG, Ledger
from tests.support.photographs import write_photographs
from tests.support.s3 import S3, s3_server

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from tests.support.nodes import Nodes

TESTS = Path(__file__).parent
STARTS_RAY = {"cluster", "nodes", "small_cluster", "start"}  # fixtures
LEDGER = pytest.StashKey[Ledger]()

# Inherited by every process that a test starts.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_AUTH_TOKEN", "tests-of-this-checkout-only")
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["AWS_ACCESS_KEY_ID"] = "tests"
os.environ["AWS_SECRET_ACCESS_KEY"] = "tests"
os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
# Of this process alone, so that Rays of several workers, or of whoever else is on the machine, do not find each other.
os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short: paths of sockets are
if not LONG:  # a dead node is missed after 2.5 s, and not after 20 to 35; one that is only slow has as long as ever
    of_health_checks = {"initial_delay_ms": "500", "period_ms": "500", "failure_threshold": "5"}
    os.environ |= {f"RAY_health_check_{name}": value for name, value in of_health_checks.items()}


@pytest.hookimpl(tryfirst=True)  # before pytest looks at marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a Ray, and put its files first, those with several nodes before all.

    Workers take whole files in this order: the longest come first, and many short ones at the end keep all at work.
    """
    files: dict[Path, set[str]] = {}
    for item in items:
        starts = STARTS_RAY.intersection(getattr(item, "fixturenames", ()))
        files.setdefault(item.path, set()).update(starts)
        if starts:
            item.add_marker("ray")
    items.sort(key=lambda item: ("nodes" not in files[item.path], not files[item.path]))


@pytest.fixture(autouse=True)
def no_ray_unless_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that starts a Ray without the mark fails, so that `make check` starts none."""
    if request.node.get_closest_marker("ray") is None:
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)


# Each worker keeps a ledger of its drills; the table at the end is of all of them.


@pytest.fixture(scope="session")
def ledger(pytestconfig: pytest.Config) -> Ledger:
    return pytestconfig.stash.setdefault(LEDGER, Ledger())


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["drills"] = session.config.stash.get(LEDGER, Ledger()).entries()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    entries = getattr(node, "workeroutput", {}).get("drills", [])
    node.config.stash.setdefault(LEDGER, Ledger()).enter(entries)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ledger = config.stash.get(LEDGER, Ledger())
    if ledger.tallies:
        terminalreporter.section("drills")
        for row in ledger.table():
            terminalreporter.write_line(row)


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

    from tests.support.nodes import one_start_at_a_time

    with one_start_at_a_time(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, about itself
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start commands that start a Ray of their own each; what still runs at the end of the test is killed."""
    monkeypatch.setenv("RAY_TMPDIR", tempfile.mkdtemp(dir=os.environ["RAY_TMPDIR"]))  # there is no Ray to join
    started: list[Command] = []

    def command(arguments: list[str], *, model: Callable[[Any], Any] | None = None) -> Command:
        engine = None if model is None else HeldEngine(Place(tmp_path, "none"), model)
        started.append(Command(arguments, log=tmp_path / f"command-{len(started)}.log", engine=engine))
        return started[-1]

    yield command
    for each in started:
        each.process.kill()
        each.process.join()


@pytest.fixture(scope="session")
def nodes() -> Iterator["Nodes"]:
    """A head of two cores; tests join further nodes to it, and remove them."""
    from tests.support.nodes import Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield nodes
    nodes.shutdown()  # type: ignore[no-untyped-call]
