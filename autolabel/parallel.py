"""Work beside each other, with results in order: threads for what waits, processes for what computes on whole units."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

IO_THREADS = 16  # small files; a storage's latency is what they wait for
CONTAINER_LIMIT = "/sys/fs/cgroup/cpu.max"  # microseconds of cores in a period of so many, or max

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], n_threads: int) -> Iterator[Result]:
    """Yield `work` of each item in order; no more than twice as many items as threads are in hand."""
    with ThreadPoolExecutor(n_threads) as pool:
        yield from in_order(pool, work, items, 2 * n_threads)


def n_cores() -> int:
    """Return the number of cores that this process may use: in a container, those of its limit and not its host's."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open(CONTAINER_LIMIT) as file:
            limit_us, period_us = file.read().split()
    except (OSError, ValueError):
        return n
    return n if limit_us == "max" else max(1, min(n, math.ceil(int(limit_us) / int(period_us))))


def in_order(pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], n_in_hand: int) -> Iterator[Result]:
    """Yield results as long as all goes well; what is not begun when something fails is left."""
    in_hand: deque[Future[Result]] = deque()
    try:
        for item in items:
            in_hand.append(pool.submit(work, item))
            if len(in_hand) == n_in_hand:
                yield in_hand.popleft().result()
        while in_hand:
            yield in_hand.popleft().result()
    finally:
        for future in in_hand:
            future.cancel()
