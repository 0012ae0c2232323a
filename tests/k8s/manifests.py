"""What `kubectl apply -k` would send, and the pods that come of it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

K8S = Path(__file__).parents[2] / "k8s"
IMAGE = K8S / "image"
RAYJOBS = ["base", "overlays/spot-gpu", "overlays/cpu", "overlays/kueue"]
WITH_GPUS = [way for way in RAYJOBS if way != "overlays/cpu"]
WAYS = [*RAYJOBS, "overlays/indexed-job"]  # to run a job: what a user applies

Document = dict[str, Any]
UNITS: dict[str, int | Decimal] = {"": 1, "m": Decimal("0.001"), "Mi": 2**20, "Gi": 2**30}


@dataclass(frozen=True, kw_only=True)
class PodTemplate:
    """A kind of pod, as Kubernetes gets it: with KubeRay's labels, and the containers that our settings make it add."""

    place: str
    labels: dict[str, str]
    spec: Document

    @property
    def containers(self) -> list[Document]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def built(way: str) -> list[Document]:
    """A copy that may be changed, of the documents of a folder of k8s/."""
    return deepcopy(_built(K8S / way))


def built_at(folder: Path) -> list[Document]:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl, for its kustomize")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, yaml.CSafeLoader))


_built = lru_cache(built_at)


def the(documents: list[Document], kind: str, name: str = "autolabel") -> Document:
    """The one document of a kind and name."""
    (found,) = (each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [each for each in documents if each["kind"] == kind]


def group_of(documents: list[Document], name: str) -> Document:
    group: Document
    (group,) = (each for each in cluster_of(documents)["workerGroupSpecs"] if each["groupName"] == name)
    return group


def cluster_of(documents: list[Document]) -> Document:
    cluster: Document = the(documents, "RayJob")["spec"]["rayClusterSpec"]
    return cluster


def amount(quantity: str) -> Decimal:
    """Cores, bytes or pieces."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity)).groups()  # type: ignore[union-attr]
    return Decimal(number) * UNITS[unit]


def pod_templates(documents: list[Document]) -> Iterator[PodTemplate]:
    for job in of_kind(documents, "Job"):
        yield _template("Job", job["spec"]["template"])
    for job in of_kind(documents, "RayJob"):
        yield _template("submitter", job["spec"]["submitterPodTemplate"])
        cluster = job["spec"]["rayClusterSpec"]
        head = _template("head", cluster["headGroupSpec"]["template"], {"ray.io/node-type": "head"})
        if cluster.get("enableInTreeAutoscaling"):
            head.spec["containers"] = [*head.spec["containers"], autoscaler(cluster)]
        yield head
        for group in cluster["workerGroupSpecs"]:
            yield _template(group["groupName"], group["template"], {"ray.io/node-type": "worker"})


def autoscaler(cluster: Document) -> Document:
    """The container that KubeRay adds to the head; without these options it would have none of them."""
    options = cluster.get("autoscalerOptions", {})
    head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    kept = ("env", "envFrom", "resources", "securityContext", "volumeMounts")
    return {"name": "autoscaler", "image": head["image"], **{key: options[key] for key in kept if key in options}}


def _template(place: str, template: Document, labels: dict[str, str] | None = None) -> PodTemplate:
    own = template.get("metadata", {}).get("labels", {})
    return PodTemplate(place=place, labels={**own, **(labels or {})}, spec=dict(template["spec"]))
