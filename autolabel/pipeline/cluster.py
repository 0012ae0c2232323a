"""The Ray that a job runs on, and how many labelling actors of what size it has room for."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy

from autolabel.config import ClusterConfig
from autolabel.errors import BadInput, JobFailed
from autolabel.signals import keeping_sigterm

UNITS_IN_HAND = 2  # of an actor: one in the model, one being fetched or written
CPUS_PER_GPU = 16.0  # decode, at 12 megapixels an image, for what a GPU labels with one prompt: jobs/README.md

log = logging.getLogger("autolabel")


@contextmanager
def ray_connection(cluster: ClusterConfig) -> Iterator[None]:
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
    except Exception as error:  # the border: Ray raises Exception itself, as where its processes start too slowly
        raise JobFailed(f"Ray does not start: {error}; the same command goes on") from error
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True, kw_only=True)
class ActorPool:
    """Number and size of the labelling actors."""

    n_least: int  # without them, the job does not begin
    n_initial: int
    n_most: int
    n_gpus: float  # of each
    n_cpus: float
    avoided: frozenset[str] = frozenset()  # ids of nodes that get none

    def options(self) -> dict[str, Any]:
        """Return what Ray Data's `map_batches` takes."""
        strategy = ActorPoolStrategy(
            min_size=self.n_least,
            max_size=self.n_most,
            initial_size=self.n_initial,  # without it, actors are added one by one
            max_tasks_in_flight_per_actor=2 * UNITS_IN_HAND,
            max_concurrent_calls_per_actor=UNITS_IN_HAND,
            enable_true_multi_threading=True,  # without it, Ray runs the calls of an actor one after the other
        )
        options: dict[str, Any] = {"compute": strategy, "num_gpus": self.n_gpus, "num_cpus": self.n_cpus}
        if self.avoided:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(self.avoided))})"}
        return options


def actor_pool(cluster: ClusterConfig, *, n_units: int, bad_nodes: frozenset[str] = frozenset()) -> ActorPool:
    """Return how many actors of what size, from the settings and what the cluster has now.

    They leave one CPU free: Ray Data needs it to hand out the units, and without it the job would wait for ever. Those
    that fit now begin, `min_actors` at least; the others come as the cluster grows; no more than there are units. Bad
    nodes get none, unless no other node has room for one.
    """
    wanted = max(1, min(cluster.min_actors, n_units))
    alive = [node for node in ray.nodes() if node["Alive"]]
    nodes: list[dict[str, float]] = [node["Resources"] for node in alive]
    n_gpus = sum(node.get("GPU", 0.0) for node in nodes)
    n_cpus = sum(node.get("CPU", 0.0) for node in nodes)
    gpus = cluster.gpus_per_actor if cluster.gpus_per_actor is not None else (1.0 if n_gpus else 0.0)
    most = cluster.max_actors if cluster.max_actors is not None else (int(n_gpus // gpus) if gpus and n_gpus else 1)
    most = max(wanted, min(most, n_units))
    if cluster.cpus_per_actor is not None:
        cpus = cluster.cpus_per_actor
        if wanted * cpus > n_cpus - 1:
            log.warning("cluster: %d actors of %g CPUs leave none of the %g free that are up", wanted, cpus, n_cpus)
    else:
        cpus = max(0.0, min(cpus_of_an_actor(nodes, gpus), (n_cpus - 1) / most))
        cpus = cpus if cpus < 1 else float(int(cpus))
    rooms = [n_actors_fitting(node, gpus=gpus, cpus=cpus, most=most) for node in nodes]
    fit_well = sum(room for node, room in zip(alive, rooms, strict=True) if node["NodeID"] not in bad_nodes)
    avoided = bad_nodes if fit_well else frozenset[str]()
    fit = fit_well or sum(rooms)
    least = min(wanted, fit) if avoided else wanted
    if fit < least:
        need = f"{wanted} actors of {gpus:g} GPUs and {cpus:g} CPUs"
        log.info("waiting up to %g s for %s; %d fit now", cluster.start_timeout_s, need, fit)
    return ActorPool(
        n_least=least,
        n_initial=max(least, min(most, fit)),
        n_most=most,
        n_gpus=gpus,
        n_cpus=cpus,
        avoided=avoided,
    )


def cpus_of_an_actor(nodes: Sequence[dict[str, float]], gpus: float) -> float:
    """Return the CPUs that an actor can have on every node: beside a GPU its share of them, but no more than help."""
    if not gpus:
        return max(node.get("CPU", 0.0) for node in nodes)
    shares = [node.get("CPU", 0.0) * gpus / node["GPU"] for node in nodes if node.get("GPU", 0.0) >= gpus]
    return min([CPUS_PER_GPU, *shares]) if shares else 1.0  # where none is up yet, nothing is known of those to come


def n_actors_fitting(node: dict[str, float], *, gpus: float, cpus: float, most: int) -> int:
    """Return how many actors a node has room for, `most` at most."""
    rooms = [node.get(resource, 0.0) // each for resource, each in (("GPU", gpus), ("CPU", cpus)) if each]
    return int(min([most, *rooms]))
