"""A mistake that is on this machine is told before torch and Ray are imported."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from autolabel.config import LabelConfig
from autolabel.config.compose import compose_config
from autolabel.errors import BadInput
from autolabel.pipeline.precheck import check_at_first_sight
from tests.support.outputs import labelled_scenes


def config(*overrides: str) -> LabelConfig:
    settings = compose_config("label", list(overrides))
    assert isinstance(settings, LabelConfig)
    return settings


def cpu_s_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_wrong_path_is_told_in_a_second_of_a_core(tmp_path: Path) -> None:
    """It took 5.5 seconds, for imports of what then is not used."""
    code = (
        "import sys; from autolabel.cli import main; "
        "code = main(['label', 'input.uri=nowhere', 'output.uri=out', 'prompts=[a]']); "
        "print(sorted({'torch', 'ray', 'sam3'} & set(sys.modules))); sys.exit(code)"
    )
    before = cpu_s_of_children()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert (result.returncode, result.stdout) == (2, "[]\n")
    assert result.stderr == f"autolabel label: input.uri: {tmp_path}/nowhere does not exist\n"
    assert cpu_s_of_children() - before < 2.5


def test_all_that_is_seen_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "prompts.yaml").write_text("[car, CAR]")
    places = ["input.uri=foto", "output.uri=file", "exemplars.uri=boxes.json", "model.checkpoint=my.pt"]
    with pytest.raises(BadInput) as caught:
        check_at_first_sight(config(*places, "prompts=prompts.yaml"))
    assert caught.value.problems == (
        f"input.uri: {tmp_path}/foto does not exist (did you mean 'photos'?)",
        "exemplars.uri: boxes.json does not exist",
        "model.checkpoint: my.pt does not exist",
        "output.uri: file is a file, and not a folder",
        "prompts.yaml[1] 'CAR': phrase 'CAR' is already that of prompts.yaml[0] 'car'",
    )
    check_at_first_sight(config("input.uri=photos/*.jpg", "output.uri=new"))


def test_objects_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "boxes.json").write_text("{}")
    with pytest.raises(BadInput) as caught:
        check_at_first_sight(config("input.uri=photos", "output.uri=new", "objects.uri=labels/data.yaml"))
    assert caught.value.problems == ("objects.uri: labels/data.yaml does not exist",)
    for there in ("boxes.json", "photos", "s3://bucket/boxes.json"):
        check_at_first_sight(config("input.uri=photos", "output.uri=new", f"objects.uri={there}"))


def test_prompts_beside_objects_are_checked_when_their_categories_are_read(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("[{name: car, threshold: 0.3}, {name: van, phrases: []}]")
    places = [f"input.uri={tmp_path}", f"output.uri={tmp_path}/out", f"prompts={tmp_path}/limits.yaml"]
    check_at_first_sight(config(*places, f"objects.uri={tmp_path}"))
    with pytest.raises(BadInput, match="phrases is an empty list"):
        check_at_first_sight(config(*places))


def test_a_job_that_has_its_plan_needs_its_input_no_more(tmp_path: Path) -> None:
    output = labelled_scenes(tmp_path, count=3)
    check_at_first_sight(config("input.uri=gone.csv", f"output.uri={output.uri}"))
    with pytest.raises(BadInput, match="does not exist"):
        check_at_first_sight(config("input.uri=gone.csv", f"output.uri={tmp_path}/other"))
