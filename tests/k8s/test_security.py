"""Every security setting, on every container of every pod of every way; and that each check can fail."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.k8s.manifests import RAYJOBS, WAYS, Document, PodTemplate, autoscaler, built, of_kind, pod_templates, the

API_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
WRITABLE = {"/tmp", "/home/autolabel"}  # /tmp/ray is Ray's; the home has the caches of torch and Hugging Face
OF_PODS: dict[str, Callable[[Document], bool]] = {
    "runAsNonRoot": lambda pod: pod["securityContext"]["runAsNonRoot"] is True,
    "runAsUser": lambda pod: pod["securityContext"]["runAsUser"] == 1000,
    "seccompProfile": lambda pod: pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"},
    "serviceAccountName": lambda pod: pod["serviceAccountName"] == "autolabel",
    "automountServiceAccountToken": lambda pod: pod["automountServiceAccountToken"] is False,
    "enableServiceLinks": lambda pod: pod["enableServiceLinks"] is False,
    "nothing of the host": lambda pod: not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys(),
    "volumes": lambda pod: all(
        set(volume) - {"name"} <= {"configMap", "emptyDir", "projected"} for volume in pod["volumes"]
    ),
    "volumes are bounded": lambda pod: all(
        "sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume
    ),
}
OF_CONTAINERS: dict[str, Callable[[Document], bool]] = {
    "readOnlyRootFilesystem": lambda each: each["securityContext"]["readOnlyRootFilesystem"] is True,
    "allowPrivilegeEscalation": lambda each: each["securityContext"]["allowPrivilegeEscalation"] is False,
    "capabilities": lambda each: each["securityContext"]["capabilities"] == {"drop": ["ALL"]},
    "nothing of the pod's undone": lambda each: (
        not {"privileged", "runAsUser", "runAsNonRoot", "seccompProfile", "procMount"} & each["securityContext"].keys()
    ),
    "resources": lambda each: all(
        {"cpu", "memory", "ephemeral-storage"} <= each["resources"][which].keys() for which in ("requests", "limits")
    ),
    "no host ports": lambda each: not any("hostPort" in port for port in each.get("ports", [])),
    "no secret in the environment": lambda each: (
        not any(
            "value" in variable
            and any(word in variable["name"] for word in ("TOKEN", "SECRET", "PASSWORD", "ACCESS_KEY"))
            for variable in each.get("env", [])
        )
    ),
}


def holds(check: Callable[[Document], bool], value: Document) -> bool:
    """A setting that is not there is not met."""
    try:
        return check(value)
    except KeyError:
        return False


def offences(documents: list[Document]) -> Iterator[str]:
    """Each setting that a pod or a container lacks."""
    for pod in pod_templates(documents):
        yield from (f"{pod.place}: {name}" for name, check in OF_PODS.items() if not holds(check, pod.spec))
        for each in pod.containers:
            place = f"{pod.place}/{each['name']}"
            yield from (f"{place}: {name}" for name, check in OF_CONTAINERS.items() if not holds(check, each))


@pytest.mark.parametrize("way", WAYS)
def test_every_pod_and_container_is_confined(way: str) -> None:
    assert list(offences(built(way))) == []


def test_these_are_all_pods_and_containers() -> None:
    def containers(way: str) -> list[str]:
        return [f"{pod.place}/{each['name']}" for pod in pod_templates(built(way)) for each in pod.containers]

    submitter, head, autoscaler = "submitter/ray-job-submitter", "head/ray-head", "head/autoscaler"
    assert containers("base") == [submitter, head, autoscaler, "gpu/ray-worker", "cpu/ray-worker"]
    assert containers("overlays/spot-gpu") == containers("base")
    assert containers("overlays/cpu") == [submitter, head, autoscaler, "cpu/ray-worker"]
    assert containers("overlays/kueue") == [submitter, head, "gpu/ray-worker", "cpu/ray-worker"]
    assert containers("overlays/indexed-job") == ["Job/label"]


FAULTS_OF_PODS: dict[str, Callable[[Document], Any]] = {
    "runAsNonRoot": lambda pod: pod["securityContext"].update(runAsNonRoot=False),
    "runAsUser": lambda pod: pod["securityContext"].pop("runAsUser"),
    "seccompProfile": lambda pod: pod["securityContext"].update(seccompProfile={"type": "Unconfined"}),
    "serviceAccountName": lambda pod: pod.pop("serviceAccountName"),
    "automountServiceAccountToken": lambda pod: pod.pop("automountServiceAccountToken"),
    "enableServiceLinks": lambda pod: pod.pop("enableServiceLinks"),
    "nothing of the host": lambda pod: pod.update(hostNetwork=True),
    "volumes": lambda pod: pod["volumes"].append({"name": "root", "hostPath": {"path": "/"}}),
    "volumes are bounded": lambda pod: pod["volumes"].append({"name": "more", "emptyDir": {}}),
}
FAULTS_OF_CONTAINERS: dict[str, Callable[[Document], Any]] = {
    "readOnlyRootFilesystem": lambda each: each["securityContext"].pop("readOnlyRootFilesystem"),
    "allowPrivilegeEscalation": lambda each: each["securityContext"].update(allowPrivilegeEscalation=True),
    "capabilities": lambda each: each["securityContext"]["capabilities"].update(add=["NET_RAW"]),
    "nothing of the pod's undone": lambda each: each["securityContext"].update(runAsUser=0),
    "resources": lambda each: each["resources"]["limits"].pop("memory"),
    "no host ports": lambda each: each.update(ports=[{"containerPort": 8265, "hostPort": 8265}]),
    "no secret in the environment": lambda each: each.update(env=[{"name": "HF_TOKEN", "value": "hf_x"}]),
}


def test_every_check_has_its_fault() -> None:
    assert OF_PODS.keys() == FAULTS_OF_PODS.keys()
    assert OF_CONTAINERS.keys() == FAULTS_OF_CONTAINERS.keys()


@pytest.mark.parametrize("name", OF_PODS)
def test_a_pod_that_lacks_a_setting_is_told(name: str) -> None:
    documents = built("base")
    FAULTS_OF_PODS[name](the(documents, "RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"])
    assert list(offences(documents)) == [f"gpu: {name}"]


@pytest.mark.parametrize("name", OF_CONTAINERS)
def test_a_container_that_lacks_a_setting_is_told(name: str) -> None:
    documents = built("overlays/indexed-job")
    FAULTS_OF_CONTAINERS[name](the(documents, "Job")["spec"]["template"]["spec"]["containers"][0])
    assert list(offences(documents)) == [f"Job/label: {name}"]


def test_an_autoscaler_without_options_is_told() -> None:
    documents = built("base")
    del the(documents, "RayJob")["spec"]["rayClusterSpec"]["autoscalerOptions"]
    confined = {f"head/autoscaler: {name}" for name in ("readOnlyRootFilesystem", "capabilities", "resources")}
    assert confined <= set(offences(documents))


@pytest.mark.parametrize("way", WAYS)
def test_root_is_read_only_and_what_is_written_to_is_not(way: str) -> None:
    for pod in pod_templates(built(way)):
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        for each in pod.containers:
            mounts = {mount["mountPath"]: mount for mount in each["volumeMounts"]}
            expected = {"/tmp"} if each["name"] == "autoscaler" else WRITABLE
            assert expected <= mounts.keys(), f"{pod.place}/{each['name']}"
            writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
            assert writable <= WRITABLE | {"/dev/shm"}
            assert all("emptyDir" in volumes[mounts[path]["name"]] for path in writable)


@pytest.mark.parametrize("way", WAYS)
def test_only_the_autoscaler_can_talk_to_kubernetes(way: str) -> None:
    documents = built(way)
    assert the(documents, "ServiceAccount")["automountServiceAccountToken"] is False
    scaled = any(job["spec"]["rayClusterSpec"].get("enableInTreeAutoscaling") for job in of_kind(documents, "RayJob"))
    have = [
        f"{pod.place}/{each['name']}"
        for pod in pod_templates(documents)
        for each in pod.containers
        if token_volume(pod) in {mount["name"] for mount in each["volumeMounts"]}
    ]
    assert have == (["head/autoscaler"] if scaled else [])
    tokens = [pod.place for pod in pod_templates(documents) if token_volume(pod)]
    assert tokens == (["head"] if scaled else [])
    if scaled:
        (job,) = of_kind(documents, "RayJob")
        mounts = {mount["mountPath"] for mount in autoscaler(job["spec"]["rayClusterSpec"])["volumeMounts"]}
        assert API_TOKEN in mounts  # where Ray's autoscaler looks for it


def token_volume(pod: PodTemplate) -> str | None:
    for volume in pod.spec["volumes"]:
        if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", [])):
            return str(volume["name"])
    return None


@pytest.mark.parametrize("way", WAYS)
def test_credentials_go_where_images_and_weights_are_read_and_may_be_absent(way: str) -> None:
    for pod in pod_templates(built(way)):
        for each in pod.containers:
            expected = [{"secretRef": {"name": "autolabel-credentials", "optional": True}}]
            needs_none = each["name"] in ("ray-job-submitter", "autoscaler")
            assert each.get("envFrom", []) == ([] if needs_none else expected), f"{pod.place}/{each['name']}"


@pytest.mark.parametrize("way", RAYJOBS)
def test_ray_demands_a_token(way: str) -> None:
    assert the(built(way), "RayJob")["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("way", WAYS)
def test_every_pod_is_behind_the_network_policy(way: str) -> None:
    documents = built(way)
    policy = the(documents, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    selected = policy["podSelector"]["matchLabels"]
    assert selected
    for pod in pod_templates(documents):
        assert selected.items() <= pod.labels.items(), pod.place


def openings(documents: list[Document], direction: str) -> Iterator[tuple[str, Any, list[Any]]]:
    """(policy, peers, ports) of every rule; no peers stand for everybody, no ports for every port."""
    for policy in of_kind(documents, "NetworkPolicy"):
        for rule in policy["spec"].get(direction, []):
            ports = sorted((port["protocol"], port["port"]) for port in rule.get("ports", []))
            yield policy["metadata"]["name"], rule.get("from" if direction == "ingress" else "to"), ports


@pytest.mark.parametrize("way", WAYS)
def test_nobody_else_gets_in_and_little_gets_out(way: str) -> None:
    documents = built(way)
    together = [{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "autolabel"}}}]
    operator = [
        {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}}}
    ]
    anywhere = [("autolabel", None, [("TCP", 53), ("UDP", 53)]), ("autolabel", None, [("TCP", 443)])]
    incoming, outgoing = list(openings(documents, "ingress")), list(openings(documents, "egress"))
    if way == "overlays/indexed-job":
        assert incoming == []
        assert outgoing == anywhere
        return
    assert incoming == [("autolabel", together, []), ("autolabel-head", operator, [("TCP", 8265)])]
    kubernetes = [] if way == "overlays/kueue" else [("autolabel-head", None, [("TCP", 6443)])]
    assert outgoing == [("autolabel", together, []), *anywhere, *kubernetes]
    head = the(documents, "NetworkPolicy", "autolabel-head")["spec"]["podSelector"]["matchLabels"]
    assert [pod.place for pod in pod_templates(documents) if head.items() <= pod.labels.items()] == ["head"]
