"""The ledger of all drills, and its table at the end of the run."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drills.ledger import Ledger

LEDGER = pytest.StashKey[Ledger]()


@pytest.fixture(scope="session")
def ledger(pytestconfig: pytest.Config) -> Ledger:
    return pytestconfig.stash.setdefault(LEDGER, Ledger())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ledger = config.stash.get(LEDGER, Ledger())
    if ledger.tallies:
        terminalreporter.section("drills")
        for row in ledger.table():
            terminalreporter.write_line(row)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head of two cores; tests join further nodes to it. This process stays outside."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])  # actors import what holds them
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster
    cluster.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
