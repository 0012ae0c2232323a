"""The heartbeat hears of every image, of every death, and of nothing that only looks like progress."""

import time

import pytest

from autolabel.pipeline import heartbeat
from autolabel.pipeline.heartbeat import DEATHS_TO_PARK, HeartbeatActor, InHand, Throttled

NODE, OTHER_NODE = "node a", "node b"


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> HeartbeatActor:
    monkeypatch.setattr(heartbeat, "is_alive", lambda node: node != "a node that is gone")
    return HeartbeatActor()


def test_counts_are_told_on_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s = [0.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: clock_s[-1])  # type: ignore[attr-defined]  # its own import
    told: list[InHand] = []
    on_finished = Throttled(told.append)
    for seconds in (100.0, 100.2, 100.9, 101.0, 101.5, 105.0):
        clock_s.append(seconds)
        on_finished(InHand(n_images=4, n_instances=10))
    assert [finished.n_images for finished in told] == [4, 12, 8]
    assert [finished.n_instances for finished in told] == [10, 30, 20]


def test_an_actor_that_starts_again_is_the_same_actor(counts: HeartbeatActor) -> None:
    for actor in ("a", "b", "a"):
        counts.start(actor, NODE)
    assert counts.actors() == ["a", "b"]


def test_waiting_for_the_first_actor_is_no_stall(counts: HeartbeatActor) -> None:
    assert counts.pulse().seconds_since_progress < 0
    counts.start("a", NODE)
    assert counts.pulse().seconds_since_progress >= 0


def test_an_actor_that_starts_again_and_again_is_no_progress(counts: HeartbeatActor) -> None:
    counts.start("a", NODE)
    time.sleep(0.2)
    counts.start("a", NODE)
    assert counts.pulse().seconds_since_progress >= 0.2
    counts.start("b", NODE)
    assert counts.pulse().seconds_since_progress < 0.2


def test_an_actor_whose_processes_die_is_parked(counts: HeartbeatActor) -> None:
    parked = [counts.start("a", NODE) for _ in range(DEATHS_TO_PARK + 1)]
    assert parked == [False] * DEATHS_TO_PARK + [True]
    assert counts.pulse().n_parked == counts.pulse().n_actors == 1
    assert counts.actors() == [], "it keeps what it occupies"


def test_a_unit_that_is_done_in_between_makes_up_for_deaths(counts: HeartbeatActor) -> None:
    for unit in range(3 * DEATHS_TO_PARK):
        assert not counts.start("a", NODE)
        counts.begin(unit, "a", NODE)
        counts.end(unit, "a", done=True)


def test_a_unit_that_failed_does_not(counts: HeartbeatActor) -> None:
    for unit in range(DEATHS_TO_PARK):
        assert not counts.start("a", NODE)
        counts.begin(unit, "a", NODE)
        counts.end(unit, "a", done=False)
    assert counts.start("a", NODE)


def test_a_node_that_went_away_is_no_fault_of_its_actors(counts: HeartbeatActor) -> None:
    for _ in range(3 * DEATHS_TO_PARK):
        assert not counts.start("a", "a node that is gone")


def test_attempts_that_crashed_are_counted_until_the_unit_is_done(counts: HeartbeatActor) -> None:
    assert [counts.begin(7, actor, NODE) for actor in ("a", "a", "b")] == [0, 1, 2]
    counts.end(7, "b", done=True)
    assert counts.begin(7, "a", NODE) == 0
    counts.end(7, "a", done=False)  # it was told of, and is tried no more
    assert counts.begin(7, "a", NODE) == 0


def test_others_are_at_work_while_they_start_and_while_they_hold_units(counts: HeartbeatActor) -> None:
    counts.start("parked", NODE)
    counts.last_words("parked", "no GPU", park=True)
    counts.ready("parked")
    assert not counts.others_at_work()
    counts.start("other", OTHER_NODE)
    assert counts.others_at_work(), "it loads its model"
    counts.ready("other")
    assert not counts.others_at_work()
    counts.begin(3, "other", OTHER_NODE)
    assert counts.others_at_work()
    counts.end(3, "other", done=True)
    assert not counts.others_at_work()
    assert counts.pulse().last_words == "no GPU"


def test_what_is_in_hand_is_added_up_over_units(counts: HeartbeatActor) -> None:
    counts.add(1, InHand(n_images=2, n_instances=5))
    counts.add(1, InHand(n_images=1, n_rejected=1))
    counts.add(2, InHand(n_images=4))
    assert counts.in_hand() == InHand(n_images=7, n_instances=5, n_rejected=1)
    counts.end(1, "a", done=True)
    assert counts.in_hand() == InHand(n_images=4)
