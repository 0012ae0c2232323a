"""What Kubernetes, KubeRay, Kueue and our own settings demand of each other, and no schema says."""

import re
import shlex
from decimal import Decimal
from pathlib import PurePosixPath

import pytest

from autolabel.signals import GRACE_S
from tests.k8s.manifests import (
    IMAGE,
    K8S,
    RAYJOBS,
    WAYS,
    WITH_GPUS,
    Document,
    PodTemplate,
    amount,
    built,
    cluster_of,
    of_kind,
    pod_templates,
    the,
)

IN_IMAGE = PurePosixPath("/opt/autolabel")
AUTOSCALED = [way for way in RAYJOBS if way != "overlays/kueue"]


def containers(documents: list[Document]) -> list[tuple[str, PodTemplate, Document]]:
    return [(f"{pod.place}/{each['name']}", pod, each) for pod in pod_templates(documents) for each in pod.containers]


# Names and references


@pytest.mark.parametrize("way", WAYS)
def test_names_are_dns_labels(way: str) -> None:
    documents = built(way)
    names = [each["metadata"]["name"] for each in documents]
    for _, pod, each in containers(documents):
        names += [each["name"], *(volume["name"] for volume in pod.spec["volumes"])]
    for rayjob in of_kind(documents, "RayJob"):
        names += [group["groupName"] for group in rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
        assert len(rayjob["metadata"]["name"]) <= 47  # KubeRay appends to it
    assert [name for name in names if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name)] == []
    assert len({(each["kind"], each["metadata"]["name"]) for each in documents}) == len(documents)


@pytest.mark.parametrize("way", WAYS)
def test_mounts_and_volumes_belong_together(way: str) -> None:
    for pod in pod_templates(built(way)):
        volumes = [volume["name"] for volume in pod.spec["volumes"]]
        mounts = [mount for each in pod.containers for mount in each["volumeMounts"]]
        assert len(volumes) == len(set(volumes)), pod.place
        assert set(volumes) == {mount["name"] for mount in mounts}, pod.place
        for each in pod.containers:
            paths = [mount["mountPath"] for mount in each["volumeMounts"]]
            assert len(paths) == len(set(paths)), pod.place


@pytest.mark.parametrize("way", WAYS)
def test_what_is_referred_to_exists(way: str) -> None:
    documents = built(way)
    accounts = {each["metadata"]["name"] for each in of_kind(documents, "ServiceAccount")}
    configs = {each["metadata"]["name"] for each in of_kind(documents, "ConfigMap")}
    for pod in pod_templates(documents):
        assert pod.spec["serviceAccountName"] in accounts
        assert {volume["configMap"]["name"] for volume in pod.spec["volumes"] if "configMap" in volume} <= configs


@pytest.mark.parametrize("way", WAYS)
def test_the_job_runs_a_script_of_the_repository_with_the_overrides_of_the_config_map(way: str) -> None:
    documents = built(way)
    if rayjobs := of_kind(documents, "RayJob"):
        entrypoint = rayjobs[0]["spec"]["entrypoint"]
        assert re.fullmatch(r"[\w./ -]+", entrypoint), "two shells read it on its way"
        words, place = shlex.split(entrypoint), "head/ray-head"
    else:
        words, place = the(documents, "Job")["spec"]["template"]["spec"]["containers"][0]["command"], "Job/label"
    python, wrapper, overrides, script = words
    assert python == "python"
    assert (K8S.parent / PurePosixPath(wrapper).relative_to(IN_IMAGE)).samefile(IMAGE / "with_overrides.py")
    assert (K8S.parent / PurePosixPath(script).relative_to(IN_IMAGE)).samefile(K8S.parent / "jobs" / "label.py")

    (driver,) = (each for name, _, each in containers(documents) if name == place)
    (folder,) = (mount["mountPath"] for mount in driver["volumeMounts"] if mount["name"] == "overrides")
    files = {f"{folder}/{name}" for name in the(documents, "ConfigMap")["data"]}
    assert overrides in files


# Resources


@pytest.mark.parametrize("way", WAYS)
def test_requests_are_within_limits(way: str) -> None:
    for place, _, each in containers(built(way)):
        requests, limits = each["resources"]["requests"], each["resources"]["limits"]
        assert requests.keys() == limits.keys(), place
        for name, quantity in requests.items():
            assert amount(quantity) <= amount(limits[name]), f"{place}: {name}"
            if name in ("memory", "nvidia.com/gpu"):  # Ray counts on its limit
                assert quantity == limits[name], f"{place}: {name}"


@pytest.mark.parametrize("way", WAYS)
def test_volumes_fit_into_the_resources(way: str) -> None:
    for place, pod, each in containers(built(way)):
        mounted = {mount["name"]: mount["mountPath"] for mount in each["volumeMounts"]}
        sizes = {
            mounted[volume["name"]]: (volume["emptyDir"].get("medium"), amount(volume["emptyDir"]["sizeLimit"]))
            for volume in pod.spec["volumes"]
            if volume["name"] in mounted and "emptyDir" in volume
        }
        limits = each["resources"]["limits"]
        if each["name"] != "autoscaler":  # its /tmp is the head's
            on_disk = sum(size for medium, size in sizes.values() if medium is None)
            assert on_disk <= amount(limits["ephemeral-storage"]), place
        if each["name"] in ("ray-head", "ray-worker", "label"):
            medium, size = sizes["/dev/shm"]
            assert medium == "Memory", place
            assert size < amount(limits["memory"]) / 2, place


@pytest.mark.parametrize("way", WAYS)
def test_the_object_store_fits_into_shared_memory(way: str) -> None:
    """Otherwise Ray puts it on disk, with no more than a warning."""
    documents = built(way)
    (shm,) = {
        volume["emptyDir"]["sizeLimit"]
        for pod in pod_templates(documents)
        for volume in pod.spec["volumes"]
        if volume["name"] == "shared-memory"
    }
    if of_kind(documents, "RayJob"):
        cluster = cluster_of(documents)
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        stores = [group["rayStartParams"]["object-store-memory"] for group in groups]
    else:
        (label,) = the(documents, "Job")["spec"]["template"]["spec"]["containers"]
        stores = [each["value"] for each in label["env"] if each["name"] == "RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES"]
    assert stores
    assert all(75 * 2**20 < int(store) < amount(shm) * Decimal("0.95") for store in stores)


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupted_job_has_time_to_end(way: str) -> None:
    for pod in pod_templates(built(way)):
        assert pod.spec["terminationGracePeriodSeconds"] >= GRACE_S + 5, pod.place


# Ray clusters


@pytest.mark.parametrize("way", RAYJOBS)
def test_the_head_has_no_work_and_somebody_else_has_a_cpu_from_the_start(way: str) -> None:
    cluster = cluster_of(built(way))
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert any(group["minReplicas"] >= 1 for group in cluster["workerGroupSpecs"])
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert not {"num-cpus", "num-gpus"} & group["rayStartParams"].keys()  # KubeRay reads them from the limits


@pytest.mark.parametrize("way", AUTOSCALED)
def test_the_autoscaler_starts_from_no_gpu(way: str) -> None:
    documents = built(way)
    assert cluster_of(documents)["enableInTreeAutoscaling"] is True
    gpus = [group for group in cluster_of(documents)["workerGroupSpecs"] if group["groupName"] == "gpu"]
    assert [(each["minReplicas"], each["replicas"]) for each in gpus] == ([(0, 0)] if way in WITH_GPUS else [])
    assert all(
        pod.spec.get("restartPolicy", "Never") == "Never" for pod in pod_templates(documents)
    )  # autoscaler v2 refuses others


def test_kueue_gets_a_cluster_of_a_fixed_size() -> None:
    documents = built("overlays/kueue")
    rayjob = the(documents, "RayJob")
    assert rayjob["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    assert rayjob["spec"]["suspend"] is True
    assert rayjob["spec"]["ttlSecondsAfterFinished"] == 0
    assert not {"enableInTreeAutoscaling", "autoscalerOptions"} & cluster_of(documents).keys()
    for group in cluster_of(documents)["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"] > 0


@pytest.mark.parametrize("way", RAYJOBS)
def test_a_rayjob_ends_and_leaves_no_cluster(way: str) -> None:
    spec = the(built(way), "RayJob")["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert 0 < spec["backoffLimit"] <= 5
    assert 0 <= spec["ttlSecondsAfterFinished"] <= 3600
    assert spec["preRunningDeadlineSeconds"] > 0
    assert spec["submissionMode"] == "K8sJobMode"  # the one whose pod takes a security context
    assert ("suspend" in spec) == (way == "overlays/kueue")


def test_only_gpu_workers_are_on_spot_nodes() -> None:
    def spot(way: str) -> dict[str, bool]:
        return {
            pod.place: "affinity" in pod.spec
            and {"cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority"}
            <= {toleration["key"] for toleration in pod.spec.get("tolerations", [])}
            for pod in pod_templates(built(way))
        }

    assert not any(spot("base").values())
    assert [place for place, is_spot in spot("overlays/spot-gpu").items() if is_spot] == ["gpu"]


@pytest.mark.parametrize("way", WAYS)
def test_pods_with_gpus_and_no_others_tolerate_what_keeps_others_off_gpu_nodes(way: str) -> None:
    for pod in pod_templates(built(way)):
        has_gpu = any("nvidia.com/gpu" in each["resources"]["limits"] for each in pod.containers)
        tolerated = {toleration["key"] for toleration in pod.spec.get("tolerations", [])}
        assert ("nvidia.com/gpu" in tolerated) == has_gpu, pod.place


# The plain Job


def test_a_plain_job_is_tried_again_only_where_that_helps() -> None:
    spec = the(built("overlays/indexed-job"), "Job")["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # a podFailurePolicy demands it
    assert 0 < spec["backoffLimitPerIndex"] <= 5
    fail, ignore = spec["podFailurePolicy"]["rules"]
    assert fail["action"] == "FailIndex"
    assert fail["onExitCodes"]["values"] == [2, 3]
    assert fail["onExitCodes"]["containerName"] in {each["name"] for each in spec["template"]["spec"]["containers"]}
    assert ignore == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def test_each_index_has_an_output_of_its_own() -> None:
    documents = built("overlays/indexed-job")
    spec = the(documents, "Job")["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] > 1
    lines = the(documents, "ConfigMap")["data"]["overrides"].splitlines()
    own = [line.split("=")[0] for line in lines if "${oc.env:JOB_COMPLETION_INDEX}" in line]
    assert own == ["input.uri", "output.uri"]
