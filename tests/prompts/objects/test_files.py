"""Where objects are: which reader reads them, what is told where they are not, and what tells one file from another."""

import json
from pathlib import Path
from typing import Any

import pytest

from autolabel.config import ObjectsConfig
from autolabel.errors import BadInput
from autolabel.prompts.objects.files import ObjectColumn, ObjectFile
from autolabel.prompts.objects.limits import with_limits
from tests.support.given_objects import SIZE_HW, by_name, input_images

BOX = "0 0.25 0.5 0.3 0.5\n"


def write_coco(path: Path, **fields: Any) -> Path:
    annotation = {"id": 3, "image_id": 1, "category_id": 5, "bbox": [10, 20, 30, 40]} | fields
    images = [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}]
    document = {"images": images, "categories": [{"id": 5, "name": "car"}], "annotations": [annotation]}
    path.write_text(json.dumps(document))
    return path


def write_yolo(folder: Path) -> Path:
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text(BOX)
    (folder / "data.yaml").write_text("names: [car]")
    return folder


def read(source: ObjectFile | ObjectColumn) -> list[tuple[str, str, str]]:
    """Return image, id and category of each object."""
    ontology = with_limits(source.categories(), place=source.place, prompts=[], prompts_place="prompts")
    images = input_images("a.jpg", "b.jpg")
    found = by_name(source.read(ontology, ObjectsConfig(), images), images)
    return [
        (name, one.object_id, ontology.by_id[one.category_id].name)
        for name, objects in found.items()
        for one in objects
    ]


@pytest.mark.parametrize("name", ["boxes.json", "BOXES.JSON"])
def test_a_json_file_is_coco(name: str, tmp_path: Path) -> None:
    source = ObjectFile(str(write_coco(tmp_path / name)), {})
    assert list(source.categories()) == [{"id": 5, "name": "car"}]
    assert read(source) == [("a.jpg", "3", "car")]


@pytest.mark.parametrize("below", ["", "data.yaml"])
def test_a_data_yaml_or_its_folder_is_yolo(below: str, tmp_path: Path) -> None:
    source = ObjectFile(str(write_yolo(tmp_path) / below), {})
    assert list(source.categories()) == [{"id": 1, "name": "car"}]
    assert read(source) == [("a.jpg", "0", "car")]


def test_a_data_yaml_may_have_another_name(tmp_path: Path) -> None:
    (write_yolo(tmp_path) / "data.yaml").rename(tmp_path / "coco128.yml")
    assert read(ObjectFile(f"{tmp_path}/coco128.yml", {})) == [("a.jpg", "0", "car")]


def test_a_column_of_a_manifest() -> None:
    cells = {"/in/b.jpg": [{"category": "car", "bbox": [10, 20, 30, 40], "id": "x"}]}
    source = ObjectColumn("boxes", "photos.csv", cells, {"/in/b.jpg": SIZE_HW})
    assert source.place == "boxes of photos.csv"
    assert read(source) == [("b.jpg", "x", "car")]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("boxes.json", "does not exist", id="file"),
        pytest.param("elsewhere", "is neither COCO's .json nor has it a data.yaml", id="folder"),
        pytest.param("there", "is neither COCO's .json nor has it a data.yaml", id="folder without data.yaml"),
        pytest.param("there/boxes.txt", "is neither COCO's .json nor has it a data.yaml", id="file of another kind"),
        pytest.param("there/data.yaml", "is neither COCO's .json nor has it a data.yaml", id="data.yaml"),
    ],
)
def test_what_is_not_there_is_told(name: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "boxes.txt").write_text(BOX)
    with pytest.raises(BadInput) as caught:
        ObjectFile(f"{tmp_path}/{name}", {}).categories()
    assert caught.value.problems == (f"objects.uri: {tmp_path}/{name} {problem}",)


# --- what tells one from another ---


def test_a_changed_coco_file_is_another(tmp_path: Path) -> None:
    source = ObjectFile(str(write_coco(tmp_path / "boxes.json")), {})
    before = source.sha256()
    assert source.sha256() == before
    write_coco(tmp_path / "boxes.json", id=4)
    assert source.sha256() != before


@pytest.mark.parametrize(
    ("changed", "text", "is_another"),
    [
        pytest.param("labels/a.txt", BOX.replace("0.25", "0.26"), True, id="label of the same length"),
        pytest.param("labels/b.txt", "", True, id="new label file"),
        pytest.param("data.yaml", "names: [bus]", True, id="names"),
        pytest.param("images/a.jpg", "pixels", False, id="image"),
        pytest.param("README.md", "read me", False, id="what is no label file"),
    ],
)
def test_a_changed_label_file_makes_another_data_set(changed: str, text: str, is_another: bool, tmp_path: Path) -> None:
    source = ObjectFile(str(write_yolo(tmp_path)), {})
    before = source.sha256()
    assert ObjectFile(f"{tmp_path}/data.yaml", {}).sha256() == before
    (tmp_path / changed).parent.mkdir(exist_ok=True)
    (tmp_path / changed).write_text(text)
    assert (source.sha256() != before) == is_another


def test_a_renamed_label_file_makes_another_data_set(tmp_path: Path) -> None:
    source = ObjectFile(str(write_yolo(tmp_path)), {})
    before = source.sha256()
    (tmp_path / "labels" / "a.txt").rename(tmp_path / "labels" / "b.txt")
    assert source.sha256() != before


def test_a_moved_data_set_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    before = ObjectFile(str(write_yolo(tmp_path / "here")), {}).sha256()
    (tmp_path / "here").rename(tmp_path / "there")
    assert ObjectFile(str(tmp_path / "there"), {}).sha256() == before
