"""Passes over the units of an output: by a process for each core, with a bar on a terminal."""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

from tqdm import tqdm

from autolabel.config import OutputConfig
from autolabel.output.job_output import JobOutput, open_output
from autolabel.parallel import in_order, n_cores

UNITS_WORTH_PROCESSES = 24  # fewer are done sooner than a process has started
MOST_PROCESSES = 16  # of 200 MB and more each; a container's share of a large machine's cores is not told
BAR_AFTER_S = 2.0

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[JobOutput, Item], Result], items: Sequence[Item], output: JobOutput, config: OutputConfig
) -> Iterator[Result]:
    """Give `work(output, item)` of each item, which is a unit or says which, in order.

    Where there are many, by a process for each core, up to MOST_PROCESSES, each of which opens the output of `config`
    for itself; `work`, items and results are then pickled.
    """
    n = min(n_cores(), MOST_PROCESSES)
    if len(items) < UNITS_WORTH_PROCESSES or n == 1:
        yield from (work(output, item) for item in items)
        return
    with ProcessPoolExecutor(n, get_context("spawn"), _open_here, (config,)) as pool:
        yield from in_order(pool, partial(_work_here, work), items, 4 * n)


_opened: JobOutput | None = None  # in each process of a pool


def _open_here(config: OutputConfig) -> None:
    global _opened
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which Ctrl-C sends to all of them; the first one ends the others
    _opened = open_output(config)


def _work_here(work: Callable[[JobOutput, Any], Result], item: Any) -> Result:
    assert _opened is not None
    return work(_opened, item)


def over_units(results: Iterable[Result], n_units: int) -> Iterator[Result]:
    """Give the results, one of each unit, with a bar on a terminal where they take longer than a moment."""
    yield from tqdm(results, total=n_units, unit="unit", delay=BAR_AFTER_S, leave=False, disable=None)
