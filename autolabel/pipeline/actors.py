"""The Ray Data graph: one row per work unit, through a pool of labelling actors, to a report per unit.

A unit is never split: it is one row of a block of its own, so a retry repeats exactly one unit, and the file that
it creates once makes the repetition harmless. Image bytes never enter the object store: actors fetch for themselves,
two units in hand each (measured against fetch tasks ahead of the actors: see jobs/benchmarks/README.md).
"""

import logging
import pickle
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import cast

import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext
from ray.exceptions import GetTimeoutError, RayError

from autolabel.config import ClusterConfig
from autolabel.errors import AutolabelError, JobFailed, StorageError
from autolabel.pipeline.cluster import actor_pool
from autolabel.pipeline.heartbeat import Heartbeat
from autolabel.pipeline.messages import LabelJob, UnitReport
from autolabel.pipeline.metrics import Metrics
from autolabel.pipeline.unit import UnitLabeler
from autolabel.sam3.engine import Engine
from autolabel.segmentation.model import load_engine

NEVER = -1.0  # the share of an actor pool that is at work
MAX_ATTEMPTS = (
    5  # attempts at a unit that may end their process: machines are taken away, but not five times from one unit
)

log = logging.getLogger("autolabel")


def load_job_engine(job: LabelJob) -> Engine:
    """Return the model of a job on this process's device.

    Raises:
        CheckpointError: see model.load_engine.
    """
    return load_engine(job.model, memory_mb=job.batch.memory_mb, sha256=job.checkpoint_sha256)


class UnitActor:
    """An actor of the pool. What goes wrong inside is its answer, not its death: Ray would restart it for ever."""

    def __init__(self, job: LabelJob, heartbeat: Heartbeat, load: Callable[[LabelJob], Engine]) -> None:
        self._heartbeat = heartbeat
        heartbeat.join()
        self._metrics = Metrics()
        self._labeler: UnitLabeler | AutolabelError
        try:
            self._labeler = UnitLabeler(job, load(job))
        except AutolabelError as error:
            self._labeler = error
        except OSError as error:
            self._labeler = StorageError(f"a labelling actor could not start: {error}")

    def __call__(self, batch: pa.Table) -> pa.Table:
        answers = [pickle.dumps(self._answer(unit)) for unit in batch["unit"].to_pylist()]
        return pa.table({"answer": pa.array(answers, pa.binary())})

    def _answer(self, unit: int) -> UnitReport | AutolabelError:
        if isinstance(self._labeler, AutolabelError):
            return self._labeler
        try:
            with self._heartbeat.attempt(unit) as attempt, self._metrics.in_hand(unit):
                n_crashed = attempt.n_crashed_before
                if n_crashed >= MAX_ATTEMPTS:
                    raise JobFailed(f"unit {unit}: the process at work on it has died {n_crashed} times")
                report = self._labeler.label_unit(
                    unit, on_segmented=attempt.on_segmented, isolate_decoding=n_crashed > 0
                )
            self._metrics.add(report)
            return report
        except AutolabelError as error:
            return error
        except OSError as error:
            return StorageError(f"unit {unit}: {error}")


def label_units(
    job: LabelJob,
    units: Sequence[int],
    heartbeat: Heartbeat,
    cluster: ClusterConfig,
    *,
    load: Callable[[LabelJob], Engine] = load_job_engine,
) -> Generator[UnitReport, None, None]:
    """Label units on the connected cluster, and give a report of each in the order they are done.

    `load` makes the model in each actor.

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
    pool = actor_pool(cluster, n_units=len(units))
    todo = ray.data.from_arrow(pa.table({"unit": pa.array(units, pa.int64())}))
    answers = todo.repartition(target_num_rows_per_block=1).map_batches(
        UnitActor,
        fn_constructor_args=(job, heartbeat, load),
        batch_size=1,
        batch_format="pyarrow",
        **pool,
    )
    try:
        # Closed, the generator gives the actors back at once; a kept traceback would hold them.
        with closing(cast(Generator[dict[str, bytes], None, None], iter(answers.iter_rows()))) as rows:
            for row in rows:
                answer = pickle.loads(row["answer"])  # noqa: S301 - from our own actors
                if isinstance(answer, AutolabelError):
                    raise answer
                yield answer
    except GetTimeoutError as error:
        message = f"no labelling actor started within {cluster.start_timeout_s:g} s"
        raise JobFailed(f"{message}; each takes {pool['num_cpus']:g} CPUs and {pool['num_gpus']:g} GPUs") from error
    except RayError as error:
        raise JobFailed(f"{type(error).__name__}: {error}") from error
    finally:
        heartbeat.end_actors()
