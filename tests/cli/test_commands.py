"""What a user sees of a command that cannot run: one message, and the exit code that says why."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import autolabel
from autolabel.cli import main
from autolabel.config import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory for commands that run in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)  # which the command replaces
    return tmp_path


def run(
    *arguments: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autolabel.cli", *arguments]
    merged = os.environ | (environment or {})
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, env=merged)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: autolabel <command>"),
        (["lable"], "there is no command 'lable'"),
        (["label"], "input.uri: required"),
        (["label", "inptu.uri=x"], "Key 'inptu' not in 'LabelConfig'"),
        (["label", "threshold=high"], "threshold"),
        (["label", "model=sam4"], "Could not find 'model/sam4'"),
        (["verify", "output.uri=nowhere"], "no job was ever started"),
        (["export", "output.uri=nowhere"], "no job was ever started"),
        (["export", "output.uri=nowhere", "format=voc"], "'voc' is not one of coco"),
        (["report", "output.uri=nowhere"], "no job was ever started"),
        (["report", "output.uri=nowhere", "thumbnails=-1"], "thumbnails: -1 is negative"),
        (["label", "input.uri=nowhere", "output.uri=out"], "nowhere does not exist"),
        (["label", "input.uri=nowhere.csv", "output.uri=out"], "nowhere.csv does not exist"),
        (["label", "input.uri=/dev/null", f"output.uri={__file__}"], "Not a directory"),
        (["label", "input.uri=a", "output.uri=out", "prompts=nowhere.yaml"], "prompts.uri: nowhere.yaml"),
        (["label", "input.uri=a", "output.uri=out", "prompts=[ , ]"], "blank"),
        (["verify", "output.uri=nosuch://host/labels"], "nosuch"),
    ],
)
def test_a_bad_call_exits_with_2_and_says_why(
    arguments: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.out + printed.err
    assert "Traceback" not in printed.err
    assert list(here.iterdir()) == []  # Hydra leaves nothing behind


def test_the_exit_code_is_that_of_the_process(tmp_path: Path) -> None:
    result = run("label", "threshold=high", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert "threshold" in result.stderr


@pytest.mark.parametrize("model", ["sam3", "sam3.1"])
def test_without_a_connection_the_weights_are_asked_for(model: str, tmp_path: Path) -> None:
    """How soon: tests/sam3/test_download.py."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_CACHE": str(tmp_path / "cache")}
    arguments = ["label", f"model={model}", "input.uri=in", "output.uri=out", "prompts=[car]"]
    result = run(*arguments, cwd=tmp_path, environment=environment)
    assert result.returncode == 2
    assert f"hf://facebook/{model}: http://127.0.0.1:9 cannot be reached from here" in result.stderr
    assert "say model.checkpoint=PATH" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_help_explains_every_key(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        printed = capsys.readouterr().out
        assert "output.uri=" in printed
        assert command != "label" or "model=demo|sam3|sam3.1" in printed


def test_version() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"autolabel {autolabel.__version__}\n")


def test_cfg_job_prints_what_would_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label", "--cfg", "job", "input.uri=photos", "prompts=[red car]"]) == 0
    printed = capsys.readouterr().out
    assert "uri: photos" in printed
    assert "- red car" in printed


@pytest.mark.parametrize("command", COMMANDS)
def test_each_job_script_is_its_command(command: str, tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "jobs" / f"{command}.py"), "nosuch.key=1"]
    result = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 2
    assert "nosuch" in result.stderr


def test_the_wheel_holds_the_configuration_and_runs_from_anywhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("autolabel_sam3-*.whl")  # on PyPI, `autolabel` is another project
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    templates = [path.name for path in (ROOT / "autolabel" / "report" / "templates").iterdir()]
    assert all((tmp_path / "site" / "autolabel" / "report" / "templates" / name).is_file() for name in templates)
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from autolabel import cli; "
    code += "assert 'site' in cli.__file__; sys.exit(cli.main(['label', '--cfg', 'job', 'prompts=street']))"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "pedestrian" in result.stdout
