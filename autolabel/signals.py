"""The end of a process that does not end by itself: SIGTERM, Ctrl-C, and a death that leaves it no word to say."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 25.0  # Kubernetes kills after 30


@contextmanager
def interruptible(farewell: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, like Ctrl-C.

    A block that is not left `GRACE_S` later ends the process. `farewell` says what the user should know, in both cases.
    Exit code 1 either way, if the caller gives that on KeyboardInterrupt. Only for the main thread.
    """
    dropped = threading.Timer(GRACE_S, _drop, [farewell])
    dropped.daemon = True

    def stop(signal_number: int, frame: FrameType | None) -> None:
        if not dropped.is_alive():
            dropped.start()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except KeyboardInterrupt:
        farewell()
        raise
    finally:
        dropped.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def witnessed(last_words: str) -> Iterator[None]:
    """Have `last_words` said where this process dies within the block, by a small process that outlives it.

    Killed, out of memory, or taken along by Ray, which ends its drivers in silence where one of its own processes dies:
    nothing in the process itself runs then.
    """
    program = "import sys; sys.stdin.read(1) or sys.stderr.write(sys.argv[1] + chr(10))"
    witness = subprocess.Popen(  # noqa: S603  # this interpreter, with words of our own
        [sys.executable, "-I", "-S", "-c", program, last_words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C and a killed process group are not for it
    )
    try:
        yield
    finally:
        witness.communicate(b".")


@contextmanager
def keeping_sigterm() -> Iterator[None]:
    """Keep a Python handler of SIGTERM, whatever the block sets: `ray.init` puts one of its own in its place."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _drop(farewell: Callable[[], None]) -> None:
    farewell()
    os._exit(1)
