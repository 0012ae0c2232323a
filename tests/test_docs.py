"""What the documents say exists: links, commands, paths, floors, formats and codes."""

import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from autolabel.cli.commands import RUN
from autolabel.cli.help import USAGE
from autolabel.errors import RejectCode
from autolabel.exports import FORMATS

ROOT = Path(__file__).parents[1]
FOLDERS = (".github", "autolabel", "conf", "jobs", "k8s", "notebooks", "tests")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
SOURCES = sorted(
    path
    for folder in FOLDERS
    for suffix in ("py", "yaml", "yml", "md")
    for path in (ROOT / folder).rglob(f"*.{suffix}")
    if path != Path(__file__)
)
COMMANDS = {*RUN, "submit"}
STEPS = {
    "inputs": "Step 1 of 7, list:",
    "plan": "Step 2 of 7, plan:",
    "images": "Step 3 of 7, load:",
    "segmentation": "Step 4 of 7, segment:",
    "selection": "Step 5 of 7, select:",
    "labels": "Step 6 of 7, store:",
    **dict.fromkeys(("exports", "evaluation", "review", "report", "reader"), "Step 7 of 7, use:"),
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def links(text: str) -> list[str]:
    """Return the targets of Markdown's links and HTML's pictures outside of code."""
    prose = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", prose)
    return [markdown or html for markdown, html in found]


def code(text: str) -> Iterator[str]:
    """Yield fenced blocks and code spans."""
    for fenced, span in re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", text, re.DOTALL):
        yield fenced or span


def anchors(text: str) -> set[str]:
    """Return the fragments that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_somewhere() -> None:
    broken = []
    for document in DOCUMENTS:
        for link in links(document.read_text("utf-8")):
            path, _, fragment = link.partition("#")
            target = document.parent / unquote(path) if path else document
            if "://" in link:
                continue
            if not target.exists() or (fragment and fragment not in anchors(target.read_text("utf-8"))):
                broken.append(f"{name_of(document)}: {link}")
    assert broken == []


def test_links_are_found() -> None:
    assert {"conf/README.md", "CHANGELOG.md", ".github/report-light.png", "autolabel/plan.py"} <= set(
        links(read("README.md"))
    )


def test_every_command_exists() -> None:
    """In code, `autolabel` before a word that is no import and no assignment."""
    named = re.compile(r"(?:^|[\s/$(])autolabel (?:submit )?(?!import )([a-z][a-z-]*)\b(?!=)")
    commands = {
        (name_of(document), command)
        for document in DOCUMENTS
        for each in code(document.read_text("utf-8"))
        for command in named.findall(each)
    }
    assert ("README.md", "report") in commands
    assert {(document, command) for document, command in commands if command not in COMMANDS} == set()


def test_every_command_is_explained() -> None:
    assert set(re.findall(r"^\| `([a-z-]+)` \|", read("README.md"), re.MULTILINE)) == COMMANDS
    assert set(re.findall(r"^  ([a-z-]+)  ", USAGE, re.MULTILINE)) == COMMANDS


def test_every_path_of_the_repository_exists() -> None:
    """In code, what begins with a folder of the repository, or ends like a module or a document of it."""
    paths = [
        (document, each)
        for document in DOCUMENTS
        for each in code(document.read_text("utf-8"))
        if re.fullmatch(r"[\w.*-]+(/[\w.*-]+)+/?", each)
        and (each.partition("/")[0] in FOLDERS or each.endswith((".py", ".md")))
    ]
    assert paths
    broken = [
        f"{name_of(document)}: {path}"
        for document, path in paths
        if not [*ROOT.glob(path), *document.parent.glob(path)]
    ]
    assert broken == []


def test_every_module_that_a_source_names_exists() -> None:
    pattern = re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]+\.(?:py|md|ipynb|lock)\b")
    broken = [
        f"{name_of(source)}: {path}"
        for source in SOURCES
        for path in pattern.findall(source.read_text("utf-8"))
        if not (ROOT / path).exists() and not (source.parent / path).exists()
    ]
    assert broken == []


def test_floors_are_those_that_are_kept() -> None:
    (floors,) = re.findall(r"## Floors.*?```\n(.*?)```", read("autolabel/README.md"), re.DOTALL)
    (kept,) = (
        contract["layers"]
        for contract in tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    assert [line.split() for line in floors.splitlines()] == [layer.split(" | ") for layer in kept]


@pytest.mark.parametrize("name", STEPS)
def test_every_step_says_which_it_is(name: str) -> None:
    documentation = importlib.import_module(f"autolabel.{name}").__doc__
    assert documentation is not None
    assert documentation.startswith(STEPS[name])


def first_column(text: str) -> set[str]:
    """Return the code spans in the first column of a document's tables."""
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {span for cell in cells for span in re.findall(r"`([^`]+)`", cell)}


def test_every_format_and_every_code_is_in_its_table() -> None:
    assert first_column(read("autolabel/exports/README.md")) == set(FORMATS)
    assert first_column(read("conf/README.md")) == set(RejectCode)


def test_nothing_says_to_install_the_other_project_of_the_commands_name() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert project["name"] == "autolabel-sam3"
    of_that_name = re.compile(r"install [^\n]*?(?<![\w./-])autolabel(?![\w/-])|\bautolabel\[")
    assert [name_of(document) for document in DOCUMENTS if of_that_name.search(document.read_text("utf-8"))] == []
    installed = set(re.findall(r"pip install '\.\[(\w+)\]'", read("README.md")))
    assert installed <= project["optional-dependencies"].keys()
    assert ".venv/bin/activate" in read("README.md")
