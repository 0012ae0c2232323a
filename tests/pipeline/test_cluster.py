"""How many labelling actors of what size, on clusters of any kind."""

from typing import Any

import pytest
import ray

from autolabel.config import ClusterConfig
from autolabel.errors import JobFailed
from autolabel.pipeline.cluster import actor_pool, ray_connection

LAPTOP = [{"CPU": 8.0}]
HEAD_ALONE = [{"CPU": 2.0}]
GPUS = [{"CPU": 4.0}, {"CPU": 16.0, "GPU": 4.0}, {"CPU": 16.0, "GPU": 4.0}]


def nodes_of(resources: list[dict[str, float]]) -> list[dict[str, Any]]:
    return [{"NodeID": str(n), "Alive": True, "Resources": each} for n, each in enumerate(resources)]


@pytest.mark.parametrize(
    ("nodes", "cluster", "sizes", "each"),
    [
        pytest.param(LAPTOP, {}, (1, 1, 1), (0, 7), id="a laptop: one actor, one core stays free"),
        pytest.param([{"CPU": 1.0}], {}, (1, 1, 1), (0, 0), id="one core is Ray Data's"),
        pytest.param(GPUS, {}, (1, 8, 8), (1, 4), id="every GPU at once, with its share of its node"),
        pytest.param(GPUS, {"gpus_per_actor": 0.5}, (1, 16, 16), (0.5, 2), id="two to a GPU"),
        pytest.param(GPUS, {"max_actors": 3}, (1, 3, 3), (1, 4), id="not all GPUs"),
        pytest.param([{"CPU": 12.0, "GPU": 1.0}], {}, (1, 1, 1), (1, 11), id="a workstation: one core stays free"),
        pytest.param([{"CPU": 192.0, "GPU": 8.0}], {}, (1, 8, 8), (1, 16), id="no more cores than help"),
        pytest.param([{"CPU": 8.0, "GPU": 8.0}], {}, (1, 8, 8), (1, 7 / 8), id="hardly a core for a GPU"),
        pytest.param(HEAD_ALONE, {"gpus_per_actor": 1}, (1, 1, 1), (1, 1), id="nothing is known of GPUs to come"),
        pytest.param(
            HEAD_ALONE,
            {"gpus_per_actor": 1, "max_actors": 16, "cpus_per_actor": 4},
            (1, 1, 16),
            (1, 4),
            id="no GPU yet: begins with the first",
        ),
        pytest.param(HEAD_ALONE, {"max_actors": 8, "cpus_per_actor": 2}, (1, 1, 8), (0, 2), id="CPUs, too, come later"),
        pytest.param(
            GPUS,
            {"gpus_per_actor": 1, "max_actors": 16, "min_actors": 12},
            (12, 12, 16),
            (1, 2),
            id="waits for as many as are asked for",
        ),
    ],
)
def test_sizes(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, float]],
    cluster: dict[str, Any],
    sizes: tuple[int, int, int],
    each: tuple[float, float],
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes_of(nodes))
    pool = actor_pool(ClusterConfig(**cluster), n_units=1000)
    assert (pool.n_least, pool.n_initial, pool.n_most) == sizes
    assert (pool.n_gpus, pool.n_cpus) == each


def test_there_are_no_more_actors_than_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a job that goes on with its last unit, as many would start a model for nothing."""
    monkeypatch.setattr(ray, "nodes", lambda: nodes_of(GPUS))
    pool = actor_pool(ClusterConfig(min_actors=4, max_actors=8), n_units=1)
    assert (pool.n_least, pool.n_initial, pool.n_most) == (1, 1, 1)


@pytest.mark.parametrize(
    ("bad", "min_actors", "sizes", "avoided"),
    [
        pytest.param({"1"}, 1, (1, 4, 8), {"1"}, id="the others"),
        pytest.param({"1"}, 6, (4, 4, 8), {"1"}, id="fewer than the job would begin with: it has begun"),
        pytest.param({"1", "2"}, 1, (1, 8, 8), set(), id="where all are bad, they are tried once more"),
        pytest.param({"1", "gone"}, 1, (1, 4, 8), {"1", "gone"}, id="one of them is there no more"),
    ],
)
def test_bad_nodes_get_no_actor(
    bad: set[str], min_actors: int, sizes: tuple[int, int, int], avoided: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes_of(GPUS))
    pool = actor_pool(ClusterConfig(min_actors=min_actors), n_units=1000, bad_nodes=frozenset(bad))
    assert (pool.n_least, pool.n_initial, pool.n_most) == sizes
    assert pool.avoided == avoided
    told = {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(avoided))})"}} if avoided else {}
    assert pool.options().items() >= told.items()
    assert ("label_selector" in pool.options()) == bool(avoided)


def test_no_more_actors_than_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes_of(GPUS))
    assert actor_pool(ClusterConfig(), n_units=3).n_most == 3


def test_what_is_waited_for_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes_of(HEAD_ALONE))
    with caplog.at_level("INFO", "autolabel"):
        actor_pool(ClusterConfig(gpus_per_actor=1, cpus_per_actor=4, min_actors=2, max_actors=8), n_units=1000)
    assert "waiting up to 600 s for 2 actors of 1 GPUs and 4 CPUs; 0 fit now" in caplog.text


def test_a_ray_that_does_not_start_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_slow(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", too_slow)
    said = pytest.raises(JobFailed, match=r"Ray does not start: .*timed out.*; the same command goes on")
    with said, ray_connection(ClusterConfig()):
        pass
