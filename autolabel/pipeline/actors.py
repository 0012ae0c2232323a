"""The Ray Data graph: one row per work unit, through a pool of labelling actors, to a report per unit.

A unit is never split: it is one row of a block of its own, so a retry repeats exactly one unit, and the file that
it creates once makes the repetition harmless. Image bytes never enter the object store: actors fetch for themselves,
two units in hand each (measured against fetch tasks ahead of the actors: see jobs/benchmarks/README.md).
"""

import logging
import os
import pickle
import socket
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NoReturn, cast

import pyarrow as pa
import ray
import ray.data
from ray import cloudpickle
from ray.data import DataContext
from ray.exceptions import GetTimeoutError, RayError

from autolabel.config import ClusterConfig
from autolabel.errors import AutolabelError, DeviceUnusable, JobFailed, StorageError
from autolabel.pipeline.cluster import actor_pool
from autolabel.pipeline.heartbeat import Heartbeat
from autolabel.pipeline.messages import LabelJob, UnitReport
from autolabel.pipeline.metrics import Metrics
from autolabel.pipeline.unit import UnitLabeler
from autolabel.sam3.architecture import DETECTOR_ALONE, INTERACTIVE_ALONE
from autolabel.sam3.engine import Engine
from autolabel.segmentation.model import load_engine

NEVER = -1.0  # the share of an actor pool that is at work
MAX_ATTEMPTS = 5  # at a unit, that end their process: machines are taken away, but not five times from one unit
PARKED_FOR_S = 10.0  # at least: the others may only be starting
PARKED_LOOKS_EVERY_S = 2.0

log = logging.getLogger("autolabel")


def load_job_engine(job: LabelJob) -> Engine:
    """Return the model of a job on this process's device.

    Raises:
        DeviceUnusable, CheckpointError: see model.load_engine.
    """
    return load_engine(
        job.model,
        parts=DETECTOR_ALONE if job.record.settings.has_concepts else INTERACTIVE_ALONE,
        n_gpus=job.n_gpus,
        n_threads=job.sizes.decode_threads,
        memory_mb=job.batch.memory_mb,
        sha256=job.checkpoint_sha256,
    )


class Hidden:
    """Message to actors, in a form that Ray prints nothing of: storage options hold credentials."""

    def __init__(self, job: LabelJob, load: Callable[[LabelJob], Engine]) -> None:
        self._pickled = cloudpickle.dumps((job, load))

    def reveal(self) -> tuple[LabelJob, Callable[[LabelJob], Engine]]:
        revealed: tuple[LabelJob, Callable[[LabelJob], Engine]] = pickle.loads(self._pickled)  # noqa: S301 - our own
        return revealed

    def __repr__(self) -> str:
        return "<a labelling job>"


@dataclass(frozen=True, kw_only=True)
class GivenBack:
    """The answer of a parked actor: another one must label this unit."""

    unit: int


class UnitActor:
    """An actor of the pool.

    What is wrong with the job is its answer, not its death: Ray would restart it for ever. What is wrong with the
    process, such as an error of CUDA or of memory, ends the process; Ray starts another, which tries the same units
    again, until the heartbeat parks the actor.
    """

    def __init__(self, hidden: Hidden, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._metrics = Metrics()
        self._labeler: UnitLabeler | AutolabelError | None = None  # None: parked
        if heartbeat.start():
            return
        job, load = hidden.reveal()
        try:
            self._labeler = UnitLabeler(job, load(job))
        except DeviceUnusable as error:
            heartbeat.last_words(str(error), park=True)
        except AutolabelError as error:
            self._labeler = error
        except OSError as error:
            self._labeler = StorageError(f"a labelling actor could not start: {error}")
        except Exception as error:  # the border: what is meant for no caller ends the process
            self._end_process(error)
        heartbeat.ready()

    def __call__(self, batch: pa.Table) -> pa.Table:
        answers = [pickle.dumps(self._answer(unit)) for unit in batch["unit"].to_pylist()]
        return pa.table({"answer": pa.array(answers, pa.binary())})

    def _answer(self, unit: int) -> UnitReport | AutolabelError | GivenBack:
        if self._labeler is None:
            return self._give_back(unit)
        if isinstance(self._labeler, AutolabelError):
            return self._labeler
        try:
            with self._heartbeat.attempt(unit) as attempt, self._metrics.in_hand(unit):
                n_crashed = attempt.n_crashed_before
                if n_crashed >= MAX_ATTEMPTS:
                    raise JobFailed(f"unit {unit}: the process at work on it has died {n_crashed} times")
                report = self._labeler.label_unit(unit, on_finished=attempt.on_finished, isolate_decoding=n_crashed > 0)
                self._metrics.add(report)
                return report
        except AutolabelError as error:
            return error
        except OSError as error:
            return StorageError(f"unit {unit}: {error}")
        except Exception as error:  # the border, as above
            self._end_process(error)
            raise

    def _give_back(self, unit: int) -> GivenBack:
        """Keep the unit while others are at work: given back sooner, Ray Data would send all others here, too."""
        time.sleep(PARKED_FOR_S)
        while self._heartbeat.others_at_work():
            time.sleep(PARKED_LOOKS_EVERY_S)
        return GivenBack(unit=unit)

    def _end_process(self, error: Exception) -> NoReturn:
        where = f"{socket.gethostname()} (node {ray.get_runtime_context().get_node_id()[:8]})"
        log.exception("a labelling process on %s ends", where)
        self._heartbeat.last_words(f"{where}: {type(error).__name__}: {error}")
        os._exit(1)


def label_units(
    job: LabelJob,
    units: Sequence[int],
    heartbeat: Heartbeat,
    cluster: ClusterConfig,
    *,
    load: Callable[[LabelJob], Engine] = load_job_engine,
    bad_nodes: frozenset[str] = frozenset(),
) -> Generator[UnitReport, None, None]:
    """Label units on the connected cluster, and give a report of each in the order they are done.

    Units that were handed to actors that died again and again have no report: see `heartbeat`.

    `load` makes the model in each actor. `bad_nodes` get no actor while others have room.

    Raises:
        AutolabelError: what an actor met, as it was raised there.
        JobFailed: the cluster could not do the work.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.wait_for_min_actors_s = int(cluster.start_timeout_s)
    # Actors are idle before the first units are handed out. One given up then would have to load its model again.
    context.autoscaling_config.actor_pool_util_downscaling_threshold = NEVER
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    pool = actor_pool(cluster, n_units=len(units), bad_nodes=bad_nodes)
    todo = ray.data.from_arrow(pa.table({"unit": pa.array(units, pa.int64())}))
    answers = todo.repartition(target_num_rows_per_block=1).map_batches(
        UnitActor,
        fn_constructor_args=(Hidden(replace(job, n_gpus=pool.n_gpus, n_cpus=pool.n_cpus), load), heartbeat),
        batch_size=1,
        batch_format="pyarrow",
        **pool.options(),
    )
    try:
        # Closed, the generator gives the actors back at once; a kept traceback would hold them.
        with closing(cast(Generator[dict[str, bytes], None, None], iter(answers.iter_rows()))) as rows:
            for row in rows:
                answer = pickle.loads(row["answer"])  # noqa: S301 - from our own actors
                if isinstance(answer, AutolabelError):
                    raise answer
                if isinstance(answer, UnitReport):
                    yield answer
    except GetTimeoutError as error:
        message = f"no labelling actor started within {cluster.start_timeout_s:g} s"
        raise JobFailed(f"{message}; each takes {pool.n_cpus:g} CPUs and {pool.n_gpus:g} GPUs") from error
    except RayError as error:
        raise JobFailed(f"{type(error).__name__}: {error}") from error
    finally:
        heartbeat.end_actors()
