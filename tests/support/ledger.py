"""What the drills broke and what came of it, for the table at their end.

`make drills` runs the drills at length; in `make test` they are short.
"""

import os
from dataclasses import astuple, dataclass, field
from typing import Any

from autolabel.output.verify import Verdict

LONG = os.environ.get("DRILLS") == "long"


@dataclass
class Tally:
    """All runs of one drill."""

    n_fired: int = 0
    n_lost: int = 0
    n_doubled: int = 0
    detected_s: list[float] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.n_fired += other.n_fired
        self.n_lost += other.n_lost
        self.n_doubled += other.n_doubled
        self.detected_s += other.detected_s


class Ledger:
    """One tally by promise and drill."""

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str], Tally] = {}

    def add(self, promise: str, drill: str, verdict: Verdict, *, n_fired: int, detected_s: float | None = None) -> None:
        """Note `n_fired` faults and how the output was after all; `detected_s` from the fault to its being known.

        An output with any problem, or no fault at all, fails the test.
        """
        assert n_fired > 0, "the fault never fired"
        detected = [] if detected_s is None else [detected_s]
        self._tally(promise, drill).add(Tally(n_fired, verdict.n_missing, verdict.n_duplicated, detected))
        assert verdict.clean, str(verdict)

    def _tally(self, promise: str, drill: str) -> Tally:
        return self.tallies.setdefault((promise, drill), Tally())

    def entries(self) -> list[Any]:
        """All of it in plain lists, for another process."""
        return [[*key, *astuple(tally)] for key, tally in self.tallies.items()]

    def enter(self, entries: list[Any]) -> None:
        """Add what another process has noted."""
        for promise, drill, *tally in entries:
            self._tally(promise, drill).add(Tally(*tally))

    def table(self) -> list[str]:
        """Return the lines of a Markdown table."""
        rows = [
            "| promise | drill | faults fired | rows lost | rows doubled | time to detect |",
            "|---|---|---|---|---|---|",
        ]
        for (promise, drill), tally in self.tallies.items():
            detected = f"{max(tally.detected_s):.1f} s at most" if tally.detected_s else ""
            counts = f"{tally.n_fired:,} | {tally.n_lost} | {tally.n_doubled}"
            rows.append(f"| {promise} | {drill} | {counts} | {detected} |")
        return rows
