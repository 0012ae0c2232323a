"""Label pictures as Pillow reads them, against masks put on top of each other one by one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from autolabel.exports import semantic
from autolabel.masks.rle import decode
from autolabel.output.job_output import JobOutput
from tests.support.jobs import run_export
from tests.support.made import SIZE_HW, Made, box_mask, make_output, stored


def pixels(path: Path) -> npt.NDArray[Any]:
    with Image.open(path) as image:
        return np.array(image)


def best_of(output: JobOutput, name: str) -> npt.NDArray[np.int64]:
    """The place, from 1, of the instance with the highest score at each pixel."""
    found = [instance for other, instance in stored(output) if other == name]
    scores = np.array([np.where(decode(instance.rle), instance.score, 0) for instance in found])
    best: npt.NDArray[np.int64] = np.where(scores.any(axis=0), scores.argmax(axis=0) + 1, 0)
    return best


def test_panoptic_segments_are_what_is_seen_of_the_instances(hard: JobOutput) -> None:
    told = run_export(hard.uri, "format=panoptic")
    folder = Path(hard.uri, "panoptic")
    document = json.loads((folder / "panoptic.json").read_bytes())
    name_of = {image["id"]: image["file_name"] for image in document["images"]}
    assert len(name_of) == len(document["annotations"]) == 14
    instances = stored(hard)
    for annotation in document["annotations"]:
        rgb = pixels(folder / "masks" / annotation["file_name"]).astype(np.int64)
        ids = rgb[:, :, 0] + 256 * rgb[:, :, 1] + 65536 * rgb[:, :, 2]  # panopticapi's rgb2id
        segments = annotation["segments_info"]
        name = name_of[annotation["image_id"]]
        own = [instance for other, instance in instances if other == name]
        if not own:
            assert (ids == 0).all()
            assert segments == []
            continue
        assert (ids == best_of(hard, name)).all()
        assert {segment["id"] for segment in segments} == set(np.unique(ids)) - {0}
        for segment in segments:
            seen = ids == segment["id"]
            assert segment["area"] == seen.sum()
            (rows,), (columns,) = np.nonzero(seen.any(axis=1)), np.nonzero(seen.any(axis=0))
            x, y, width, height = segment["bbox"]
            assert (x, y, x + width - 1, y + height - 1) == (columns[0], rows[0], columns[-1], rows[-1])
            assert segment["category_id"] == own[segment["id"] - 1].category_id
    hidden = len(instances) - sum(len(annotation["segments_info"]) for annotation in document["annotations"])
    assert hidden > 0
    assert f"{hidden} instances of which nothing is seen then left out" in told
    assert all(category["isthing"] == 1 for category in document["categories"])


def test_contested_pixels_are_counted_once(tmp_path: Path) -> None:
    """Three squares over one another: 4 x 4 pixels are claimed twice or more."""
    both = [Made(1, box_mask(0, 0, 6, 6), 0.9), Made(1, box_mask(2, 2, 6, 6), 0.8)]
    output = make_output(str(tmp_path), {"/photos/a.jpg": [*both, Made(2, box_mask(2, 2, 4, 4), 0.7)]})
    assert "\n16 pixels that several instances claimed" in run_export(output.uri, "format=panoptic")
    assert "\n16 pixels that several categories claimed" in run_export(output.uri, "format=semantic")
    other = make_output(str(tmp_path / "other"), {"/photos/a.jpg": both})
    assert "\n16 pixels that several instances claimed" in run_export(other.uri, "format=panoptic")
    assert "\n0 pixels that several categories claimed" in run_export(other.uri, "format=semantic")


def test_semantic_values_are_the_categories_with_the_highest_scores(hard: JobOutput) -> None:
    run_export(hard.uri, "format=semantic")
    folder = Path(hard.uri, "semantic")
    classes = json.loads((folder / "classes.json").read_bytes())
    assert [(c["value"], c["id"], c["name"]) for c in classes] == [
        (1, 1, "round"),
        (2, 2, "angular"),
        (3, 5, "unicorn"),
    ]
    categories = [instance.category_id for name, instance in stored(hard) if name == "all.jpg"]
    expected = np.array([0, *categories])[best_of(hard, "all.jpg")]
    found = pixels(folder / "all.png")
    assert found.dtype == np.uint8
    assert (found == expected).all()
    assert (pixels(folder / "empty.png") == np.zeros(SIZE_HW)).all()
    assert len(list(folder.glob("*.png"))) == 14


def test_more_categories_than_8_bits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "MOST_IN_8_BITS", 2)
    output = make_output(str(tmp_path), {"/photos/a.jpg": [Made(2, box_mask(1, 2, 3, 4))]})
    run_export(output.uri, "format=semantic")
    with Image.open(tmp_path / "semantic" / "a.png") as image:
        assert image.mode == "I;16"
        assert (np.array(image) == 2 * box_mask(1, 2, 3, 4)).all()
