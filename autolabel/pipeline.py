"""The Ray Data graph: one row per work unit, through a pool of labelling actors, to a report per unit.

A unit is never split: it is one row of a block of its own, so a retry repeats exactly one unit, and the file that
it creates once makes the repetition harmless. Image bytes never enter the object store: actors fetch for themselves,
two units in hand each (measured against fetch tasks ahead of the actors: see jobs/README.md).
"""

import _thread
import logging
import pickle
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, cast

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import GetTimeoutError, RayError

from autolabel.config import ClusterConfig
from autolabel.errors import AutolabelError, BadInput, JobFailed, StorageError
from autolabel.interruption import keeping_sigterm
from autolabel.labeler import Labeler, LabelJob, UnitReport, load_engine
from autolabel.metrics import Metrics
from autolabel.sam3.engine import Engine
from autolabel.tally import ANSWER_S, Paced, Tally

LOOK_EVERY_S = 10.0
INTERRUPT_AGAIN_S = 20.0  # longer than an orderly end takes
UNITS_IN_HAND = 2  # one in the model, one being fetched or written
NEVER = -1.0  # the share of an actor pool that is at work
LIVES = 5  # attempts at a unit that may end their process: machines are taken away, but not five times from one unit

log = logging.getLogger("autolabel")


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


@contextmanager
def watched(tally: Tally, timeout_s: float) -> Iterator[None]:
    """End the block if for `timeout_s` no image leaves a model and no unit begins or ends: something is stuck.

    Only in the main thread, which alone can be interrupted.

    Raises:
        JobFailed: with the units that were in hand.
    """
    ended, stalled = threading.Event(), []

    def look() -> None:
        while not ended.wait(min(LOOK_EVERY_S, timeout_s / 4)):
            seconds, units = tally.standstill()
            if seconds > timeout_s:
                stalled.append(f"nothing has happened for {seconds:.0f} s; units in hand: {units or 'none'}")
                _thread.interrupt_main()
                while not ended.wait(INTERRUPT_AGAIN_S):  # an exception that meets a destructor is lost there
                    _thread.interrupt_main()
                return

    if threading.current_thread() is threading.main_thread():
        threading.Thread(target=look, name="watch", daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        if stalled:
            raise JobFailed(stalled[0]) from None
        raise
    finally:
        ended.set()


@contextmanager
def connected(cluster: ClusterConfig) -> Iterator[None]:
    """Join the cluster that `address`, RAY_ADDRESS or `ray start` names, or start one on this machine.

    A Ray that the caller has connected to is used, and left connected.
    """
    if ray.is_initialized():
        yield
        return
    try:
        with keeping_sigterm():
            ray.init(address=cluster.address, logging_level=logging.WARNING)
    except (ConnectionError, ValueError) as error:
        raise BadInput(f"cluster.address: {cluster.address}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def label_units(
    job: LabelJob, units: Sequence[int], tally: Tally, *, load: Callable[[LabelJob], Engine] = load_engine
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


def actor_pool(cluster: ClusterConfig, *, n_units: int) -> dict[str, Any]:
    """How many actors of what size, from the settings and what the cluster has now.

    They leave one CPU free: Ray Data needs it to hand out the units, and without it the job would wait for ever. Those
    that fit now begin, `min_actors` at least; the others come as the cluster grows.
    """
    nodes: list[dict[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    n_gpus = sum(node.get("GPU", 0.0) for node in nodes)
    n_cpus = sum(node.get("CPU", 0.0) for node in nodes)
    gpus = cluster.gpus_per_actor if cluster.gpus_per_actor is not None else (1.0 if n_gpus else 0.0)
    most = cluster.max_actors if cluster.max_actors is not None else (int(n_gpus // gpus) if gpus and n_gpus else 1)
    most = max(cluster.min_actors, min(most, n_units))
    if cluster.cpus_per_actor is not None:
        cpus = cluster.cpus_per_actor
        if cluster.min_actors * cpus > n_cpus - 1:
            log.warning(
                "cluster: %d actors of %g CPUs leave none of the %g free that are up", cluster.min_actors, cpus, n_cpus
            )
    else:
        largest = max(node.get("CPU", 0.0) for node in nodes)  # an actor lives on one node
        cpus = max(0.0, min(1.0 if gpus else largest, (n_cpus - 1) / most))
        cpus = cpus if cpus < 1 else float(int(cpus))
    fit = sum(fitting(node, gpus=gpus, cpus=cpus, most=most) for node in nodes)
    if fit < cluster.min_actors:
        need = f"{cluster.min_actors} actors of {gpus:g} GPUs and {cpus:g} CPUs"
        log.info("waiting up to %g s for %s; %d fit now", cluster.start_timeout_s, need, fit)
    return {
        "compute": ActorPoolStrategy(
            min_size=cluster.min_actors,
            max_size=most,
            initial_size=max(cluster.min_actors, min(most, fit)),  # without it, actors are added one by one
            max_tasks_in_flight_per_actor=2 * UNITS_IN_HAND,
            max_concurrent_calls_per_actor=UNITS_IN_HAND,
            enable_true_multi_threading=True,  # without it, Ray runs the calls of an actor one after the other
        ),
        "num_gpus": gpus,
        "num_cpus": cpus,
    }


def fitting(node: dict[str, float], *, gpus: float, cpus: float, most: int) -> int:
    """How many actors a node has room for, `most` at most."""
    rooms = [node.get(resource, 0.0) // each for resource, each in (("GPU", gpus), ("CPU", cpus)) if each]
    return int(min([most, *rooms]))
