"""The heartbeat of a job: what the units in hand are at, how far they are, and whether anything still moves.

One small Ray actor keeps the counts. Labelling actors tell it when they begin a unit, how many of its images have left
the model, and when they end it. The driver asks it for the images in hand (the progress bar), for the seconds since
anything happened (the stall watch), and for the labelling actors that it must end. A unit that was begun and not ended
by the time it is begun again has taken its process with it: so crashed attempts are counted, too.

The actor imports this module and not torch: a tenth of the memory, and it is there before the first labelling actor.
"""

import _thread
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import ray
from ray.exceptions import RayError

from autolabel.errors import JobFailed

Answer = TypeVar("Answer")

DRIVER_WAITS_S = 1.0  # for an answer; a progress bar is not worth more
ACTOR_WAITS_S = 10.0
TELL_EVERY_S = 1.0
LOOK_EVERY_S = 10.0
INTERRUPT_AGAIN_S = 20.0  # longer than an orderly end takes


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a unit. `on_segmented` is to be told of images as they leave the model."""

    n_crashed_before: int  # attempts at the same unit that ended their process
    on_segmented: Callable[[int], object]


class Heartbeat:
    """A handle on the counts, for the driver and, pickled, for its labelling actors.

    No call raises where the actor of the counts is gone: nothing is known then, and labelling goes on.
    """

    def __init__(self) -> None:
        self._actor: Any = ray.remote(num_cpus=0)(HeartbeatActor).remote()

    # What the driver asks.

    def n_images_in_hand(self) -> int:
        """Return images that have left the model in units that are not done."""
        return self._ask("n_images_in_hand", unknown=0)

    def since_progress(self) -> tuple[float, list[int]]:
        """Return seconds since anything happened, and the units in hand."""
        return self._ask("since_progress", unknown=(0.0, []))

    def end_actors(self) -> None:
        """End the labelling actors at once, whatever they are at.

        One that is stuck would never end by itself, one that dies would begin again.
        """
        actors: list[Any] = self._ask("actors", unknown=[], wait_s=ACTOR_WAITS_S)
        for actor in actors:
            ray.kill(actor)

    # What a labelling actor tells.

    def join(self) -> None:
        """Tell of the actor that calls this; it is there when this returns."""
        with suppress(RayError):
            actor = ray.get_runtime_context().current_actor
            ray.get(self._actor.join.remote(actor), timeout=ACTOR_WAITS_S)

    @contextmanager
    def attempt(self, unit: int) -> Iterator[Attempt]:
        """Mark the block as at work on a unit; only the death of its process makes it a crash."""
        try:
            n_crashed = self._ask("begin", unit, unknown=0, wait_s=ACTOR_WAITS_S)
            on_segmented = Throttled(lambda n_images: self._actor.add.remote(unit, n_images))
            yield Attempt(n_crashed_before=n_crashed, on_segmented=on_segmented)
        finally:
            self._actor.end.remote(unit)

    def _ask(self, what: str, *arguments: object, unknown: Answer, wait_s: float = DRIVER_WAITS_S) -> Answer:
        try:
            return cast(Answer, ray.get(getattr(self._actor, what).remote(*arguments), timeout=wait_s))
        except RayError:
            return unknown


class Throttled:
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


class HeartbeatActor:
    """The counts themselves. Every call is short, and none waits for another."""

    def __init__(self) -> None:
        self._n_segmented: Counter[int] = Counter()  # images by unit in hand
        self._n_begun: Counter[int] = Counter()  # attempts by unit since it last ended
        self._actors: list[Any] = []
        self._moved_at = math.inf  # until an actor is there: for that there is a time limit of its own

    def join(self, actor: Any) -> None:
        self._moved_at = time.monotonic()
        if actor not in self._actors:  # it joins again after a restart
            self._actors.append(actor)

    def actors(self) -> list[Any]:
        return self._actors

    def begin(self, unit: int) -> int:
        """Return how many attempts at the unit began and did not end: their process died."""
        self._moved_at = time.monotonic()
        self._n_begun[unit] += 1
        self._n_segmented.pop(unit, None)
        return self._n_begun[unit] - 1

    def add(self, unit: int, n_images: int) -> None:
        self._moved_at = time.monotonic()
        self._n_segmented[unit] += n_images

    def end(self, unit: int) -> None:
        self._moved_at = time.monotonic()
        self._n_segmented.pop(unit, None)
        self._n_begun.pop(unit, None)

    def n_images_in_hand(self) -> int:
        return self._n_segmented.total()

    def since_progress(self) -> tuple[float, list[int]]:
        return time.monotonic() - self._moved_at, sorted(self._n_begun)


@contextmanager
def fail_on_stall(heartbeat: Heartbeat, timeout_s: float) -> Iterator[None]:
    """End the block if for `timeout_s` no image leaves a model and no unit begins or ends: something is stuck.

    Only in the main thread, which alone can be interrupted.

    Raises:
        JobFailed: with the units that were in hand.
    """
    ended, stalled = threading.Event(), []

    def watch() -> None:
        while not ended.wait(min(LOOK_EVERY_S, timeout_s / 4)):
            seconds, units = heartbeat.since_progress()
            if seconds > timeout_s:
                stalled.append(f"nothing has happened for {seconds:.0f} s; units in hand: {units or 'none'}")
                _thread.interrupt_main()
                while not ended.wait(INTERRUPT_AGAIN_S):  # an exception that meets a destructor is lost there
                    _thread.interrupt_main()
                return

    if threading.current_thread() is threading.main_thread():
        threading.Thread(target=watch, name="watch", daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if stalled:
            raise JobFailed(stalled[0]) from None
        raise
    finally:
        ended.set()
