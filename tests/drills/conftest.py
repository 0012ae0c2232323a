"""The ledger of all drills, and its table at the end of the run."""

import pytest

from tests.support.ledger import Ledger

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
