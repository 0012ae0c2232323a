"""Objects in a manifest's column, as lists and as JSON."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from autolabel.config import ObjectsConfig
from autolabel.errors import BadInput
from autolabel.prompts.objects.cells import read_names, read_objects
from autolabel.prompts.objects.source import GivenObjects
from autolabel.prompts.objects.table import CORNER, OPPOSITE, POSITIVE, ObjectPrompt
from autolabel.prompts.ontology import Category, Ontology
from tests.support.given_objects import SIZE_HW, Probe, by_name, input_images, probe_of_torn, unwanted_probe

ONTOLOGY = Ontology(
    categories=(Category(id=1, name="car", phrases=()), Category(id=2, name="traffic light", phrases=()))
)
NAMES = ("a.jpg", "b.jpg")
A, B = "/in/a.jpg", "/in/b.jpg"
CAR = {"category": "car", "bbox": [10, 20, 30, 40]}
AS_CORNERS = pytest.approx(np.array([(0.1, 0.25), (0.4, 0.75)]))
PLACE = "boxes of /in/a.jpg[0]"
TWICE = "another one of this image has the same id; parts of one object say so by object_id"


def given(cells: Mapping[str, Any], probe: Probe = unwanted_probe, sizes_hw: Any = None, **config: Any) -> GivenObjects:
    sizes = dict.fromkeys((A, B), SIZE_HW) if sizes_hw is None else sizes_hw
    return read_objects(
        cells, sizes, ONTOLOGY, ObjectsConfig(column="boxes", **config), input_images(*NAMES, probe=probe)
    )


def read(cells: Mapping[str, Any], *args: Any, **config: Any) -> dict[str, list[ObjectPrompt]]:
    return dict(by_name(given(cells, *args, **config), input_images(*NAMES)))


def problems_of(cells: Mapping[str, Any], *args: Any, **config: Any) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read(cells, *args, **config)
    return list(caught.value.problems)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_cell_is_a_list_or_its_json(as_json: bool) -> None:
    entries = [CAR, {"id": "x", "category": " traffic  light", "points": [[50, 40]], "bbox": None}, CAR]
    (found,) = read({B: json.dumps(entries) if as_json else entries}).values()
    assert [(each.object_id, each.category_id, each.labels) for each in found] == [
        ("0", 1, (CORNER, OPPOSITE)),
        ("x", 2, (POSITIVE,)),
        ("2", 1, (CORNER, OPPOSITE)),
    ]
    assert np.array(found[0].points_xy) == AS_CORNERS


@pytest.mark.parametrize("cell", [None, "", "  ", "[]", [], float("nan")])
def test_a_cell_may_be_empty(cell: Any) -> None:
    assert read({A: cell, B: [CAR]}).keys() == {"b.jpg"}


def test_ids_that_parquet_has_as_null_are_none() -> None:
    entry = {**CAR, "id": None, "points": None, "segmentation": None, "object_id": None}
    assert [each.object_id for each in read({A: [entry, entry]})["a.jpg"]] == ["0", "1"]


def test_parts_of_one_object() -> None:
    parts = [{**CAR, "object_id": "train"}, {**CAR, "object_id": "train"}]
    assert [each.object_id for each in read({A: parts})["a.jpg"]] == ["train", "train"]


# --- sizes ---


def test_sizes_that_the_manifest_states_are_those_that_boxes_were_drawn_on() -> None:
    found = given({A: [CAR]}, sizes_hw={A: SIZE_HW})
    assert found.sizes_hw == {0: SIZE_HW}


def test_other_sizes_are_read_from_the_images() -> None:
    asked: list[str] = []

    def probe(uri: str) -> tuple[int, int]:
        asked.append(uri)
        return SIZE_HW

    cells = {A: [CAR, CAR], B: [CAR]}
    assert given(cells, probe, sizes_hw={A: SIZE_HW}).sizes_hw == {0: SIZE_HW, 1: SIZE_HW}
    assert asked == [B]


def test_fractions_need_no_size() -> None:
    cell = [{"category": "car", "bbox": [0.1, 0.25, 0.3, 0.5]}]
    found = given({A: cell}, sizes_hw={}, normalized=True)
    assert found.sizes_hw == {}
    assert np.array(by_name(found, input_images(*NAMES))["a.jpg"][0].points_xy) == AS_CORNERS


def test_an_image_that_cannot_be_probed_is_told() -> None:
    assert problems_of({A: [CAR, CAR], B: [CAR]}, probe_of_torn, sizes_hw={B: SIZE_HW}) == [
        "boxes of /in/a.jpg: its size is not stated and cannot be read: truncated: JPEG"
    ]


# --- problems ---


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        pytest.param([3], f"{PLACE}: expected an object with category and bbox or points, not 3", id="no object"),
        pytest.param([{"bbox": [1, 2, 3, 4]}], f"{PLACE}: category is None, not a name", id="no category"),
        pytest.param([{**CAR, "category": 7}], f"{PLACE}: category is 7, not a name", id="number as category"),
        pytest.param([{**CAR, "bbx": 1}], f"{PLACE}: unknown field 'bbx' (did you mean 'bbox'?)", id="mistyped field"),
        pytest.param([{**CAR, "xyz": 1}], f"{PLACE}: unknown field 'xyz'", id="unknown field"),
        pytest.param(
            [{"category": "car"}], f"{PLACE}: has neither bbox nor points: nothing says where the object is", id="bare"
        ),
        pytest.param(
            [{**CAR, "id": "x"}, {**CAR, "id": "x"}],
            f"object 'x' of /in/a.jpg: {TWICE}",
            id="two of one id",
        ),
    ],
)
def test_a_problem_is_told_with_its_place(cell: Any, expected: str) -> None:
    assert problems_of({A: cell}) == [expected]


def test_problems_of_all_cells_are_told_together() -> None:
    cells = {A: [CAR, {"category": "car", "bbox": [1], "label": 1}], B: [{**CAR, "bbox": None}]}
    assert [problem.partition(":")[0] for problem in problems_of(cells)] == [
        "boxes of /in/a.jpg[1]",
        "boxes of /in/a.jpg[1]",
        "boxes of /in/b.jpg[0]",
    ]


# --- categories ---


def test_categories_are_by_name_whatever_the_order_of_rows() -> None:
    first, second = [{"category": "zebra"}, {"category": "Ape "}], json.dumps([{"category": "ape"}, {"category": 3}, 4])
    expected = [{"name": "Ape"}, {"name": "ape"}, {"name": "zebra"}]
    assert read_names({A: first, B: second}, "boxes") == expected
    assert read_names({B: second, A: first}, "boxes") == expected


def test_cells_that_are_no_lists_are_told_together() -> None:
    with pytest.raises(BadInput) as caught:
        read_names({A: "[1,", B: 3, "/in/c.jpg": [CAR]}, "boxes")
    assert list(caught.value.problems) == [
        "boxes of /in/a.jpg: not JSON: Expecting value: line 1 column 4 (char 3)",
        "boxes of /in/b.jpg: expected a list of objects, not 3",
    ]
