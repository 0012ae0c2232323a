"""The folder that k8s/README.md tells a user to make, and what it names."""

import json
import re
import shutil
from pathlib import Path

from tests.k8s.manifests import K8S, WAYS, built, built_at, pod_templates, the
from tests.k8s.schemas import rayjob_problems

README = (K8S / "README.md").read_text("utf-8")


def test_a_folder_of_ones_own_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    (written,) = re.findall(r"```yaml\n# street/kustomization.yaml\n(.*?)```", README, re.DOTALL)
    shutil.copytree(K8S, tmp_path / "k8s")
    street = tmp_path / "street"
    street.mkdir()
    (street / "kustomization.yaml").write_text(written)
    (street / "overrides").write_text("prompts='it''s'\n")
    (street / "prompts.yaml").write_text("categories: [tram]\n")

    documents, expected = built_at(street), built("overlays/spot-gpu")
    the(expected, "ConfigMap")["data"] = {"overrides": "prompts='it''s'\n", "prompts.yaml": "categories: [tram]\n"}
    the(expected, "ServiceAccount")["metadata"]["annotations"] = {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/autolabel"
    }
    the(expected, "RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"] = 16
    ours = {each["image"] for pod in pod_templates(expected) for each in pod.containers}
    (image,) = {each["image"] for pod in pod_templates(documents) for each in pod.containers}
    assert {image} == {f"registry.example.com/{each}" for each in ours}
    assert image in README
    assert json.loads(json.dumps(documents).replace(image, *ours)) == expected
    assert rayjob_problems(the(documents, "RayJob")) == []


def test_it_names_every_way_and_every_file_it_links_to_exists() -> None:
    assert re.findall(r"^\| `(\S+)` \|", README, re.MULTILINE) == WAYS
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert all((K8S / link).is_file() for link in links)
