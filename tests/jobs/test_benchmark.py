"""The benchmarks run, and what they count without measuring stays within its bounds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

JOBS = Path(__file__).parents[2] / "jobs"
BOUNDS_TFLOP = {1: 6.05, 4: 7.0, 16: 10.1, 80: 26.5}  # by prompts


def benchmark(*arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(JOBS / "benchmark.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_operations_at_full_size() -> None:
    lines = benchmark("flops")
    assert {line["prompts"] for line in lines} == BOUNDS_TFLOP.keys()
    for line in lines:
        assert line["tflop_per_image"] <= BOUNDS_TFLOP[line["prompts"]]
        assert line["tflop_per_image"] < line["plain_tflop_per_image"]
    assert lines[0]["plain_tflop_per_image"] == pytest.approx(6.0, abs=0.1)  # the counting itself
    assert lines[-1]["plain_tflop_per_image"] == pytest.approx(39.6, abs=0.2)


@pytest.mark.slow
def test_the_engine_and_what_it_is_measured_against_find_the_same() -> None:
    lines = benchmark("engine", "--model", "tiny", "--prompts", "1", "4", "--images", "1")
    assert [line["way"] for line in lines] == ["ours", "processor", "datapoint"] * 2
    assert {line["instances"] for line in lines[:3]} == {10}
    assert {line["instances"] for line in lines[3:]} == {30}
    assert lines[3]["over_processor"] > 1


def test_the_engine_is_measured_without_ray_hydra_and_pyarrow() -> None:
    program = "import sys, benchmarks.engine; print(sorted({'ray', 'hydra', 'pyarrow'} & set(sys.modules)))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=JOBS)
    assert done.stdout == "[]\n"


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


def test_an_unknown_case_or_option_is_an_error() -> None:
    for arguments in (["nothing"], ["flops", "--images", "3"]):
        command = [sys.executable, str(JOBS / "benchmark.py"), *arguments]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 2
