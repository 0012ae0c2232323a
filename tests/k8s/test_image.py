"""The image: one Ray in locks, image and manifests; and what the manifests expect to find in it."""

import re
from pathlib import PurePosixPath

import pytest

from autolabel.version import __version__
from tests.k8s.manifests import IMAGE, K8S, RAYJOBS, WAYS, built, of_kind, pod_templates, the

REPOSITORY = K8S.parent
DOCKERFILE = (IMAGE / "Dockerfile").read_text()


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{name} ")]


def only(pattern: str, text: str) -> str:
    """The one thing that the pattern's group finds."""
    (found,) = set(re.findall(pattern, text, re.MULTILINE))
    return str(found)


RAY = only(r"^ray==(\S+)", "".join((folder / "requirements.lock").read_text() for folder in (REPOSITORY, IMAGE)))


def test_the_image_has_the_ray_of_the_locks() -> None:
    assert only(r"^ARG RAY_VERSION=(\S+)$", DOCKERFILE) == RAY
    assert only(r'"ray\[data,default\]==([^"]+)"', (REPOSITORY / "pyproject.toml").read_text()) == RAY
    assert only(r"--tag \S+:(\S+)", DOCKERFILE) == tag()


@pytest.mark.parametrize("way", WAYS)
def test_every_container_has_the_image_with_that_ray(way: str) -> None:
    images = {each["image"] for pod in pod_templates(built(way)) for each in pod.containers}
    assert images == {f"autolabel:{tag()}"}


@pytest.mark.parametrize("way", RAYJOBS)
def test_kuberay_is_told_that_ray(way: str) -> None:
    assert the(built(way), "RayJob")["spec"]["rayClusterSpec"]["rayVersion"] == RAY


def tag() -> str:
    return f"{__version__}-ray{RAY}"


def test_the_environment_is_exactly_the_lock() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert only(r"^FROM python:([0-9.]+)-", DOCKERFILE) == only(r'^requires-python = ">=(.+)"$', project)
    installs = [step for line in instructions("RUN") for step in line.split("&&") if "pip install" in step]
    image, build_backend, wheel = installs
    assert "--require-hashes --requirement /requirements.lock" in image
    assert "COPY k8s/image/requirements.lock /\n" in DOCKERFILE
    assert "--require-hashes" in build_backend
    assert "--no-deps" in wheel


def test_the_user_is_the_one_that_the_pods_run_as() -> None:
    assert instructions("USER") == ["1000:1000"]
    ids = {
        (pod.spec["securityContext"]["runAsUser"], pod.spec["securityContext"]["runAsGroup"])
        for way in WAYS
        for pod in pod_templates(built(way))
    }
    assert ids == {(1000, 1000)}


def test_the_home_is_the_one_that_the_pods_can_write_to() -> None:
    home = only(r"HOME=(\S+)", DOCKERFILE)
    for way in WAYS:
        for pod in pod_templates(built(way)):
            for each in pod.containers:
                paths = {mount["mountPath"] for mount in each["volumeMounts"]}
                assert each["name"] == "autoscaler" or home in paths


def test_what_is_copied_exists_and_is_let_through() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    let_through = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert "*" in ignored
    assert all((REPOSITORY / path).exists() for path in let_through)
    sources = [source for copy in instructions("COPY") if "--from" not in copy for source in copy.split()[:-1]]
    assert set(sources) - {"."} <= set(let_through)
    needed = {"pyproject.toml", "README.md", "LICENSE", "autolabel", "conf"}  # by the wheel
    assert needed <= set(let_through)


def test_the_job_is_where_the_manifests_say() -> None:
    root = PurePosixPath(instructions("WORKDIR")[-1])
    copies = [copy.split() for copy in instructions("COPY") if "--from" not in copy]
    assert ["jobs", "jobs"] in copies
    assert ["k8s/image/with_overrides.py", "k8s/image/"] in copies
    for way in WAYS:
        documents = built(way)
        job = of_kind(documents, "RayJob") or of_kind(documents, "Job")
        assert f"{root}/jobs/label.py" in str(job)
        assert f"{root}/k8s/image/with_overrides.py" in str(job)


def test_the_compiler_of_compiled_models_is_there_and_what_it_makes_is_shared() -> None:
    """Within a pod by default, since its processes have one home; and in a folder that the pods may write to."""
    assert any(re.search(r"apt-get install .*\bgcc\b.*\blibc6-dev\b", line) for line in instructions("RUN"))
    cache = PurePosixPath(only(r"TORCHINDUCTOR_CACHE_DIR=(\S+)", DOCKERFILE))
    assert PurePosixPath(only(r"HOME=(\S+)", DOCKERFILE)) in cache.parents
