"""Label Studio tasks: brush labels as its published format says they are read."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from autolabel.exports import label_studio
from autolabel.output.job_output import JobOutput
from tests.support.jobs import run_export
from tests.support.made import SIZE_HW, Made, Mask, box_mask, make_output, masks_by_name


def decoded(data: list[int]) -> list[int]:
    """The words of thi.ng's rle-pack, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in data)
    place = 0

    def read(n_bits: int) -> int:
        nonlocal place
        place += n_bits
        assert place <= len(bits), "the data ends early"
        return int(bits[place - n_bits : place], 2)

    n_words, word_bits = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    words: list[int] = []
    while len(words) < n_words:
        repeats = read(1)
        length = read(sizes[read(2)]) + 1
        words += [read(word_bits)] * length if repeats else [read(word_bits) for _ in range(length)]
    assert len(words) == n_words
    assert len(bits) - place < 8
    return words


def mask_of(result: dict[str, Any]) -> Mask:
    size_hw = result["original_height"], result["original_width"]
    rgba = np.array(decoded(result["value"]["rle"])).reshape(*size_hw, 4)
    assert set(np.unique(rgba)) <= {0, 255}
    assert (rgba == rgba[:, :, :1]).all()
    found: Mask = rgba[:, :, 3] > 0
    return found


def tasks_of(output: JobOutput) -> list[dict[str, Any]]:
    files = sorted(Path(output.uri, "label_studio").glob("tasks-*.json"))
    return [task for file in files for task in json.loads(file.read_bytes())]


def test_every_mask_comes_back(hard: JobOutput) -> None:
    told = run_export(hard.uri, "format=label-studio")
    assert "14 tasks in 1 file, 24 masks, 1 rejected image left out" in told
    expected = masks_by_name(hard)
    for task in tasks_of(hard):
        (prediction,) = task["predictions"]
        own = expected.pop(task["data"]["uri"].removeprefix("/photos/"))
        assert len(prediction["result"]) == len(own)
        assert len({result["id"] for result in prediction["result"]}) == len(own)
        for result, (category, mask) in zip(prediction["result"], own, strict=True):
            assert (mask_of(result) == mask).all()
            assert result["value"]["brushlabels"] == [category]
            assert (result["type"], result["value"]["format"], result["image_rotation"]) == ("brushlabels", "rle", 0)
    assert not expected


def test_runs_longer_than_a_length_can_say(tmp_path: Path) -> None:
    """65,536 bytes are 16,384 pixels."""
    size_hw = (300, 400)
    masks = [box_mask(0, 0, 400, 300, size_hw), box_mask(399, 299, 1, 1, size_hw), box_mask(0, 41, 384, 1, size_hw)]
    output = make_output(str(tmp_path), {"/photos/a.jpg": [Made(1, mask) for mask in masks]})
    run_export(output.uri, "format=label-studio")
    (task,) = tasks_of(output)
    for result, mask in zip(task["predictions"][0]["result"], masks, strict=True):
        assert (mask_of(result) == mask).all()


def test_tasks_fit_the_labelling_interface(hard: JobOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_studio, "TASKS_PER_FILE", 4)
    assert "14 tasks in 4 files" in run_export(hard.uri, "format=label-studio")
    tasks = tasks_of(hard)
    assert len(tasks) == 14
    interface = ElementTree.fromstring(Path(hard.uri, "label_studio", "labels.xml").read_text())
    image, brush = interface.find("Image"), interface.find("BrushLabels")
    assert image is not None
    assert brush is not None
    assert {label.get("value") for label in brush} == {"round", "angular", "unicorn"}
    for task in tasks:
        assert str(image.get("value")).removeprefix("$") in task["data"]
        for result in task["predictions"][0]["result"]:
            assert (result["from_name"], result["to_name"]) == (brush.get("name"), image.get("name"))


@pytest.mark.parametrize(
    ("root", "uri", "shown"),
    [
        ("/data/photos", "/data/photos/a b/ü?.jpg", "/data/local-files/?d=photos/a b/ü?.jpg"),
        ("/data/photos", "/elsewhere/a.jpg", "/elsewhere/a.jpg"),
        ("s3://bucket/photos", "s3://bucket/photos/a.jpg", "s3://bucket/photos/a.jpg"),
    ],
)
def test_where_images_are_read(root: str, uri: str, shown: str, tmp_path: Path) -> None:
    output = make_output(str(tmp_path), {uri: []}, root=root)
    run_export(output.uri, "format=label-studio")
    (task,) = tasks_of(output)
    assert unquote(task["data"]["image"]) == shown
    assert task["data"]["uri"] == uri
    assert task["predictions"][0]["result"] == []
    assert SIZE_HW  # an image without objects has its task
