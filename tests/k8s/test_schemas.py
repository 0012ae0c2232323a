"""Every way to run a job, against the schemas; and the schemas, against faults."""

from typing import Any

import pytest

from tests.k8s.manifests import RAYJOBS, WAYS, Document, built, of_kind, pod_templates, the
from tests.k8s.schemas import KUBERNETES, core_problems, pod_problems, rayjob_problems, rayjob_schema, with_defaults


@pytest.mark.parametrize("way", RAYJOBS)
def test_the_rayjob_is_one_for_kuberay(way: str) -> None:
    assert rayjob_problems(the(built(way), "RayJob")) == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("way", WAYS)
def test_everything_else_is_for_kubernetes(way: str, version: str) -> None:
    others = [each for each in built(way) if each["kind"] != "RayJob"]
    assert {"ConfigMap", "NetworkPolicy", "ServiceAccount"} <= {each["kind"] for each in others}
    assert [problem for each in others for problem in core_problems(each, version)] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("way", WAYS)
def test_pods_are_for_kubernetes(way: str, version: str) -> None:
    templates = list(pod_templates(built(way)))
    assert templates
    assert [problem for each in templates for problem in pod_problems(each, version)] == []


def test_defaults_are_filled_in() -> None:
    spec: dict[str, Any] = {"rayClusterSpec": {"workerGroupSpecs": [{"groupName": "gpu", "replicas": 7}]}}
    completed = with_defaults(rayjob_schema(), {"spec": spec})["spec"]
    assert completed["submissionMode"] == "K8sJobMode"
    (group,) = completed["rayClusterSpec"]["workerGroupSpecs"]
    assert group == {"groupName": "gpu", "replicas": 7, "minReplicas": 0, "maxReplicas": 2**31 - 1} | {
        "numOfHosts": 1,
        "priority": 0,
    }


def head_of(rayjob: Document) -> Document:
    head: Document = rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    return head


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda job: job["spec"].update(ttlSecondsAfterFinish=1), "'ttlSecondsAfterFinish' was unexpected"),
        (lambda job: job["spec"].update(backoffLimit="3"), "'3' is not of type 'integer'"),
        (lambda job: job["spec"]["rayClusterSpec"].update(rayversion="2"), "'rayversion' was unexpected"),
        (lambda job: job["spec"]["rayClusterSpec"].pop("headGroupSpec"), "'headGroupSpec' is a required property"),
        (lambda job: job["spec"]["rayClusterSpec"]["authOptions"].update(mode="basic"), "'basic' is not one of"),
        (lambda job: head_of(job)["containers"][0].update(Image="x"), "'Image' was unexpected"),
        (lambda job: head_of(job)["containers"][0]["resources"]["limits"].update(cpu="two"), "does not match"),
        (lambda job: head_of(job)["securityContext"].update(runAsUser="1000"), "is not of type 'integer'"),
        (lambda job: head_of(job)["volumes"][0].update(configmap={}), "'configmap' was unexpected"),
    ],
)
def test_a_fault_of_a_rayjob_is_told(fault: Any, told: str) -> None:
    rayjob = the(built("base"), "RayJob")
    fault(rayjob)
    (problem,) = rayjob_problems(rayjob)
    assert told in problem


@pytest.mark.parametrize(
    ("kind", "fault", "told"),
    [
        ("Job", lambda job: job["spec"].update(backoffLimitPerindex=1), "'backoffLimitPerindex' was unexpected"),
        ("NetworkPolicy", lambda policy: policy["spec"].update(ingres=[]), "'ingres' was unexpected"),
        ("ConfigMap", lambda config: config["data"].update(overrides=7), "7 is not of type 'string'"),
        ("ServiceAccount", lambda account: account.update(automountServiceAccountToken="no"), "'no' is not of type"),
    ],
)
def test_a_fault_of_a_core_object_is_told(kind: str, fault: Any, told: str) -> None:
    (document,) = of_kind(built("overlays/indexed-job"), kind)
    fault(document)
    (problem,) = core_problems(document, KUBERNETES[0])
    assert told in problem
