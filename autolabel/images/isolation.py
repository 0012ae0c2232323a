"""Decoding in a process of its own, for a unit whose first attempt took its worker's process with it.

Decoders are C code that reads bytes from strangers: one may crash, or take all memory. In quarantine that costs the
image that did it, and the rest of its unit is labelled.
"""

import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from threading import Lock
from typing import ParamSpec, TypeVar

from autolabel.errors import RejectCode, RejectedImage

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class DecoderProcess(Executor):
    """Runs one thing at a time in another process, and begins a new one when that dies."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: ProcessPoolExecutor | None = None

    def submit(
        self, work: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """Return the outcome, already there; it is RejectedImage where the process died of the work."""
        future: Future[Result] = Future()
        with self._lock:
            try:
                if self._process is None:
                    self._process = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_volunteer)
                future.set_result(self._process.submit(work, *args, **kwargs).result())
            except BrokenProcessPool:
                self._process = None
                future.set_exception(RejectedImage(RejectCode.DECODER_DIED, "its decoding ended the process"))
            except Exception as error:
                future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            if self._process is not None:
                self._process.shutdown(wait, cancel_futures=cancel_futures)
                self._process = None


def _volunteer() -> None:
    """Let the system end this process before any other where memory runs out."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
