"""What the stages of a unit cost, in seconds of the threads that they run in."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class StageSeconds:
    """Sums over images: more than the seconds that passed, where several threads were at work.

    Waits for a free thread are in none of them. A stage that rejects an image is not counted for it.
    """

    fetch: float = 0.0  # until the storage has given all bytes, however often it was asked
    decode: float = 0.0  # and resize
    segment: float = 0.0  # the model, a batch at a time
    finish: float = 0.0  # run lengths, NMS, limits
    write: float = 0.0  # the unit's file

    def __add__(self, other: "StageSeconds") -> "StageSeconds":
        return StageSeconds(
            fetch=self.fetch + other.fetch,
            decode=self.decode + other.decode,
            segment=self.segment + other.segment,
            finish=self.finish + other.finish,
            write=self.write + other.write,
        )


def timed(
    work: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
) -> tuple[Result, float]:
    """Return what the work gives, and the seconds that it took; to be called in the thread or process that does it."""
    began = time.monotonic()
    result = work(*args, **kwargs)
    return result, time.monotonic() - began
