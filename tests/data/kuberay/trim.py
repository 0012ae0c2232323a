"""KubeRay's definitions of its objects -> the schemas that tests need, without descriptions: 2.4 MB become 22 kB.

`python tests/data/kuberay/trim.py FOLDER`, of ray.io_rayjobs.yaml and ray.io_rayservices.yaml.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


def trim(definition: Path) -> Path:
    """Write the schema of version v1 beside this script."""
    document = yaml.load(definition.read_text("utf-8"), yaml.CSafeLoader)
    (schema,) = (
        version["schema"]["openAPIV3Schema"] for version in document["spec"]["versions"] if version["name"] == "v1"
    )
    trimmed = HERE / f"{document['spec']['names']['singular']}.json.gz"
    text = json.dumps(without_descriptions(schema), sort_keys=True, separators=(",", ":"))
    trimmed.write_bytes(gzip.compress(text.encode(), mtime=0))
    return trimmed


def without_descriptions(value: Any) -> Any:
    """A property that is called description is none of a schema's own, and stays."""
    if isinstance(value, list):
        return [without_descriptions(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {name: without_descriptions(each) for name, each in inner.items()}
        if key == "properties"
        else without_descriptions(inner)
        for key, inner in value.items()
        if not (key == "description" and isinstance(inner, str))
    }


if __name__ == "__main__":
    for name in ("ray.io_rayjobs.yaml", "ray.io_rayservices.yaml"):
        print(trim(Path(sys.argv[1], name)))
