"""Running a whole job in a test, and reading what it left."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from autolabel.config.compose import compose_config
from autolabel.exports import export
from autolabel.labels.types import ImageLabels
from autolabel.labels.units import read_columns
from autolabel.output.job_output import JobOutput
from autolabel.output.verify import Verdict, verify
from autolabel.pipeline.job import label


def run_label(input_uri: object, output_uri: object, *overrides: str) -> str:
    """Run `autolabel label` in this process, on the Ray that the test is connected to."""
    return label(compose_config("label", [f"input.uri='{input_uri}'", f"output.uri='{output_uri}'", *overrides]))


def run_verify(output_uri: object, *overrides: str) -> Verdict:
    verdict: Verdict = verify(compose_config("verify", [f"output.uri='{output_uri}'", *overrides]))
    return verdict


def run_export(output_uri: object, *overrides: str) -> str:
    return export(compose_config("export", [f"output.uri='{output_uri}'", *overrides]))


def rows_of(output: Path) -> list[dict[str, Any]]:
    """Return all rows of a local output, by image_id."""
    rows: list[dict[str, Any]] = ds.dataset(output / "labels", format="parquet").to_table().to_pylist()
    return sorted(rows, key=lambda row: row["image_id"])


def images_of(output: JobOutput) -> list[ImageLabels]:
    """Return all rows of an output that is done, by image_id."""
    units = range(output.plan.n_units)
    return [image for unit in units for image in read_columns(output.storage, output.uri, unit).images()]


def statuses(output: Path) -> Counter[str]:
    return Counter(row["status"] for row in rows_of(output))


def assert_same_labels(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """Assert equal rows, masks and all, but for the last digits of scores: they depend on what shares a batch."""
    for key in expected.keys() - {"prompts", "instances", "candidates", "image_id", "uri"}:
        assert actual[key] == expected[key], key
    for key in ("prompts", "instances", "candidates"):
        assert len(actual[key]) == len(expected[key])
        for instance, other in zip(actual[key], expected[key], strict=True):
            for field, value in other.items():
                near = field in ("score", "presence", "best_score")
                assert instance[field] == (pytest.approx(value, abs=1e-5) if near else value), field
