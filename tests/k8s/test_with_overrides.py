"""Lines of a ConfigMap as arguments, untouched, and the script's own exit code and signals."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.k8s.manifests import IMAGE, K8S

WITH_OVERRIDES = [sys.executable, str(IMAGE / "with_overrides.py")]
ECHO = "import json, sys; print(json.dumps(sys.argv[1:])); sys.exit(int(sys.argv[1]))"


def run(tmp_path: Path, overrides: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "overrides").write_text(overrides, "utf-8")
    (tmp_path / "echo.py").write_text(ECHO)
    command = [*WITH_OVERRIDES, str(tmp_path / "overrides"), str(tmp_path / "echo.py")]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    "line",
    [
        "prompts=[person, red car]",
        "input.uri='photos/a, b'",
        'prompts=["it\'s", "a \\"quote\\""]',
        "input.uri=s3://bucket/$HOME/`id`/*;&|<>\\",
        "output.uri=s3://bucket/part-${oc.env:JOB_COMPLETION_INDEX}",
        "prompts=[Straßenbahn, 電車]",
        "threshold=0.5 # not a comment",
    ],
)
def test_a_line_is_an_argument_as_it_stands(tmp_path: Path, line: str) -> None:
    assert json.loads(run(tmp_path, f"0\n{line}\n").stdout) == ["0", line]


def test_comments_blank_lines_and_the_ends_of_lines_are_left_out(tmp_path: Path) -> None:
    text = "# what it is\r\n0\r\n\r\n  model=sam3  \n\t# more\nthreshold=0.5"
    assert json.loads(run(tmp_path, text).stdout) == ["0", "model=sam3", "threshold=0.5"]


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_the_exit_code_is_the_scripts(tmp_path: Path, code: int) -> None:
    assert run(tmp_path, str(code)).returncode == code


def test_a_signal_reaches_the_script(tmp_path: Path) -> None:
    (tmp_path / "overrides").write_text("")
    (tmp_path / "wait.py").write_text(
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    command = [*WITH_OVERRIDES, str(tmp_path / "overrides"), str(tmp_path / "wait.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 7


def test_the_label_job_refuses_bad_overrides_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "overrides").write_text("threshold=2\n")
    command = [*WITH_OVERRIDES, str(tmp_path / "overrides"), str(K8S.parent / "jobs" / "label.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "input.uri: required" in done.stderr
