"""What the drills broke and what came of it, for the table at their end.

`make drills` runs the drills at length; in `make test` they are short.
"""

import os
from dataclasses import dataclass, field

from autolabel.output.verify import Verdict

LONG = os.environ.get("DRILLS") == "long"


@dataclass
class Tally:
    """All runs of one drill."""

    n_fired: int = 0
    n_lost: int = 0
    n_doubled: int = 0
    detected_s: list[float] = field(default_factory=list)


class Ledger:
    """One tally by promise and drill."""

    def __init__(self) -> None:
        self.tallies: dict[tuple[str, str], Tally] = {}

    def add(self, promise: str, drill: str, verdict: Verdict, *, n_fired: int, detected_s: float | None = None) -> None:
        """Note `n_fired` faults and how the output was after all; `detected_s` from the fault to its being known.

        An output with any problem, or no fault at all, fails the test.
        """
        assert n_fired > 0, "the fault never fired"
        tally = self.tallies.setdefault((promise, drill), Tally())
        tally.n_fired += n_fired
        tally.n_lost += verdict.n_missing
        tally.n_doubled += verdict.n_duplicated
        if detected_s is not None:
            tally.detected_s.append(detected_s)
        assert verdict.clean, str(verdict)

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
