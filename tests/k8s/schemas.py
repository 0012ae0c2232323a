"""Manifests against the schemas of KubeRay and Kubernetes, as an API server checks them: unknown fields are refused."""

import gzip
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

from tests.k8s.manifests import Document, PodTemplate

RAYJOB = Path(__file__).parents[1] / "data" / "kuberay" / "rayjob.json.gz"
KUBERNETES = ["1.29", kubernetes_validate.latest_version()]  # the first with backoffLimitPerIndex by default


def core_problems(document: Document, version: str) -> list[str]:
    """Of an object of Kubernetes itself."""
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{document['kind']} {document['metadata']['name']}: {error.message}"]
    return []


def pod_problems(template: PodTemplate, version: str) -> list[str]:
    metadata = {"name": template.place, "labels": template.labels}
    return core_problems({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.spec}, version)


def rayjob_problems(rayjob: Document) -> list[str]:
    """Of a RayJob, with the schema's defaults filled in."""
    schema = rayjob_schema()
    rayjob = with_defaults(schema, rayjob)
    errors = jsonschema.Draft202012Validator(schema).iter_errors(rayjob)
    return [f"{error.json_path}: {error.message}" for error in errors]


@lru_cache
def rayjob_schema() -> dict[str, Any]:
    """The schema of ray.io/v1, closed."""
    schema = closed(json.loads(gzip.decompress(RAYJOB.read_bytes())))
    schema["properties"]["metadata"] = {"type": "object"}  # every object has it: the API server knows its fields
    return schema


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A structural schema of Kubernetes as a JSON schema in which what is not mentioned is not allowed."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"], **{key: schema[key] for key in ("pattern",) if key in schema}}
    result = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    if "properties" in schema:
        result["properties"] = {name: closed(each) for name, each in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = closed(schema["additionalProperties"])
    elif schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result["additionalProperties"] = False
    if "items" in schema:
        result["items"] = closed(schema["items"])
    return result


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """The value with the schema's defaults wherever an object leaves them out."""
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), each) for each in value]
    if not isinstance(value, dict):
        return value
    return dict(_completed(schema, value))


def _completed(schema: dict[str, Any], value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    properties = schema.get("properties", {})
    for name, each in properties.items():
        if "default" in each and name not in value:
            yield name, each["default"]
    for name, each in value.items():
        further = schema.get("additionalProperties")
        yield name, with_defaults(properties.get(name) or (further if isinstance(further, dict) else {}), each)
