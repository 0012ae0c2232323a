"""What the units in hand are at, counted in an actor of its own.

Apart from the pipeline, because the actor imports this module and not torch: a tenth of the memory, and it is there
before the first labelling actor.
"""

import _thread
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import ray
from ray.exceptions import RayError

from autolabel.errors import JobFailed

Answer = TypeVar("Answer")

ANSWER_S = 10.0  # that a tally may take to answer an actor
TELL_EVERY_S = 1.0
LOOK_EVERY_S = 10.0
INTERRUPT_AGAIN_S = 20.0  # longer than an orderly end takes


class Tally:
    """What the units in hand are at, as their actors tell it."""

    def __init__(self) -> None:
        self.actor: Any = ray.remote(num_cpus=0)(_Counts).remote()

    def images(self) -> int:
        """That have left the model in units that are not done."""
        return self._ask("n_images", 0)

    def standstill(self) -> tuple[float, list[int]]:
        """Seconds since anything happened, and the units in hand."""
        return self._ask("standstill", (0.0, []))

    def end_actors(self) -> None:
        """At once, whatever they are at: one that is stuck would never end by itself, one that dies begin again."""
        actors: list[Any] = self._ask("actors", [], timeout_s=ANSWER_S)
        for actor in actors:
            ray.kill(actor)

    def _ask(self, what: str, unknown: Answer, *, timeout_s: float = 1.0) -> Answer:
        try:
            return cast(Answer, ray.get(getattr(self.actor, what).remote(), timeout=timeout_s))
        except RayError:  # a progress bar is not worth a job
            return unknown


class Paced:
    """Passes counts on, added up, at most every `TELL_EVERY_S`: a call for each batch is a cost to both its ends."""

    def __init__(self, tell: Callable[[int], object]) -> None:
        self._tell = tell
        self._untold = 0
        self._told_at = -math.inf

    def __call__(self, n: int) -> None:
        self._untold += n
        if time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._tell(self._untold)
            self._untold, self._told_at = 0, time.monotonic()


class _Counts:
    def __init__(self) -> None:
        self._of_unit: Counter[int] = Counter()
        self._begun: Counter[int] = Counter()
        self._actors: list[Any] = []
        self._moved_at = math.inf  # until an actor is there: for that there is a time limit of its own

    def join(self, actor: Any) -> None:
        self._moved_at = time.monotonic()
        if actor not in self._actors:  # it joins again after a restart
            self._actors.append(actor)

    def actors(self) -> list[Any]:
        return self._actors

    def begin(self, unit: int) -> int:
        """How many attempts at the unit began and did not end: their process died."""
        self._moved_at = time.monotonic()
        self._begun[unit] += 1
        self._of_unit.pop(unit, None)
        return self._begun[unit] - 1

    def add(self, unit: int, n_images: int) -> None:
        self._moved_at = time.monotonic()
        self._of_unit[unit] += n_images

    def end(self, unit: int) -> None:
        self._moved_at = time.monotonic()
        self._of_unit.pop(unit, None)
        self._begun.pop(unit, None)

    def n_images(self) -> int:
        return self._of_unit.total()

    def standstill(self) -> tuple[float, list[int]]:
        return time.monotonic() - self._moved_at, sorted(self._begun)


@contextmanager
def watched(tally: Tally, timeout_s: float) -> Iterator[None]:
    """End the block if for `timeout_s` no image leaves a model and no unit begins or ends: something is stuck.

    Only in the main thread, which alone can be interrupted.

    Raises:
        JobFailed: with the units that were in hand.
    """
    ended, stalled = threading.Event(), []

    def look() -> None:
        while not ended.wait(min(LOOK_EVERY_S, timeout_s / 4)):
            seconds, units = tally.standstill()
            if seconds > timeout_s:
                stalled.append(f"nothing has happened for {seconds:.0f} s; units in hand: {units or 'none'}")
                _thread.interrupt_main()
                while not ended.wait(INTERRUPT_AGAIN_S):  # an exception that meets a destructor is lost there
                    _thread.interrupt_main()
                return

    if threading.current_thread() is threading.main_thread():
        threading.Thread(target=look, name="watch", daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if stalled:
            raise JobFailed(stalled[0]) from None
        raise
    finally:
        ended.set()
