"""The heartbeat hears of every image, and not of every batch."""

import time

import pytest

from autolabel.pipeline.heartbeat import HeartbeatActor, Throttled


def test_counts_are_told_on_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock_s[-1])
    told: list[int] = []
    on_segmented = Throttled(told.append)
    for seconds in (100.0, 100.2, 100.9, 101.0, 101.5, 105.0):
        clock_s.append(seconds)
        on_segmented(4)
    assert told == [4, 12, 8]


def test_an_actor_that_joins_again_is_the_same_actor() -> None:
    counts = HeartbeatActor()
    for actor in ("a", "b", "a"):
        counts.join(actor)
    assert counts.actors() == ["a", "b"]


def test_waiting_for_the_first_actor_is_no_stall() -> None:
    counts = HeartbeatActor()
    assert counts.since_progress()[0] < 0
    counts.join("a")
    assert counts.since_progress()[0] >= 0
