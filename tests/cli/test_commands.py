"""What a user sees of a command that cannot run: one message, and the exit code that says why."""

import os
import subprocess
import sys
import time
import zipfile
from itertools import pairwise
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
        (["lable"], "there is no command 'lable' (did you mean 'label'?)"),
        (["label"], "input.uri: required"),
        (["label", "inptu.uri=x"], "inptu.uri: there is no such key; did you mean input.uri=x?"),
        (["label", "threshold=high"], "threshold: high is neither a number nor null"),
        (["label", "model=sam4"], "model: 'sam4' is none of demo, sam3, sam3.1"),
        (["label", "--model", "sam3"], "model=sam3"),
        (["label", "--config-name", "mine"], "--config-name: there is no mine.yaml in"),
        (["submit"], "usage: autolabel submit <command>"),
        (["submit", "lable"], "there is no command 'lable' (did you mean 'label'?)"),
        (["submit", "label", "inptu.uri=x"], "inptu.uri: there is no such key"),
        (["verify", "output.uri=nowhere"], "no job was ever started"),
        (["export", "output.uri=nowhere"], "no job was ever started"),
        (["export", "output.uri=nowhere", "format=voc"], "'voc' is not one of coco"),
        (["report", "output.uri=nowhere"], "no job was ever started"),
        (["report", "output.uri=nowhere", "thumbnails=-1"], "thumbnails: -1 is negative"),
        (["label", "input.uri=nowhere", "output.uri=out"], "nowhere does not exist"),
        (["label", "input.uri=nowhere.csv", "output.uri=out"], "nowhere.csv does not exist"),
        (["label", "input.uri=/dev/null", f"output.uri={__file__}"], "is a file, and not a folder"),
        (["label", "input.uri=/dev/nul", "output.uri=out"], "/dev/nul does not exist (did you mean 'null'?)"),
        (
            ["label", "input.uri=/dev/null", "output.uri=out", "model.checkpoint=my.pt"],
            "model.checkpoint: my.pt does not exist",
        ),
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


@pytest.mark.parametrize("offline", ["0", "1"])
@pytest.mark.parametrize("model", ["sam3", "sam3.1"])
def test_without_a_connection_the_weights_are_asked_for(model: str, offline: str, tmp_path: Path) -> None:
    """In seconds, since torch and Ray are not imported for it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    environment = {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": offline,
    }
    arguments = ["label", f"model={model}", "input.uri=in", "output.uri=out", "prompts=[car]"]
    started = time.monotonic()
    result = run(*arguments, cwd=tmp_path, environment=environment)
    assert time.monotonic() - started < 10
    assert result.returncode == 2
    assert f"hf://facebook/{model}: http://127.0.0.1:9 cannot be reached from here" in result.stderr
    assert "say model.checkpoint=PATH" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_help_explains_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert "output.uri=" in capsys.readouterr().out
    assert main(["label", "--help"]) == 0
    assert "model=demo|sam3|sam3.1  (demo by default)" in capsys.readouterr().out


def test_help_marks_what_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    required = {
        "label": ["input.uri=photos", "output.uri=labels"],
        "refine": ["output.uri=labels", "refined.uri=refined"],
        "evaluate": ["ground_truth.uri=ground_truth.json"],
        "demo-scenes": ["output.uri=scenes"],
    }
    for command in COMMANDS:
        main([command, "--help"])
        text = capsys.readouterr().out
        wanted = required.get(command, ["output.uri=labels"])
        assert text.startswith(f"usage: autolabel {command} {' '.join(wanted)} [key=value ...]\n")
        marked = [line.split("=")[0].strip() for line in text.splitlines() if line.endswith("(required)")]
        assert marked == [setting.split("=")[0] for setting in wanted]


def test_refined_uri_is_not_explained_as_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    main(["refine", "--help"])
    lines = capsys.readouterr().out.splitlines()
    explained = {line.split("=")[0].strip(): sentence for line, sentence in pairwise(lines)}
    assert "new labels" in explained["refined.uri"]
    assert explained["refined.uri"] != explained["output.uri"]


@pytest.mark.parametrize("arguments", [["submit", "--help"], ["submit", "-h"], ["submit", "label", "--help"]])
def test_submit_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: autolabel submit <command>")
    assert "RAY_API_SERVER_ADDRESS" in text
    assert ("input.uri=" in text.partition("exit code")[2]) == ("label" in arguments)


@pytest.mark.parametrize("arguments", [["--version"], ["label", "--version"], ["submit", "--version"]])
def test_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"autolabel {autolabel.__version__}\n"


def test_settings_of_a_file_are_taken_if_it_goes_on_from_the_commands_own(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("threshold: 0.25\n")
    arguments = ["label", "--config-dir", str(tmp_path), "--config-name", "job"]
    bare = run(*arguments, cwd=tmp_path)
    assert bare.returncode == 2
    begin = "begin it with `defaults: [label, _self_]`, from which it goes on"
    assert bare.stderr == f"autolabel label: {job}: {begin}\n"
    job.write_text("defaults: [export, _self_]\n")
    assert f"of another command: {begin}" in run(*arguments, cwd=tmp_path).stderr
    job.write_text("defaults: [label, _self_]\nthreshold: 0.25\n")
    whole = run(*arguments, "--cfg", "job", cwd=tmp_path)
    assert whole.returncode == 0
    assert "threshold: 0.25" in whole.stdout


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
    weights = Path("autolabel", "demo", "demo.safetensors")
    assert (tmp_path / "site" / weights).read_bytes() == (ROOT / weights).read_bytes()
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from autolabel import cli; "
    code += "assert 'site' in cli.__file__; sys.exit(cli.main(['label', '--cfg', 'job', 'prompts=street']))"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "pedestrian" in result.stdout
