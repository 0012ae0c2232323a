"""Given objects, and everything, are in doubt by their predicted IoU and their pieces, and by nothing else."""

from pathlib import Path

import pytest

from autolabel.labels.units import read_columns
from autolabel.output.job_output import JobOutput
from autolabel.review.doubts import unit_doubts
from autolabel.review.queue import ReviewQueue
from tests.support.made import box_mask
from tests.support.made_objects import NO_MASK, MadeObject, make_everything_output, make_objects_output

OUTER, INNER = box_mask(0, 0, 30, 30), box_mask(5, 5, 20, 20)
IN_TWO_PIECES = box_mask(0, 0, 15, 10) | box_mask(20, 0, 5, 10)  # 150 pixels and 50


def reasons_of(output: JobOutput) -> list[tuple[dict[str, float], list[str]]]:
    """Return reasons and categories of each image, in the order of their ids."""
    doubts, overlaps = unit_doubts(read_columns(output.storage, output.uri, 0), output.record)
    names = [category.name for category in output.record.settings.ontology.categories]
    (told,) = ReviewQueue([doubts], overlaps).tables(names)
    return [
        ({name: value for name, value in row["reasons"].items() if value > 1e-6}, row["categories"])
        for row in sorted(told.to_pylist(), key=lambda row: row["image_id"])
    ]


def test_given_objects(tmp_path: Path) -> None:
    images = {
        "sure.jpg": [MadeObject("a", 3, OUTER, 0.95)],
        "one in the other.jpg": [MadeObject("a", 3, OUTER, 0.9), MadeObject("b", 3, INNER, 0.8)],
        "the same of two categories.jpg": [MadeObject("a", 3, OUTER, 0.9), MadeObject("b", 7, OUTER, 0.9)],
        "without a mask.jpg": [MadeObject("a", 7, NO_MASK, 0.3)],
        "in pieces.jpg": [MadeObject("a", 3, IN_TWO_PIECES, 0.95)],
        "nothing given.jpg": [],
    }
    output = make_objects_output(str(tmp_path / "labels"), images, unit_size=10)
    found = dict(zip(images, reasons_of(output), strict=True))
    expected: dict[str, dict[str, float]] = {
        "sure.jpg": {"low_score": 0.05},
        "one in the other.jpg": {"low_score": 0.3},
        "the same of two categories.jpg": {"low_score": 0.2},
        "without a mask.jpg": {"low_score": 0.7},
        "in pieces.jpg": {"low_score": 0.05, "fragmented": 0.25},
        "nothing given.jpg": {},
    }
    assert {name: reasons for name, (reasons, _) in found.items()} == {
        name: pytest.approx(reasons, abs=1e-6) for name, reasons in expected.items()
    }
    assert found["without a mask.jpg"][1] == ["sign"]


def test_everything(tmp_path: Path) -> None:
    output = make_everything_output(str(tmp_path / "labels"), {"a.jpg": [OUTER, INNER, IN_TWO_PIECES], "b.jpg": []})
    (found, categories), (nothing, _) = reasons_of(output)
    assert found == pytest.approx({"low_score": 0.1 + 0.1625 + 0.225, "fragmented": 0.25}, abs=1e-6)
    assert categories == ["object"]
    assert nothing == {}
