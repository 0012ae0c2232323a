"""The benchmarks run, and what they count without measuring stays within its bounds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from autolabel.review.reasons import REASONS

JOBS = Path(__file__).parents[2] / "jobs"
BOUNDS_TFLOP = {1: 6.05, 4: 7.0, 16: 9.9, 80: 25.7}  # by prompts
BOUNDS_TRAFFIC = {  # in bfloat16: gigabytes of each, launches of all together
    "image": (27.9, 867),
    "pair": (3.7, 1012),
    "pair with masks, three of an image": (1.6, 64),
    "pair with masks, one of an image": (2.5, 56),
}
ABSENT = ("ray", "hydra", "omegaconf", "pyarrow", "fsspec", "s3fs", "botocore", "orjson", "scipy", "matplotlib", "cv2")


def benchmark(*arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(JOBS / "benchmark.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_operations_and_traffic_at_full_size() -> None:
    """Launches of a stage and bytes of a pair are no more than before the position bias was written once."""
    lines = benchmark("flops")
    operations = [line for line in lines if "prompts" in line]
    assert {line["prompts"] for line in operations} == BOUNDS_TFLOP.keys()
    for line in operations:
        assert line["tflop_per_image"] <= BOUNDS_TFLOP[line["prompts"]]
        assert line["tflop_per_image"] < line["plain_tflop_per_image"]
    assert operations[0]["plain_tflop_per_image"] == pytest.approx(6.0, abs=0.1)  # the counting itself
    assert operations[-1]["plain_tflop_per_image"] == pytest.approx(39.6, abs=0.2)
    traffic = {line["of"]: line for line in lines if line.get("precision") == "bfloat16"}
    assert traffic.keys() == BOUNDS_TRAFFIC.keys()
    for stage, (gb, launches) in BOUNDS_TRAFFIC.items():
        assert 0.5 * gb < traffic[stage]["gb"] <= gb
        assert 0.5 * launches < traffic[stage]["launches"] <= launches


@pytest.mark.slow
def test_the_engine_and_what_it_is_measured_against_find_the_same() -> None:
    lines = benchmark("engine", "--model", "tiny", "--prompts", "1", "4", "--images", "1")
    assert [line["way"] for line in lines] == ["ours", "segment", "processor", "datapoint"] * 2
    assert {line["instances"] for line in lines[:4]} == {10}
    assert {line["instances"] for line in lines[4:]} == {30}
    assert lines[6]["ours_over"] > 1
    assert all(0 < line["matmul_share"] < 1 for line in lines if line["way"] == "segment")


@pytest.mark.long
def test_a_gpu_is_measured_with_torch_and_little_more(tmp_path: Path) -> None:
    """Here on a CPU, which it says."""
    arguments = ["gpu", "--cpu", "--eager", "--model", "tiny", "--prompts", "1", "4", "--images", "2"]
    out = tmp_path / "gpu.json"
    program = (
        f"import runpy, sys; sys.modules |= dict.fromkeys({ABSENT}); sys.argv[1:] = {[*arguments, '--out', str(out)]}"
    )
    program += f"; sys.path[0] = {str(JOBS)!r}; runpy.run_path({str(JOBS / 'benchmark.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    lines = json.loads(out.read_text())
    assert done.stdout.startswith("".join(json.dumps(line) + "\n" for line in lines))
    assert "a CPU: the script is tried" in lines[0]["note"]
    same = [line for line in lines if line["part"] == "same"]
    assert len(same) == 3
    assert all(line["agrees"] and line["instances"] > 100 for line in same)
    assert [line["largest_score_difference"] for line in same[:2]] == [0, 0]
    assert same[2]["largest_score_difference"] > 0  # it was narrower
    ways = {line["way"] for line in lines if line["part"] == "speed"}
    assert ways == {"segment, eager", "with masks, eager", "Meta's processor", "Meta's datapoint"}
    assert len([line for line in lines if line["part"] == "speed"]) == 2 * len(ways)
    assert {line["part"] for line in lines} == {"machine", "same", "speed", "host", "attention"}
    header, *rows = done.stdout.splitlines()[len(lines) + 1 :]
    assert header.startswith("images/s")
    assert len(rows) == len(ways)


@pytest.mark.long
def test_what_there_is_no_time_for_is_named() -> None:
    arguments = ["gpu", "--cpu", "--model", "tiny", "--prompts", "1", "--images", "1", "--minutes", "0"]
    command = [sys.executable, str(JOBS / "benchmark.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    for part in ("the full model is the same", "eager, 1 prompts", "processor, 1 prompts", "compiled, 1 prompts"):
        assert f"skipped, no time left: {part}" in done.stdout


@pytest.mark.long
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured_in_its_place() -> None:
    command = [sys.executable, str(JOBS / "benchmark.py"), "gpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "torch finds no GPU here" in done.stderr


@pytest.mark.slow
def test_an_export_is_measured_in_a_process_of_its_own() -> None:
    lines = benchmark("exports", "--images", "300", "--formats", "coco", "instances")
    assert [line["format"] for line in lines] == ["coco", "instances"]
    for line in lines:
        assert line["instances"] > 3000
        assert 50 < line["peak_mb"] < 700


@pytest.mark.slow
def test_bookkeeping_is_measured_step_by_step() -> None:
    lines = benchmark("scale", "--images", "30000")
    told = {line["step"]: line["told"] for line in lines}
    assert list(told) == ["plan", "resume", "status", "verify", "export"]
    assert told["resume"] == "100 of 118 units are missing"
    assert told["status"].startswith("4608 of 30000 images")
    assert told["verify"].startswith("30000 images: ")
    assert told["verify"].endswith("0 missing, 0 duplicated")
    assert all(50 < line["peak_mb"] < 700 for line in lines)


@pytest.mark.long
def test_images_with_more_mistakes_come_first_in_the_review() -> None:
    figures, *orders = benchmark("review", "--scenes", "120", "--seed", "22")
    spearman = {line["order"]: line["spearman"] for line in orders}
    combined = spearman.pop("combined")
    assert set(spearman) == set(REASONS)
    assert combined >= 0.7
    assert combined > max(spearman.values()) - 0.02  # of 120 scenes; of 800 it is more than each
    assert orders[0]["later_with_more"] == []
    assert figures["expected_per_image"] == pytest.approx(figures["total_per_image"], rel=0.25)
    kinds = ("missed_per_image", "false_per_image", "wrong_masks_per_image")
    assert figures["total_per_image"] == pytest.approx(sum(figures[kind] for kind in kinds), abs=0.01)


def test_an_unknown_case_or_option_is_an_error() -> None:
    for arguments in (["nothing"], ["flops", "--images", "3"]):
        command = [sys.executable, str(JOBS / "benchmark.py"), *arguments]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 2
