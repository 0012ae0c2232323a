"""The watch over a job: it ends one that is stuck, and one that no process can work on any more."""

import _thread
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from autolabel.errors import JobFailed
from autolabel.pipeline.heartbeat import Heartbeat, Pulse

LOOK_EVERY_S = 10.0
INTERRUPT_AGAIN_S = 20.0  # longer than an orderly end takes


@contextmanager
def watch(heartbeat: Heartbeat, stall_timeout_s: float) -> Iterator[None]:
    """End the block where nothing can come of it any more.

    That is so if for `stall_timeout_s` no image leaves a model and no unit begins or ends, or if every labelling actor
    is parked. Only in the main thread, which alone can be interrupted.

    Raises:
        JobFailed: with the units that were in hand, or the last words of the last process.
    """
    ended, verdicts = threading.Event(), list[str]()

    def look() -> None:
        while not ended.wait(min(LOOK_EVERY_S, stall_timeout_s / 4)):
            if verdict := what_is_wrong(heartbeat.pulse(), stall_timeout_s):
                verdicts.append(verdict)
                _thread.interrupt_main()
                while not ended.wait(INTERRUPT_AGAIN_S):  # an exception that meets a destructor is lost there
                    _thread.interrupt_main()
                return

    if threading.current_thread() is threading.main_thread():
        threading.Thread(target=look, name="watch", daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if verdicts:
            raise JobFailed(verdicts[0]) from None
        raise
    finally:
        ended.set()


def what_is_wrong(pulse: Pulse, stall_timeout_s: float) -> str | None:
    """Return why a job must end, if it must."""
    if pulse.n_parked and pulse.n_parked == pulse.n_actors:
        said = f"; the last one said: {pulse.last_words}" if pulse.last_words else " without a word"
        return f"all {pulse.n_actors} labelling actors died again and again{said}"
    if pulse.seconds_since_progress > stall_timeout_s:
        units = list(pulse.units_in_hand) or "none"
        return f"nothing has happened for {pulse.seconds_since_progress:.0f} s; units in hand: {units}"
    return None
