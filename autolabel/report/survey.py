"""One pass over all units: statistics, doubts and strata, by processes beside each other where it is long."""

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from autolabel.columns import read_columns
from autolabel.config import OutputConfig
from autolabel.errors import BadInput
from autolabel.labels import unit_uri
from autolabel.output import LabelledOutput, open_output
from autolabel.report.sample import Sampler, Strata, strata_of
from autolabel.report.statistics import Statistics, statistics_of
from autolabel.review import Doubted, ReviewQueue, doubted

UNITS_WORTH_PROCESSES = 24  # fewer are read sooner than a process has started
UNITS_AHEAD = 4  # of each process, so that none waits and few results are held


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """What is known of all labelled images of an output."""

    statistics: Statistics
    queue: ReviewQueue
    sampler: Sampler


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitSurvey:
    statistics: Statistics
    doubted: Doubted
    strata: Strata


def survey_output(output: LabelledOutput, config: OutputConfig, units: Sequence[int], n_shown: int) -> Survey:
    """Read the units; memory holds their statistics and some two hundred bytes of each image.

    Raises:
        BadInput: a unit's file is damaged.
    """
    n_categories = len(output.record.ontology.categories)
    statistics, sampler = Statistics.nothing(n_categories), Sampler(n_shown, n_categories)
    doubts: list[Doubted] = []
    for part in surveyed(output, config, units):
        statistics += part.statistics
        doubts.append(part.doubted)
        sampler.add(part.strata)
    return Survey(statistics=statistics, queue=ReviewQueue(doubts), sampler=sampler)


def surveyed(output: LabelledOutput, config: OutputConfig, units: Sequence[int]) -> Iterator[UnitSurvey]:
    """Each unit's, in order."""
    n = n_processes()
    if len(units) < UNITS_WORTH_PROCESSES or n == 1:
        yield from (survey_unit(output, unit) for unit in units)
        return
    pool = ProcessPoolExecutor(n, get_context("spawn"), open_in_process, (config,))
    try:
        ahead: deque[Future[UnitSurvey]] = deque()
        for unit in units:
            ahead.append(pool.submit(survey_in_process, unit))
            if len(ahead) >= UNITS_AHEAD * n:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def n_processes() -> int:
    """One for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def survey_unit(output: LabelledOutput, unit: int) -> UnitSurvey:
    columns = read_columns(output.storage, output.uri, unit)
    try:
        return UnitSurvey(
            statistics=statistics_of(columns, output.record),
            doubted=doubted(columns, output.record),
            strata=strata_of(columns, output.record),
        )
    except ValueError as error:
        raise BadInput(f"{unit_uri(output.uri, unit)}: a mask is damaged: {error}") from error


_opened: LabelledOutput | None = None  # in each process of the pool


def open_in_process(config: OutputConfig) -> None:
    global _opened
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which Ctrl-C sends to all of them; the first one ends the others
    _opened = open_output(config)


def survey_in_process(unit: int) -> UnitSurvey:
    assert _opened is not None
    return survey_unit(_opened, unit)
