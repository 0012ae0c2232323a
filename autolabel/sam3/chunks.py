"""Work in pieces as large as memory allows: smaller ones when it runs out, and larger ones again later."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

GROW_AFTER = 50  # pieces that fitted
SIZES = (1, 4, 16, 64)  # of pieces where each new one costs a lot

log = logging.getLogger("autolabel")


def padded(n_items: int) -> int:
    """Return to which of SIZES a piece of so many items is filled up."""
    return next(size for size in SIZES if size >= n_items)


class Chunks:
    """Remembers from call to call what fitted. Not thread-safe."""

    def __init__(self, largest: int, of: str, *, few_sizes: bool = False, try_smaller: bool = True) -> None:
        """Take at most `largest` at a time; `of` is what they are called in the log.

        Args:
            few_sizes: pieces of one of SIZES, or filled up to one by less than half.
            try_smaller: go on with smaller pieces after running out of memory.
        """
        self._few_sizes = few_sizes
        self._try_smaller = try_smaller
        self._largest = self._size = max(1, min(largest, SIZES[-1]) if few_sizes else largest)
        self._of = of
        self._fitted = 0

    def run(self, items: Sequence[Item], work: Callable[[Sequence[Item]], Iterable[Result]]) -> list[Result]:
        """Return what `work` gives for all items in order, a piece at a time; again for a piece that did not fit.

        Raises:
            torch.OutOfMemoryError: a single item does not fit, or a piece where no smaller one is to be tried.
        """
        results: list[Result] = []
        start = 0
        while start < len(items):
            piece = items[start : start + self._length(len(items) - start)]
            if not self._fits(piece, work, results):
                continue
            start += len(piece)
            self._fitted += 1
            if self._size < self._largest and self._fitted >= GROW_AFTER:
                self._size, self._fitted = min(self._largest, 2 * self._size), 0
        return results

    def _length(self, n_left: int) -> int:
        """Return the length of the next piece."""
        if not self._few_sizes:
            return min(self._size, n_left)
        sizes = [size for size in SIZES if size <= self._size]
        return max(min(size, n_left) for size in sizes if n_left >= size or 2 * n_left > size)

    def _fits(
        self, piece: Sequence[Item], work: Callable[[Sequence[Item]], Iterable[Result]], results: list[Result]
    ) -> bool:
        try:
            results += list(work(piece))
        except torch.OutOfMemoryError:
            if len(piece) == 1 or not self._try_smaller:
                raise
            self._size, self._fitted = len(piece) // 2, 0
        else:
            return True
        log.warning("out of memory with %d %s at a time; going on with %d", len(piece), self._of, self._size)
        torch.cuda.empty_cache()  # after the exception, which holds on to the tensors of its frames
        return False
