"""Work beside each other, with results in order: threads for what waits, processes for what computes on whole units."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

from autolabel.config import OutputConfig
from autolabel.output import LabelledOutput, open_output

IO_THREADS = 16  # small files; a storage's latency is what they wait for
CPU_THREADS = os.cpu_count() or 1
UNITS_WORTH_PROCESSES = 24  # fewer are done sooner than a process has started
MOST_PROCESSES = 16  # of 200 MB and more each; a container's share of a large machine's cores is not told

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Iterable[Item], n_threads: int) -> Iterator[Result]:
    """`work` of each item in order; no more than twice as many items as threads are in hand."""
    with ThreadPoolExecutor(n_threads) as pool:
        yield from _in_order(pool, work, items, 2 * n_threads)


def in_processes(
    work: Callable[[LabelledOutput, Item], Result], items: Sequence[Item], output: LabelledOutput, config: OutputConfig
) -> Iterator[Result]:
    """`work(output, item)` of each item, which is a unit or says which, in order.

    Where there are many, by a process for each core, up to MOST_PROCESSES, each of which opens the output of `config`
    for itself; `work`, items and results are then pickled.
    """
    n = min(n_cores(), MOST_PROCESSES)
    if len(items) < UNITS_WORTH_PROCESSES or n == 1:
        yield from (work(output, item) for item in items)
        return
    with ProcessPoolExecutor(n, get_context("spawn"), _open_here, (config,)) as pool:
        yield from _in_order(pool, partial(_work_here, work), items, 4 * n)


def n_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else CPU_THREADS


def _in_order(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], n_in_hand: int
) -> Iterator[Result]:
    """Results as long as all goes well; what is not begun when something fails is left."""
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


_opened: LabelledOutput | None = None  # in each process of a pool


def _open_here(config: OutputConfig) -> None:
    global _opened
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which Ctrl-C sends to all of them; the first one ends the others
    _opened = open_output(config)


def _work_here(work: Callable[[LabelledOutput, Any], Result], item: Any) -> Result:
    assert _opened is not None
    return work(_opened, item)
