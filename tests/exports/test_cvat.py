"""CVAT's XML, by its published format and by datumaro where it is installed."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from autolabel.output.job_output import JobOutput
from tests.support.jobs import run_export
from tests.support.made import Made, Mask, box_mask, make_output, masks_by_name


def mask_of(element: ElementTree.Element, size_hw: tuple[int, int]) -> Mask:
    """A mask by CVAT's description: runs within the box, row by row, beginning with pixels outside."""
    left, top, width, height = (int(element.attrib[name]) for name in ("left", "top", "width", "height"))
    runs = [int(run) for run in element.attrib["rle"].split(",")]
    flat: list[bool] = []
    for n, run in enumerate(runs):
        flat += [n % 2 == 1] * run
    mask = np.zeros(size_hw, bool)
    mask[top : top + height, left : left + width] = np.array(flat).reshape(height, width)
    return mask


def test_every_mask_comes_back(hard: JobOutput) -> None:
    told = run_export(hard.uri, "format=cvat")
    assert "14 images, 24 masks, 1 rejected image left out" in told
    root = ElementTree.parse(Path(hard.uri, "cvat", "annotations.xml")).getroot()
    expected = masks_by_name(hard)
    images = root.findall("image")
    assert [image.get("id") for image in images] == [str(n) for n in range(14)]
    for image in images:
        own = expected.pop(image.attrib["name"])
        size_hw = int(image.attrib["height"]), int(image.attrib["width"])
        for element, (category, mask) in zip(image.findall("mask"), own, strict=True):
            assert element.get("label") == category
            assert (mask_of(element, size_hw) == mask).all()
    assert not expected
    labels = {label["name"] for label in json.loads(Path(hard.uri, "cvat", "labels.json").read_bytes())}
    assert labels == {name.text for name in root.iterfind("meta/task/labels/label/name")}
    assert labels == {"round", "angular", "unicorn"}


def test_datumaro_reads_the_same_masks(scenes: JobOutput, tmp_path: Path) -> None:
    datumaro = pytest.importorskip("datumaro", reason="datumaro is not among the dependencies")
    run_export(scenes.uri, "format=cvat")
    (tmp_path / "images").symlink_to(scenes.plan.input_root)
    shutil.copy(Path(scenes.uri, "cvat", "annotations.xml"), tmp_path)
    read = datumaro.Dataset.import_from(str(tmp_path), "cvat")
    names = [label.name for label in read.categories()[datumaro.AnnotationType.label]]
    expected = masks_by_name(scenes)
    for item in read:
        own = expected.pop(f"{item.id}.jpg")
        for found, (category, mask) in zip(item.annotations, own, strict=True):
            assert names[found.label] == category
            assert (found.image == mask).all()
    assert not expected


def test_names_that_xml_cannot_hold_are_left_out_and_counted(tmp_path: Path) -> None:
    names = ["<b>&\"'.jpg", "new\nline.jpg", "tab\t.jpg", "\x01.jpg", "\ufffe.jpg", "猫\U0001f431.jpg"]
    output = make_output(
        str(tmp_path), {f"/photos/{name}": [Made(1, box_mask(n, 0, 3, 3))] for n, name in enumerate(names)}
    )
    told = run_export(output.uri, "format=cvat")
    assert "4 images, 4 masks, 0 rejected images left out, and 2 with names that XML cannot hold" in told
    root = ElementTree.parse(tmp_path / "cvat" / "annotations.xml").getroot()
    for image in root.findall("image"):
        (element,) = image.findall("mask")
        assert int(element.attrib["left"]) == names.index(image.attrib["name"])
    assert len(root.findall("image")) == 4
