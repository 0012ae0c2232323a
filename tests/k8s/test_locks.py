"""The image's lock: of the versions that are tested, those that running needs, no fewer and no more."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.k8s.manifests import IMAGE, K8S

REPOSITORY = K8S.parent
OF_EXTRAS = {"adlfs", "azure", "gcsfs"}  # imported when gs:// or az:// is asked for; the image has neither
RUNTIME = (IMAGE / "requirements.lock").read_text()
DEVELOPMENT = (REPOSITORY / "requirements.lock").read_text()


def hashes_by_pin(lock: str) -> dict[str, set[str]]:
    """Hashes of each `name==version`, which a lock may have more than once: for other interpreters or systems."""
    entries = re.findall(r"^(\S+==\S+)(.*(?:\n    --hash.*)+)", lock, re.MULTILINE)
    return {pin: set(re.findall(r"--hash=(\S+)", rest)) for pin, rest in entries}


def locked_here(lock: str) -> set[str]:
    """Names of what the lock installs into this interpreter on this system."""
    requirements = [Requirement(line.rstrip(" \\")) for line in re.findall(r"^\S+==.*$", lock, re.MULTILINE)]
    return {canonicalize_name(each.name) for each in requirements if each.marker is None or each.marker.evaluate()}


def required_here(requirements: list[str]) -> set[str]:
    """Names of the distributions that these need, and those in turn."""
    waiting = [(Requirement(each), "") for each in requirements]
    found: set[tuple[str, str]] = set()  # a distribution, and an extra of it
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in {(canonicalize_name(requirement.name), of_it) for of_it in ("", *requirement.extras)} - found:
            found.add(wanted)
            waiting += [(Requirement(each), wanted[1]) for each in distribution(wanted[0]).requires or ()]
    return {name for name, _ in found}


def imported_by(file: Path) -> Iterator[str]:
    """Top-level names of modules, wherever in the file they are imported."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_every_version_is_the_tested_one() -> None:
    runtime, development = hashes_by_pin(RUNTIME), hashes_by_pin(DEVELOPMENT)
    assert len(runtime) == len(re.findall(r"^\S", RUNTIME, re.MULTILINE))
    assert all(runtime.values())
    assert runtime.items() <= development.items()


def test_it_holds_what_the_project_depends_on_and_nothing_else() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert locked_here(RUNTIME) == required_here(project["dependencies"])


@pytest.mark.parametrize("folder", ["autolabel", "jobs"])
def test_what_the_image_runs_imports_nothing_else(folder: str) -> None:
    names = {name for file in (REPOSITORY / folder).rglob("*.py") for name in imported_by(file)}
    own = {"autolabel", "benchmarks", *OF_EXTRAS}
    distributions = packages_distributions()
    sources = {name: distributions[name] for name in names - own - sys.stdlib_module_names}
    locked = locked_here(RUNTIME)
    assert {name: of for name, of in sources.items() if not locked & set(map(canonicalize_name, of))} == {}
