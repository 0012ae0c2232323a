"""The settings in the ConfigMaps: they compose, are read, and ask for what the cluster can give."""

from pathlib import Path

import pytest
import ray

from autolabel.config import LabelConfig, PromptsConfig
from autolabel.config.compose import compose_config
from autolabel.pipeline.cluster import actor_pool
from autolabel.prompts.categories import prompt_entries, read_categories
from autolabel.sam3.architecture import ARCHITECTURES
from autolabel.sam3.text import count_tokens
from tests.k8s.manifests import IMAGE, RAYJOBS, WAYS, WITH_GPUS, Document, amount, built, group_of, pod_templates, the


def settings_of(documents: list[Document], monkeypatch: pytest.MonkeyPatch) -> LabelConfig:
    """What the ConfigMap's overrides compose to, as the job reads them."""
    monkeypatch.syspath_prepend(IMAGE)
    from with_overrides import overrides_of

    monkeypatch.setenv("JOB_COMPLETION_INDEX", "3")
    settings: LabelConfig = compose_config("label", overrides_of(the(documents, "ConfigMap")["data"]["overrides"]))
    return settings


@pytest.mark.parametrize("way", WAYS)
def test_the_overrides_compose_and_the_prompts_are_read(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = built(way)
    settings = settings_of(documents, monkeypatch)
    assert settings.prompts.uri == "/etc/autolabel/prompts.yaml"
    (tmp_path / "prompts.yaml").write_text(the(documents, "ConfigMap")["data"]["prompts.yaml"])
    entries, place = prompt_entries(PromptsConfig(uri=str(tmp_path / "prompts.yaml")), {})
    max_tokens = ARCHITECTURES[settings.model.architecture].max_tokens
    read = read_categories(entries, place=place, count_tokens=count_tokens, max_tokens=max_tokens)
    assert len(read.categories) == 2
    indexed = way == "overlays/indexed-job"
    assert settings.input.uri == ("s3://bucket/photos/part-3" if indexed else "s3://bucket/photos")
    assert settings.output.uri == ("s3://bucket/labels/part-3" if indexed else "s3://bucket/labels")


@pytest.mark.parametrize("way", RAYJOBS)
def test_actors_are_asked_for_that_the_workers_can_hold(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is sized while the cluster has no GPU: a head without CPUs and one small worker are all it sees."""
    documents = built(way)
    settings = settings_of(documents, monkeypatch)
    first = amount(group_of(documents, "cpu")["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    resources: tuple[dict[str, float], ...] = ({}, {"CPU": float(first)})
    nodes = [{"NodeID": str(n), "Alive": True, "Resources": each} for n, each in enumerate(resources)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    pool = actor_pool(settings.cluster, n_units=1000)

    kind = "gpu" if way in WITH_GPUS else "cpu"
    group = group_of(documents, kind)
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert pool.n_gpus == amount(limits.get("nvidia.com/gpu", "0"))
    assert pool.n_most == group["maxReplicas"]
    one_free = 1 if kind == "cpu" else 0  # for Ray Data, which has the CPU group beside a GPU group
    assert pool.n_cpus <= amount(limits["cpu"]) - one_free


@pytest.mark.parametrize("way", RAYJOBS)
def test_a_job_that_waits_for_nodes_is_not_taken_for_stuck(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = settings_of(built(way), monkeypatch).cluster
    assert 600 < cluster.start_timeout_s < cluster.stall_timeout_s


@pytest.mark.parametrize("way", [*WITH_GPUS, "overlays/indexed-job"])
def test_a_gpu_has_the_cpus_to_feed_it(way: str) -> None:
    containers = [each for pod in pod_templates(built(way)) for each in pod.containers]
    limits = [each["resources"]["limits"] for each in containers if "nvidia.com/gpu" in each["resources"]["limits"]]
    assert limits
    for each in limits:
        assert 12 <= amount(each["cpu"]) / amount(each["nvidia.com/gpu"]) <= 16
