"""The watch ends a job that is stuck, or that no process can work on, and no other."""

import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from autolabel.errors import JobFailed
from autolabel.pipeline import watch as watching
from autolabel.pipeline.heartbeat import Heartbeat, Pulse
from autolabel.pipeline.watch import watch, what_is_wrong


@pytest.mark.parametrize(
    ("pulse", "told"),
    [
        pytest.param(Pulse(), None, id="nothing is known"),
        pytest.param(Pulse(seconds_since_progress=59, n_actors=2), None, id="slow"),
        pytest.param(
            Pulse(seconds_since_progress=99, units_in_hand=(7,), n_actors=1),
            "nothing has happened for 99 s; units in hand: [7]",
            id="stuck",
        ),
        pytest.param(Pulse(n_actors=3, n_parked=2, last_words="x"), None, id="one goes on"),
        pytest.param(
            Pulse(n_actors=2, n_parked=2, last_words="gpu-7: CUDA error: ECC"),
            "all 2 labelling actors died again and again; the last one said: gpu-7: CUDA error: ECC",
            id="all died",
        ),
    ],
)
def test_what_is_wrong(pulse: Pulse, told: str | None) -> None:
    assert what_is_wrong(pulse, 60.0) == told


@pytest.fixture(autouse=True)
def interruptions_are_heard() -> Iterator[None]:
    """As `autolabel` sees to it; whoever is started in a script's background ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_stuck_job_ends_also_where_the_first_interruption_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own destructors run at any moment, and Python drops what is raised in one."""
    monkeypatch.setattr(watching, "INTERRUPT_AGAIN_S", 0.5)
    pulse = Pulse(seconds_since_progress=99.0, units_in_hand=(7,), n_actors=1)
    stuck = cast(Heartbeat, SimpleNamespace(pulse=lambda: pulse))
    lost = []
    said = pytest.raises(JobFailed, match=r"nothing has happened for 99 s; units in hand: \[7\]")
    with said, watch(stuck, 0.2):
        try:
            sleep(30)
        except KeyboardInterrupt:
            lost.append(1)
        sleep(30)
    assert lost


def sleep(seconds: float) -> None:
    """Wake often: an interruption that a thread raises is met between two steps of Python, and never in a sleep."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.05)
