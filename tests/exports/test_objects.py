"""Masks of given objects go out with the objects' ids, so that they can be joined to the boxes they came from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from autolabel.output.job_output import JobOutput
from tests.support.jobs import run_export, run_verify
from tests.support.made import box_mask, stored
from tests.support.made_objects import NO_MASK, MadeObject, make_everything_output, make_objects_output

Triple = tuple[str, str, str]  # of an object: file name of its image, its id, and the name of its category

EXPECTED = [
    ("a.jpg", "17", "car"),  # best first
    ("a.jpg", 'a <b> & "c"', "sign"),
    ("b.jpg", "17", "sign"),
]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> JobOutput:
    return make_objects_output(
        str(tmp_path_factory.mktemp("given") / "labels"),
        {
            "a.jpg": [
                MadeObject('a <b> & "c"', 7, box_mask(20, 20, 10, 10), 0.6),
                MadeObject("17", 3, box_mask(0, 0, 10, 10), 0.9),
                MadeObject("nothing", 3, NO_MASK, 0.3),
            ],
            "torn.jpg": None,
            "b.jpg": [MadeObject("17", 7, box_mask(5, 5, 10, 10))],
            "none.jpg": [],
        },
    )


def test_what_the_tests_read_is_right(given: JobOutput) -> None:
    assert run_verify(given.uri).clean
    assert [(name, one.object_id) for name, one in stored(given)] == [(name, id) for name, id, _ in EXPECTED]


def from_coco(folder: Path) -> list[Triple]:
    document = json.loads((folder / "annotations.json").read_bytes())
    return from_coco_tables(document, document["annotations"])


def from_coco_results(folder: Path) -> list[Triple]:
    document = json.loads((folder / "annotations.json").read_bytes())
    return from_coco_tables(document, json.loads((folder / "results.json").read_bytes()))


def from_panoptic(folder: Path) -> list[Triple]:
    document = json.loads((folder / "panoptic.json").read_bytes())
    segments = [{**s, "image_id": a["image_id"]} for a in document["annotations"] for s in a["segments_info"]]
    return from_coco_tables(document, segments)


def from_coco_tables(document: dict[str, Any], annotations: list[dict[str, Any]]) -> list[Triple]:
    file_name = {image["id"]: image["file_name"] for image in document["images"]}
    name = {category["id"]: category["name"] for category in document["categories"]}
    return [(file_name[one["image_id"]], one["object_id"], name[one["category_id"]]) for one in annotations]


def from_sa1b(folder: Path) -> list[Triple]:
    documents = [json.loads(file.read_bytes()) for file in sorted(folder.glob("*.json"))]
    return [
        (document["image"]["file_name"], one["object_id"], one["category"])
        for document in documents
        for one in document["annotations"]
    ]


def from_cvat(folder: Path) -> list[Triple]:
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    found = []
    for image in root.findall("image"):
        for mask in image.findall("mask"):
            attributes = {each.attrib["name"]: each.text for each in mask.findall("attribute")}
            found.append((image.attrib["name"], attributes["object_id"] or "", mask.attrib["label"]))
    return found


def from_label_studio(folder: Path) -> list[Triple]:
    (file,) = folder.glob("tasks-*.json")
    found = []
    for task in json.loads(file.read_bytes()):
        for result in task["predictions"][0]["result"]:
            (object_id,), (label,) = result["meta"]["text"], result["value"]["brushlabels"]
            found.append((Path(task["data"]["uri"]).name, object_id, label))
    return found


def from_huggingface(folder: Path) -> list[Triple]:
    rows = [row for file in sorted(folder.glob("data/*.parquet")) for row in pq.read_table(file).to_pylist()]
    return [
        (Path(row["image"]["path"]).name, object_id, ["car", "sign"][category])
        for row in rows
        for object_id, category in zip(row["objects"]["object_id"], row["objects"]["category"], strict=True)
    ]


@pytest.mark.parametrize(
    ("format", "read"),
    [
        ("coco", from_coco),
        ("coco", from_coco_results),
        ("panoptic", from_panoptic),
        ("sa1b", from_sa1b),
        ("cvat", from_cvat),
        ("label-studio", from_label_studio),
        ("huggingface", from_huggingface),
    ],
)
def test_every_mask_has_the_id_of_its_object(
    format: str, read: Callable[[Path], list[Triple]], given: JobOutput
) -> None:
    run_export(given.uri, f"format={format}")
    assert read(Path(given.uri, format.replace("-", "_"))) == EXPECTED


def test_labels_of_a_cvat_task_have_the_attribute(given: JobOutput) -> None:
    run_export(given.uri, "format=cvat")
    labels = json.loads(Path(given.uri, "cvat", "labels.json").read_bytes())
    assert [(label["name"], [each["name"] for each in label["attributes"]]) for label in labels] == [
        ("car", ["object_id"]),
        ("sign", ["object_id"]),
    ]


def test_an_id_that_xml_cannot_hold_is_left_out_there(tmp_path: Path) -> None:
    output = make_objects_output(str(tmp_path / "labels"), {"a.jpg": [MadeObject("a\0b", 3, box_mask(0, 0, 9, 9))]})
    run_export(output.uri, "format=cvat")
    (mask,) = ElementTree.parse(Path(output.uri, "cvat", "annotations.xml")).getroot().iterfind("image/mask")
    assert list(mask) == []


@pytest.mark.parametrize("format", ["yolo", "semantic"])
def test_formats_without_a_place_for_it_are_written_as_ever(format: str, given: JobOutput) -> None:
    run_export(given.uri, f"format={format}")
    assert any(Path(given.uri, format).iterdir())


def test_sa1b_of_given_objects_has_their_predicted_iou(given: JobOutput) -> None:
    run_export(given.uri, "format=sa1b")
    annotations = json.loads(Path(given.uri, "sa1b", "a.json").read_bytes())["annotations"]
    assert [one["predicted_iou"] for one in annotations] == pytest.approx([0.9, 0.6])
    assert {(one["stability_score"], len(one["point_coords"])) for one in annotations} == {(None, 0)}


def test_sa1b_of_everything_has_what_that_data_set_has(tmp_path: Path) -> None:
    output = make_everything_output(str(tmp_path / "labels"), {"a.jpg": [box_mask(0, 0, 9, 9), box_mask(9, 9, 9, 9)]})
    assert run_verify(output.uri).clean
    run_export(output.uri, "format=sa1b")
    first, second = json.loads(Path(output.uri, "sa1b", "a.json").read_bytes())["annotations"]
    assert (first["predicted_iou"], second["predicted_iou"]) == pytest.approx((0.9, 0.8375))
    assert (first["stability_score"], second["stability_score"]) == (0.9375, 0.9375)
    assert (first["point_coords"], second["point_coords"]) == ([[0.5, 2.5]], [[1.5, 2.5]])
    assert (first["object_id"], first["category"]) == (None, "object")
