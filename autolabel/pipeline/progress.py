"""What a person sees of a running job: a bar on a terminal, a log line every few seconds elsewhere."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

from autolabel.labels.summary import Summary
from autolabel.labels.types import Status

BAR_EVERY_S = 1.0
LOG_EVERY_S = 10.0

log = logging.getLogger("autolabel")

Result = TypeVar("Result")


class Progress:
    """Tells how far a job is for as long as the `with` block runs.

    Counts come from finished units; `in_hand` gives the images already looked at in the others.
    """

    def __init__(self, *, n_images: int, n_done_before: int, in_hand: Callable[[], int]) -> None:
        self.summary = Summary()
        self._n_images = n_images
        self._n_done_before = self._n_told = n_done_before
        self._in_hand = in_hand
        self._on_terminal = sys.stderr.isatty()
        self._ended = threading.Event()
        self._teller = threading.Thread(target=self._tell, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        self._began = time.monotonic()
        self._bar = tqdm(
            total=self._n_images, initial=self._n_done_before, unit="img", disable=not self._on_terminal, smoothing=0.1
        )
        self._teller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._teller.join()
        self._show(self.summary.n_images)
        self._bar.close()

    def add(self, finished: Summary) -> None:
        """Count a unit that is done."""
        self.summary.add(finished)

    def _tell(self) -> None:
        while not self._ended.wait(BAR_EVERY_S if self._on_terminal else LOG_EVERY_S):
            self._show(self.summary.n_images + self._in_hand())

    def _show(self, n_this_run: int) -> None:
        # A unit leaves what is in hand a moment before it is counted as done: never tell of less than before.
        n_done = self._n_told = max(self._n_told, min(self._n_done_before + n_this_run, self._n_images))
        if self._on_terminal:
            self._bar.set_postfix(
                instances=self.summary.n_instances, rejected=self.summary.images[Status.REJECTED], refresh=False
            )
            self._bar.update(n_done - self._bar.n)
        else:
            log.info(self.line(n_done, seconds=time.monotonic() - self._began))

    def line(self, n_done: int, *, seconds: float) -> str:
        """Return `512 of 10000 images, 25.1 images/s, 1830 instances, 3 rejected, 06:18 left`."""
        rate = (n_done - self._n_done_before) / max(seconds, 1e-9)
        left = tqdm.format_interval((self._n_images - n_done) / rate) if rate else "?"
        return (
            f"{n_done} of {self._n_images} images, {rate:.{1 if rate >= 1 else 3}f} images/s, "
            f"{self.summary.n_instances} instances, {self.summary.images[Status.REJECTED]} rejected, {left} left"
        )
