"""The Ray Data graph: one row per work unit, through a pool of labelling actors, to a report per unit.

A unit is never split: it is one row of a block of its own, so a retry repeats exactly one unit, and the file that
it creates once makes the repetition harmless. Image bytes never enter the object store: actors fetch for themselves,
two units in hand each (measured against fetch tasks ahead of the actors: see jobs/README.md).
"""

import logging
import pickle
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, cast

import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext
from ray.exceptions import GetTimeoutError, RayError

from autolabel.errors import AutolabelError, JobFailed, StorageError
from autolabel.pipeline.cluster import actor_pool
from autolabel.pipeline.heartbeat import ANSWER_S, Paced, Tally
from autolabel.pipeline.messages import LabelJob, UnitReport
from autolabel.pipeline.metrics import Metrics
from autolabel.pipeline.unit import Labeler
from autolabel.sam3.engine import Engine
from autolabel.segmentation.model import load_engine

NEVER = -1.0  # the share of an actor pool that is at work
LIVES = 5  # attempts at a unit that may end their process: machines are taken away, but not five times from one unit

log = logging.getLogger("autolabel")


def load_job_engine(job: LabelJob) -> Engine:
    """The model of a job on this process's device.

    Raises:
        CheckpointError: see model.load_engine.
    """
    return load_engine(job.config.model, memory_mb=job.config.batch.memory_mb, sha256=job.checkpoint_sha256)


class UnitActor:
    """An actor of the pool. What goes wrong inside is its answer, not its death: Ray would restart it for ever."""

    def __init__(self, job: LabelJob, tally: Any, load: Callable[[LabelJob], Engine]) -> None:
        self._tally = tally
        with suppress(RayError):  # the node of the tally may be gone
            ray.get(tally.join.remote(ray.get_runtime_context().current_actor), timeout=ANSWER_S)
        self._metrics = Metrics()
        self._labeler: Labeler | AutolabelError
        try:
            self._labeler = Labeler(job, load(job))
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
            n_died = self._n_died(unit)
            if n_died >= LIVES:
                raise JobFailed(f"unit {unit}: the process at work on it has died {n_died} times")
            looked_at = Paced(partial(self._tally.add.remote, unit))
            with self._metrics.in_hand(unit):
                report = self._labeler.label_unit(unit, looked_at=looked_at, careful=n_died > 0)
            self._metrics.add(report)
            return report
        except AutolabelError as error:
            return error
        except OSError as error:
            return StorageError(f"unit {unit}: {error}")
        finally:
            self._tally.end.remote(unit)

    def _n_died(self, unit: int) -> int:
        """Attempts at the unit that ended their process; none that are known of where the tally's own node is gone."""
        try:
            return cast(int, ray.get(self._tally.begin.remote(unit), timeout=ANSWER_S))
        except RayError:
            return 0


def label_units(
    job: LabelJob, units: Sequence[int], tally: Tally, *, load: Callable[[LabelJob], Engine] = load_job_engine
) -> Generator[UnitReport, None, None]:
    """Label units on the connected cluster; a report each, in the order they are done.

    `load` makes the model in each actor.

    Raises:
        AutolabelError: what an actor met, as it was raised there.
        JobFailed: the cluster could not do the work.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.wait_for_min_actors_s = int(job.config.cluster.start_timeout_s)
    # Actors are idle before the first units are handed out. One given up then would have to load its model again.
    context.autoscaling_config.actor_pool_util_downscaling_threshold = NEVER
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    pool = actor_pool(job.config.cluster, n_units=len(units))
    todo = ray.data.from_arrow(pa.table({"unit": pa.array(units, pa.int64())}))
    answers = todo.repartition(target_num_rows_per_block=1).map_batches(
        UnitActor,
        fn_constructor_args=(job, tally.actor, load),
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
        message = f"no labelling actor started within {job.config.cluster.start_timeout_s:g} s"
        raise JobFailed(f"{message}; each takes {pool['num_cpus']:g} CPUs and {pool['num_gpus']:g} GPUs") from error
    except RayError as error:
        raise JobFailed(f"{type(error).__name__}: {error}") from error
    finally:
        tally.end_actors()
