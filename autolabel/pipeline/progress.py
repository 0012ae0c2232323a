"""What a person sees of a running job: a bar on a terminal, a log line every few seconds elsewhere."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from autolabel.labels.summary import Summary
from autolabel.labels.types import Status
from autolabel.pipeline.heartbeat import InHand
from autolabel.wording import counted

LOOK_EVERY_S = 1.0
LOG_EVERY_S = 10.0

log = logging.getLogger("autolabel")


class Progress:
    """Progress of a job: units that are done, of this run and of earlier ones, and what is in hand in the others.

    Whatever is shown is said to `say`, too, for those who look from elsewhere.
    """

    def __init__(self, *, n_images: int, n_done_before: int, say: Callable[[int, float | None], object]) -> None:
        self.summary = Summary()  # of the units that this run has done
        self._say = say
        self._n_images = n_images
        self._n_done_before = self._n_told = n_done_before
        self._found_told = InHand()
        self._on_terminal = sys.stderr.isatty()
        self._began = time.monotonic()  # to finish images, of which the start of Ray and of the model is no part

    def add(self, finished: Summary) -> None:
        """Count a unit that is done."""
        self.summary.add(finished)

    @contextmanager
    def showing(self, in_hand: Callable[[], InHand]) -> Iterator[None]:
        """Show it for as long as the block runs, and where that is interrupted, say what is safe."""
        ended = threading.Event()
        with tqdm(
            total=self._n_images, initial=self._n_told, unit="img", disable=not self._on_terminal, smoothing=0.1
        ) as bar:

            def tell() -> None:
                told_at = time.monotonic()
                while not ended.wait(LOOK_EVERY_S):
                    asked_at = time.monotonic()
                    speaks = self._on_terminal or asked_at - told_at >= LOG_EVERY_S
                    told_at = asked_at if speaks else told_at
                    self._show(bar, in_hand(), asked_at, speaks=speaks)

            teller = threading.Thread(target=tell, name="progress", daemon=True)
            teller.start()
            interrupted = False
            try:
                yield
            except KeyboardInterrupt:
                interrupted = True
                raise
            finally:
                ended.set()
                teller.join()
                self._show(bar, InHand(), time.monotonic())
                bar.close()
                if interrupted:
                    self._say_what_is_safe()

    def _show(self, bar: "tqdm[None]", in_hand: InHand, asked_at: float, *, speaks: bool = True) -> None:
        n_this_run = self.summary.n_images + in_hand.n_images
        # A unit leaves what is in hand a moment before it is counted as done: never tell of less than before.
        n_done = self._n_told = max(self._n_told, min(self._n_done_before + n_this_run, self._n_images))
        found = self._found_told = InHand(
            n_instances=max(self._found_told.n_instances, self.summary.n_instances + in_hand.n_instances),
            n_rejected=max(self._found_told.n_rejected, self.summary.images[Status.REJECTED] + in_hand.n_rejected),
        )
        if n_done == self._n_done_before:
            self._began = asked_at
        seconds = asked_at - self._began
        self._say(n_done, self.images_per_s(n_done, seconds))
        if self._on_terminal:
            bar.set_postfix(instances=found.n_instances, rejected=found.n_rejected, refresh=False)
            bar.update(n_done - bar.n)
        elif speaks:
            log.info(self.line(n_done, n_instances=found.n_instances, n_rejected=found.n_rejected, seconds=seconds))

    def images_per_s(self, n_done: int, seconds: float) -> float | None:
        """Return the rate of this run; None before its first image."""
        n_this_run = n_done - self._n_done_before
        return n_this_run / max(seconds, 1e-9) if n_this_run else None

    def line(self, n_done: int, *, n_instances: int, n_rejected: int, seconds: float) -> str:
        """Return `512 of 10000 images, 25.1 images/s, 1830 instances, 3 rejected, 06:18 left`."""
        rate = self.images_per_s(n_done, seconds)
        if rate is None:
            return f"{n_done} of {counted(self._n_images, 'image')}; the first of this run is waited for"
        left = tqdm.format_interval((self._n_images - n_done) / rate)
        return (
            f"{n_done} of {counted(self._n_images, 'image')}, {rate:.{1 if rate >= 1 else 3}f} images/s, "
            f"{counted(n_instances, 'instance')}, {n_rejected} rejected, {left} left"
        )

    def _say_what_is_safe(self) -> None:
        n_safe = self._n_done_before + self.summary.n_images
        log.warning("at least %d of %d images are safe, in whole units; the rest is done again", n_safe, self._n_images)
