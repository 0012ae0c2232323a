"""Given objects in a report: how many there are, and those of which the model is least sure."""

import re
from pathlib import Path

import pytest

from autolabel.config.compose import compose_config
from autolabel.labels.units import read_columns
from autolabel.output.job_output import JobOutput
from autolabel.report import report
from autolabel.report.given_objects import SHOWN, GivenObjects, ObjectRow, given_objects_of
from tests.support.made import box_mask
from tests.support.made_objects import NO_MASK, MadeObject, make_everything_output, make_objects_output

SMALL = box_mask(0, 0, 9, 9)
SCORES = [0.9, 0.2, 0.95, 0.6]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> JobOutput:
    """Two units: labels of four scores, an object without a mask, and many sure ones."""
    images = {
        "a.jpg": [MadeObject(f"<{n}>", 3, SMALL, score) for n, score in enumerate(SCORES)],
        "torn.jpg": None,
        "b.jpg": [MadeObject("nothing", 7, NO_MASK, 0.4)],
        "c.jpg": [MadeObject(str(n), 7, SMALL, 0.99) for n in range(SHOWN)],
    }
    return make_objects_output(str(tmp_path_factory.mktemp("given") / "labels"), images)


def of_unit(output: JobOutput, unit: int) -> GivenObjects:
    return given_objects_of(read_columns(output.storage, output.uri, unit))


def test_the_lowest_predicted_iou_comes_first(output: JobOutput) -> None:
    found = of_unit(output, 0)
    assert (found.n, found.n_labels) == (5, 4)
    assert [row.object_id for row in found.lowest] == ["<1>", "nothing", "<3>", "<0>", "<2>"]
    assert [row.is_label for row in found.lowest] == [True, False, True, True, True]
    assert found.lowest[1] == ObjectRow(
        predicted_iou=pytest.approx(0.4),  # type: ignore[arg-type]  # equal to it
        uri="/photos/b.jpg",
        object_id="nothing",
        category_id=7,
        presence=0.75,
        is_label=False,
    )


def test_of_several_units_the_lowest_of_all_are_shown(output: JobOutput) -> None:
    both = of_unit(output, 0) + of_unit(output, 1)
    assert both == of_unit(output, 1) + of_unit(output, 0) + GivenObjects()
    assert (both.n, both.n_labels, len(both.lowest)) == (5 + SHOWN, 4 + SHOWN, SHOWN)
    assert list(both.lowest) == sorted(both.lowest)
    assert [row.object_id for row in both.lowest[:4]] == ["<1>", "nothing", "<3>", "<0>"]
    assert {row.object_id for row in both.lowest} >= {"0", "1"}  # of the other unit


def section_of(output: JobOutput) -> str | None:
    report(compose_config("report", [f"output.uri='{output.uri}'"]))
    page = Path(output.uri, "report", "index.html").read_text()
    assert "Looked for" in page
    found = re.search(r'<section id="objects".*?</section>', page, re.DOTALL)
    return found and found[0]


def test_the_page_has_a_row_for_each(output: JobOutput) -> None:
    section = section_of(output)
    assert section is not None
    assert f"{5 + SHOWN} objects were given, {4 + SHOWN} of them have a label." in section
    assert f"The {SHOWN} that the model is least sure of, the lowest predicted IoU first." in section
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)]
    assert rows[1:4] == [
        ["0.20", "0.75", "<bdi>&lt;1&gt;</bdi>", "<bdi>car</bdi>", "<bdi>a.jpg</bdi>", "yes"],
        ["0.40", "0.75", "<bdi>nothing</bdi>", "<bdi>sign</bdi>", "<bdi>b.jpg</bdi>", "no"],
        ["0.60", "0.75", "<bdi>&lt;3&gt;</bdi>", "<bdi>car</bdi>", "<bdi>a.jpg</bdi>", "yes"],
    ]
    assert len(rows) == 1 + SHOWN


def test_a_report_of_everything_has_no_such_section(tmp_path: Path) -> None:
    output = make_everything_output(str(tmp_path / "labels"), {"a.jpg": [SMALL]})
    assert of_unit(output, 0) == GivenObjects()
    assert section_of(output) is None
    assert "everything, by 4 x 4 points" in Path(output.uri, "report", "index.html").read_text()
