"""Objects of YOLO data sets: names, lines, polygons, and which label file is of which image."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolabel.config import ObjectsConfig
from autolabel.errors import BadInput
from autolabel.masks.rle import decode
from autolabel.prompts.objects.source import InputImages
from autolabel.prompts.objects.table import CORNER, OPPOSITE, ObjectPrompt
from autolabel.prompts.objects.yolo import read_names, read_objects
from autolabel.storage import open_storage
from tests.support.given_objects import SIZE_HW, by_name, input_images, probe_of_torn

CATEGORY_IDS = (1, 2, 8)  # of classes 0, 1 and 7
BOX = "0 0.25 0.5 0.3 0.5"
AS_CORNERS = pytest.approx(np.array([(0.1, 0.25), (0.4, 0.75)]), abs=1e-6)


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path, images: InputImages, **config: Any) -> dict[str, list[ObjectPrompt]]:
    storage = open_storage(str(folder), {})
    found = read_objects(str(folder), storage, CATEGORY_IDS, ObjectsConfig(**config), images)
    return dict(by_name(found, images))


def objects_of(folder: Path, text: str, **config: Any) -> list[ObjectPrompt]:
    """Return the objects of one label file."""
    write(folder, {"a.txt": text})
    images = input_images("a.jpg", probe=lambda uri: SIZE_HW)
    return read(folder, images, **config).get("a.jpg", [])


def problems_of(folder: Path, images: InputImages, **config: Any) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read(folder, images, **config)
    return list(caught.value.problems)


# --- data.yaml ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("names: [car, sign]", [{"id": 1, "name": "car"}, {"id": 2, "name": "sign"}], id="list"),
        pytest.param(
            "nc: 2\nnames:\n  7: sign\n  0: car\n", [{"id": 1, "name": "car"}, {"id": 8, "name": "sign"}], id="map"
        ),
    ],
)
def test_class_n_is_category_n_plus_1(text: str, expected: Any) -> None:
    assert read_names(text, "data.yaml") == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "nc: 2", "names is None, not a list of names or a mapping of numbers to names", id="without names"
        ),
        pytest.param("names: []", "names is [], not a list of names or a mapping of numbers to names", id="no names"),
        pytest.param("- car", "names is None, not a list of names or a mapping of numbers to names", id="a list"),
        pytest.param("names: {car: 0}", "names: class 'car' is not a number from 0", id="the other way round"),
        pytest.param("names: {-1: car}", "names: class -1 is not a number from 0", id="below 0"),
        pytest.param("names: {yes: car}", "names: class True is not a number from 0", id="boolean"),
    ],
)
def test_names_that_are_none(text: str, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_names(text, "data.yaml")
    assert caught.value.problems == (f"data.yaml: {problem}",)


def test_a_data_yaml_that_is_no_yaml() -> None:
    with pytest.raises(BadInput, match=r"^data\.yaml: not YAML: "):
        read_names("names: [car", "data.yaml")


# --- lines ---


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(BOX, id="box"),
        pytest.param(f"{BOX} 0.87", id="box with confidence"),
        pytest.param("0 0.1 0.25 0.4 0.25 0.4 0.75", id="triangle"),
        pytest.param("0 0.1 0.25 0.4 0.3 0.35 0.75 0.2 0.7", id="polygon of four points"),
    ],
)
def test_a_line_is_a_box(line: str, tmp_path: Path) -> None:
    (found,) = objects_of(tmp_path, line)
    assert (found.object_id, found.category_id, found.labels, found.mask) == ("0", 1, (CORNER, OPPOSITE), None)
    assert np.array(found.points_xy) == AS_CORNERS


def test_an_object_is_called_by_its_line(tmp_path: Path) -> None:
    found = objects_of(tmp_path, f"{BOX}\n\n  \n7 0.5 0.5 0.1 0.1\n{BOX}\n")
    assert [(each.object_id, each.category_id) for each in found] == [("0", 1), ("3", 8), ("4", 1)]


def test_boxes_are_fractions_whatever_the_settings_say(tmp_path: Path) -> None:
    (found,) = objects_of(tmp_path, BOX, box_format="xyxy", normalized=False)
    assert np.array(found.points_xy) == AS_CORNERS


def test_a_polygon_is_a_mask_to_refine_where_that_is_asked_for(tmp_path: Path) -> None:
    polygon, box = objects_of(tmp_path, f"0 0.1 0.25 0.4 0.25 0.4 0.75 0.1 0.75\n{BOX}", use_masks=True)
    expected = np.zeros(SIZE_HW, bool)
    expected[20:60, 10:40] = True
    assert polygon.mask is not None
    assert np.array_equal(decode(polygon.mask), expected)
    assert box.mask is None


def test_an_image_whose_size_cannot_be_read_for_masks_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": BOX})
    images = input_images("a.jpg", probe=probe_of_torn)
    assert read(tmp_path, images).keys() == {"a.jpg"}
    assert problems_of(tmp_path, images, use_masks=True) == ["/in/a.jpg: its size cannot be read: truncated: JPEG"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("2 0.5 0.5 0.1 0.1", "class '2' is not one of data.yaml's", id="unknown class"),
        pytest.param("-1 0.5 0.5 0.1 0.1", "class '-1' is not one of data.yaml's", id="negative class"),
        pytest.param("car 0.5 0.5 0.1 0.1", "class 'car' is not one of data.yaml's", id="name"),
        pytest.param("0 0.5 x 0.1 0.1", "'0 0.5 x 0.1 0.1' is not a line of numbers", id="text"),
        pytest.param("0 0.5", "1 numbers behind the class: a box has 4, a polygon two for each point", id="too few"),
        pytest.param("0", "0 numbers behind the class: a box has 4, a polygon two for each point", id="class alone"),
        pytest.param(
            "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7",
            "7 numbers behind the class: a box has 4, a polygon two for each point",
            id="odd polygon",
        ),
        pytest.param("0 0.5 0.5 0.1 0", "box [0.5, 0.5, 0.1, 0.0] as cxcywh has no area", id="flat box"),
        pytest.param(
            "0 0.1 0.2 nan 0.4 0.5 0.6",
            "'0 0.1 0.2 nan 0.4 0.5 0.6' is not a line of finite numbers",
            id="nan in a polygon",
        ),
        pytest.param("0 0.5 0.5 inf 0.1", "'0 0.5 0.5 inf 0.1' is not a line of finite numbers", id="infinite"),
    ],
)
def test_a_bad_line_is_told_with_its_number(line: str, problem: str, tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": f"{BOX}\n\n{line}\n"})
    assert problems_of(tmp_path, input_images("a.jpg")) == [f"{tmp_path}/a.txt line 3: {problem}"]


def test_bad_lines_of_all_files_are_told_together(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": f"9 0.5\n{BOX}\n0 1", "b.txt": "x"})
    told = problems_of(tmp_path, input_images("a.jpg", "b.jpg"))
    assert [problem.partition(":")[0] for problem in told] == [
        f"{tmp_path}/a.txt line 1",
        f"{tmp_path}/a.txt line 3",
        f"{tmp_path}/b.txt line 1",
    ]


# --- which label file is of which image ---


def test_labels_beside_images_are_matched_as_trainers_do(tmp_path: Path) -> None:
    """`images` takes the place of the last `labels`, wherever the data.yaml lies."""
    names = ("images/train/a.jpg", "images/val/a.png", "more.labels/labels/images/b.c.jpg")
    write(
        tmp_path,
        {"labels/train/a.txt": BOX, "labels/val/a.txt": f"{BOX}\n{BOX}", "more.labels/labels/labels/b.c.txt": BOX},
    )
    found = read(tmp_path, input_images(*names, root=str(tmp_path)))
    assert {name: len(objects) for name, objects in found.items()} == dict(zip(names, (1, 2, 1), strict=True))


@pytest.mark.parametrize("label_file", ["labels/train/a.txt", "train/labels/a.txt", "train/a.txt"])
def test_labels_elsewhere_are_matched_by_their_path(label_file: str, tmp_path: Path) -> None:
    write(tmp_path, {label_file: BOX})
    images = input_images("train/images/a.jpg", "val/images/a.jpg", "a.jpg", root="s3://bucket/in")
    assert list(read(tmp_path, images)) == ["train/images/a.jpg"]


def test_label_files_without_an_image_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"a.txt": BOX, "b.txt": "no line of numbers", "classes.txt": "car\n", "notes.md": "notes"})
    with caplog.at_level(logging.WARNING):
        assert list(read(tmp_path, input_images("a.jpg", "c.jpg"))) == ["a.jpg"]
    assert "left out, 2 label files without an image in the input: " in caplog.text
    assert "classes.txt" in caplog.text


def test_an_empty_label_file_says_that_there_is_nothing(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "", "b.txt": BOX})
    assert list(read(tmp_path, input_images("a.jpg", "b.jpg"))) == ["b.jpg"]


def test_two_label_files_of_one_image_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"labels/a.txt": BOX, "a.txt": BOX})
    assert problems_of(tmp_path, input_images("a.jpg")) == [
        f"objects.uri: {tmp_path}/a.txt and {tmp_path}/labels/a.txt are both of /in/a.jpg"
    ]


@pytest.mark.parametrize(
    ("files", "n_files"), [({"x.txt": BOX}, "1 label file"), ({"data.yaml": "names: [car]"}, "0 label files")]
)
def test_a_folder_of_other_images_is_refused(files: Mapping[str, str], n_files: str, tmp_path: Path) -> None:
    write(tmp_path, files)
    (problem,) = problems_of(tmp_path, input_images("a.jpg"))
    assert problem.startswith(f"objects.uri: {n_files} below {tmp_path}, none of an image of the input")
