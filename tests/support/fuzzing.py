"""What hypothesis makes up, in the name of strangers, and what may come of it: the documented errors, in little memory.

In `make test` the examples are few and always the same; in `make drills` they are many and new ones each time.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from autolabel.errors import AutolabelError
from tests.support.ledger import LONG

MOST_MEMORY_MB = 600.0  # over what was there before; a bomb that goes off takes gigabytes


def fuzz(short: int, long: int) -> settings:
    """Return how many examples to try, in the short and in the long setting."""
    return settings(
        max_examples=long if LONG else short,
        derandomize=not LONG,
        database=None,
        deadline=timedelta(seconds=20),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )


@contextmanager
def little_memory() -> Iterator[None]:
    """Assert that the block never holds much more memory than there was before it; C libraries' counts too."""
    before_mb = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    yield
    grown_mb = memory_mb("VmHWM") - before_mb
    assert grown_mb < MOST_MEMORY_MB, f"{grown_mb:.0f} MB"


def memory_mb(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{what}:"))
    return int(line.split()[1]) / 1000


@contextmanager
def explained(outcomes: Counter[bool]) -> Iterator[None]:
    """Assert that the block comes through, or raises what a user is told in one message."""
    try:
        yield
    except AutolabelError as error:
        message = str(error)
    else:
        outcomes[True] += 1
        return
    assert message.strip()
    outcomes[False] += 1


TEXT = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["car", " Car", "car\t", "", "  ", "\u00e9", "e\u0301", "\U0001f697", "\ud800", "a\0b", "~", "null"]
    ),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**53, 2**64, 10**400, 0.5, math.nan, math.inf, True]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8
)


def mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any] = ANYTHING) -> st.SearchStrategy[Any]:
    """Draw values as they should be, and now and then something else."""
    return st.integers(0, 11).flatmap(lambda drawn: other if drawn == 11 else usual)


def record_of(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw mappings with those fields, now and then with something else in one, without one, or something else."""
    whole = st.fixed_dictionaries({name: mostly(usual) for name, usual in values.items()})
    without = mostly(st.none(), st.sampled_from(sorted(values)))
    return mostly(st.tuples(whole, without).map(lambda drawn: {k: v for k, v in drawn[0].items() if k != drawn[1]}))


WORDS = st.sampled_from(["car", "person", "dog", "bus", "red car", "\u00e9", "e\u0301", "\U0001f697", "~", "null"])


@st.composite
def spoilt(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """Draw a file with some bytes changed, taken out or doubled, or its end cut off or another's put there."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, 6))):
        if not data:
            break
        # Headers decide most, so half of the changes are there.
        at = draw(st.integers(0, min(len(data), draw(st.sampled_from([64, len(data)]))) - 1))
        match draw(st.sampled_from(["byte", "word", "remove", "double"])):
            case "byte":
                data[at] = draw(st.integers(0, 255))
            case "word":
                data[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\0\0\0\x80"]))
            case "remove":
                del data[at : at + draw(st.integers(1, 40))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
    match draw(st.sampled_from(["whole", "whole", "cut", "other end"])):
        case "cut":
            del data[draw(st.integers(0, len(data))) :]
        case "other end":
            data += draw(st.sampled_from(originals))[draw(st.integers(0, 200)) :]
    return bytes(data)
