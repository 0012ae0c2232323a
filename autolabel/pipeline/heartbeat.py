"""The heartbeat of a job: what the units in hand are at, how far they are, and whose processes die.

One small Ray actor, beside the driver, keeps the counts. Labelling actors tell it when their process starts, when they
begin a unit, how many of its images are finished, and when they end it. The driver asks it for what is in hand (the
progress bar), for the seconds since anything happened (`watch`), and for the labelling actors that it must end.

A unit that was begun and not ended by the time it is begun again crashed, and its process with it. An actor whose
process dies DEATHS_TO_PARK times in a row, with no unit done in between, is parked: its device or its node is at fault.
It keeps what it occupies, so that nobody else gets it, and gives back the units that it was handed. Those are labelled
by other actors, on other nodes, once all the rest is done.

The actor imports this module and not torch: a tenth of the memory, and it is there before the first labelling actor.
"""

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
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Answer = TypeVar("Answer")

DRIVER_WAITS_S = 1.0  # for an answer; a progress bar is not worth more
ACTOR_WAITS_S = 10.0
TELL_EVERY_S = 1.0
DEATHS_TO_PARK = 3


@dataclass(frozen=True, kw_only=True)
class InHand:
    """Images that are finished, in units that are not."""

    n_images: int = 0
    n_instances: int = 0
    n_rejected: int = 0

    def __add__(self, other: "InHand") -> "InHand":
        return InHand(
            n_images=self.n_images + other.n_images,
            n_instances=self.n_instances + other.n_instances,
            n_rejected=self.n_rejected + other.n_rejected,
        )


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a unit. `on_finished` is to be told of images as they are finished."""

    n_crashed_before: int  # attempts at the same unit that ended their process
    on_finished: Callable[[InHand], object]


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """Answer to the driver: how a job is."""

    seconds_since_progress: float = 0.0
    units_in_hand: tuple[int, ...] = ()
    n_actors: int = 0
    n_parked: int = 0
    bad_nodes: frozenset[str] = frozenset()  # on which actors were parked
    last_words: str = ""  # of the process that died last, as far as it had any


class Heartbeat:
    """A handle on the counts, for the driver and, pickled, for its labelling actors.

    No call raises where the actor of the counts is gone for a moment: nothing is known then, and labelling goes on.
    """

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ray.remote(HeartbeatActor)
        self._actor: Any = actor.options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()

    # What the driver asks.

    def in_hand(self) -> InHand:
        """Return what is finished in units that are not."""
        return self._ask("in_hand", unknown=InHand())

    def pulse(self) -> Pulse:
        """Return when anything happened last, and what has gone wrong."""
        return self._ask("pulse", unknown=Pulse())

    def end_actors(self) -> None:
        """End the labelling actors at once, whatever they are at.

        One that is stuck would never end by itself, one that dies would begin again. Those that are parked stay.
        """
        actors: list[Any] = self._ask("actors", unknown=[], wait_s=ACTOR_WAITS_S)
        for actor in actors:
            ray.kill(actor)

    # What a labelling actor tells and asks.

    def start(self) -> bool:
        """Tell of the process that calls this, before it does what may end it; return whether it is to be parked."""
        context = ray.get_runtime_context()
        return self._ask("start", context.current_actor, context.get_node_id(), unknown=False, wait_s=ACTOR_WAITS_S)

    def ready(self) -> None:
        """Tell that the process that calls this has come through its start."""
        self._actor.ready.remote(ray.get_runtime_context().current_actor)

    def last_words(self, words: str, *, park: bool = False) -> None:
        """Tell what ends this process, or why it can do nothing."""
        actor = ray.get_runtime_context().current_actor
        self._ask("last_words", actor, words, park, unknown=None, wait_s=ACTOR_WAITS_S)

    @contextmanager
    def attempt(self, unit: int) -> Iterator[Attempt]:
        """Mark the block as at work on a unit; only the death of its process makes it a crash."""
        context = ray.get_runtime_context()
        actor = context.current_actor
        done = False
        try:
            n_crashed = self._ask("begin", unit, actor, context.get_node_id(), unknown=0, wait_s=ACTOR_WAITS_S)
            on_finished = Throttled(lambda finished: self._actor.add.remote(unit, finished))
            yield Attempt(n_crashed_before=n_crashed, on_finished=on_finished)
            done = True
        finally:
            self._actor.end.remote(unit, actor, done)

    def others_at_work(self) -> bool:
        """Tell whether an actor that is not parked has a unit in hand, or is still starting."""
        return self._ask("others_at_work", unknown=True, wait_s=ACTOR_WAITS_S)

    def _ask(self, what: str, *arguments: object, unknown: Answer, wait_s: float = DRIVER_WAITS_S) -> Answer:
        with suppress(RayError):
            return cast(Answer, ray.get(getattr(self._actor, what).remote(*arguments), timeout=wait_s))
        return unknown


class Throttled:
    """Passes counts on, added up, at most every `TELL_EVERY_S`: a call for each image is a cost to both its ends."""

    def __init__(self, tell: Callable[[InHand], object]) -> None:
        self._tell = tell
        self._untold = InHand()
        self._told_at = -math.inf
        self._lock = threading.Lock()

    def __call__(self, finished: InHand) -> None:
        with self._lock:
            self._untold += finished
            if time.monotonic() - self._told_at >= TELL_EVERY_S:
                self._tell(self._untold)
                self._untold, self._told_at = InHand(), time.monotonic()


class HeartbeatActor:
    """The counts themselves. Every call is short, and none waits for another.

    Nothing of it outlives its process. What matters comes back by itself: a unit that is begun makes its actor known.
    """

    def __init__(self) -> None:
        self._finished: dict[int, InHand] = {}  # by unit in hand
        self._at_work: dict[int, Any] = {}  # the actor that has each unit in hand
        self._n_crashed: Counter[int] = Counter()  # attempts by unit, until it is done
        self._node_of: dict[Any, str] = {}  # where the last process of each actor is or was
        self._deaths: Counter[Any] = Counter()  # by actor, since it was done with a unit
        self._starting: set[Any] = set()
        self._parked: set[Any] = set()
        self._last_words = ""
        self._moved_at = math.inf  # until an actor is there: for that there is a time limit of its own

    def start(self, actor: Any, node: str) -> bool:
        before = self._node_of.get(actor)
        if before is None:
            self._moved_at = time.monotonic()  # the first time only: actors that die as they start are no progress
        elif is_alive(before):  # or it is the node that died, which says nothing of the actor
            self._deaths[actor] += 1
        self._node_of[actor] = node
        self._starting.add(actor)
        if self._deaths[actor] >= DEATHS_TO_PARK:
            self._parked.add(actor)
        return actor in self._parked

    def ready(self, actor: Any) -> None:
        self._starting.discard(actor)

    def last_words(self, actor: Any, words: str, park: bool) -> None:
        self._last_words = words
        if park:
            self._parked.add(actor)

    def actors(self) -> list[Any]:
        return [actor for actor in self._node_of if actor not in self._parked]

    def begin(self, unit: int, actor: Any, node: str) -> int:
        """Return how many attempts at the unit crashed."""
        self._moved_at = time.monotonic()
        self._node_of[actor] = node
        self._finished.pop(unit, None)
        self._n_crashed[unit] += unit in self._at_work
        self._at_work[unit] = actor
        return self._n_crashed[unit]

    def add(self, unit: int, finished: InHand) -> None:
        self._moved_at = time.monotonic()
        self._finished[unit] = self._finished.get(unit, InHand()) + finished

    def end(self, unit: int, actor: Any, done: bool) -> None:
        self._moved_at = time.monotonic()
        self._finished.pop(unit, None)
        self._at_work.pop(unit, None)
        if done:
            self._n_crashed.pop(unit, None)
            self._deaths.pop(actor, None)

    def others_at_work(self) -> bool:
        return not self._parked.issuperset((*self._at_work.values(), *self._starting))

    def in_hand(self) -> InHand:
        return sum(self._finished.values(), InHand())

    def pulse(self) -> Pulse:
        return Pulse(
            seconds_since_progress=time.monotonic() - self._moved_at,
            units_in_hand=tuple(sorted(self._at_work)),
            n_actors=len(self._node_of),
            n_parked=len(self._parked),
            bad_nodes=frozenset(self._node_of[actor] for actor in self._parked if actor in self._node_of),
            last_words=self._last_words,
        )


def is_alive(node: str) -> bool:
    """Tell whether Ray counts a node as alive."""
    return any(known["NodeID"] == node and known["Alive"] for known in ray.nodes())
