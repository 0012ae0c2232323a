"""Work in pieces as large as memory allows: smaller ones when it runs out, and larger ones again later."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

GROW_AFTER = 50  # pieces that fitted

log = logging.getLogger("autolabel")


class Chunks:
    """Remembers from call to call what fitted. Not thread-safe."""

    def __init__(self, largest: int, of: str, *, powers_of_two: bool = False) -> None:
        """Take at most `largest` at a time; `of` is what they are called in the log.

        `powers_of_two`: so many at a time and no others, for work that costs a lot at each new size.
        """
        self._largest = self._size = max(1, largest)
        self._of = of
        self._powers_of_two = powers_of_two
        self._fitted = 0

    def run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Iterable[Result]]) -> list[Result]:
        """What `work` gives for all items, in order, a piece at a time. It is done again for a piece that did not fit.

        Raises:
            torch.OutOfMemoryError: a single item does not fit.
        """
        results: list[Result] = []
        start = 0
        while start < len(items):
            n_items = min(self._size, len(items) - start)
            if self._powers_of_two:
                n_items = 1 << (n_items.bit_length() - 1)
            piece = items[start : start + n_items]
            if not self._fits(piece, work, results):
                continue
            start += len(piece)
            self._fitted += 1
            if self._size < self._largest and self._fitted >= GROW_AFTER:
                self._size, self._fitted = min(self._largest, 2 * self._size), 0
        return results

    def _fits(
        self, piece: Sequence[Item], work: Callable[[Sequence[Item]], Iterable[Result]], results: list[Result]
    ) -> bool:
        try:
            results += list(work(piece))
        except torch.OutOfMemoryError:
            if len(piece) == 1:
                raise
            self._size, self._fitted = len(piece) // 2, 0
        else:
            return True
        log.warning("out of memory with %d %s at a time; going on with %d", len(piece), self._of, self._size)
        torch.cuda.empty_cache()  # after the exception, which holds on to the tensors of its frames
        return False
