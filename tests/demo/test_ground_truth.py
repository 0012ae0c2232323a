"""What demo-scenes writes is COCO, exhaustive for every phrase, and the same every time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from autolabel.config.compose import compose_config
from autolabel.demo.ground_truth import demo_scenes
from autolabel.demo.phrases import PHRASES
from autolabel.demo.scenes import draw_scene
from autolabel.errors import BadInput, Refused

COUNT, SEED = 12, 77


def write(folder: Path, *, count: int = COUNT, seed: int = SEED) -> str:
    return demo_scenes(compose_config("demo-scenes", [f"output.uri='{folder}'", f"count={count}", f"seed={seed}"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ground-truth")
    told = write(folder)
    assert told.startswith("12 scenes in ")
    return folder


@pytest.fixture(scope="module")
def truth(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "ground_truth.json").read_text())
    return document


def test_images_are_the_scenes(folder: Path, truth: dict[str, Any]) -> None:
    assert [image["file_name"] for image in truth["images"]] == [f"{n:06d}.jpg" for n in range(1, COUNT + 1)]
    assert {path.name for path in folder.iterdir()} == {i["file_name"] for i in truth["images"]} | {"ground_truth.json"}
    for index, image in enumerate(truth["images"]):
        scene = draw_scene(SEED, index)
        with Image.open(folder / image["file_name"]) as opened:
            assert (opened.format, opened.size) == ("JPEG", (image["width"], image["height"]))
            assert np.abs(np.asarray(opened).astype(int) - scene.rgb).mean() < 6  # of 255: what JPEG does to grain


def test_pycocotools_reads_the_masks_of_every_phrase(folder: Path, truth: dict[str, Any]) -> None:
    coco = COCO(folder / "ground_truth.json")
    n_checked = 0
    for index in range(3):
        scene = draw_scene(SEED, index)
        for number, phrase in enumerate(PHRASES, start=1):
            meant = [k for k, kind in enumerate(scene.kinds) if phrase.means(kind)]
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=[index + 1], catIds=[number]))
            assert [annotation["object"] for annotation in annotations] == meant
            for annotation, k in zip(annotations, meant, strict=True):
                mask = coco.annToMask(annotation).astype(bool)
                assert np.array_equal(mask, scene.mask(k))
                assert annotation["area"] == mask.sum()
                n_checked += 1
    assert n_checked > 30


def test_every_phrase_is_present_or_listed_as_absent(truth: dict[str, Any]) -> None:
    assert [category["name"] for category in truth["categories"]] == [phrase.text for phrase in PHRASES]
    for image in truth["images"]:
        present = {one["category_id"] for one in truth["annotations"] if one["image_id"] == image["id"]}
        assert present.isdisjoint(image["neg_category_ids"])
        assert present | set(image["neg_category_ids"]) == set(range(1, len(PHRASES) + 1))
    ids = [annotation["id"] for annotation in truth["annotations"]]
    assert ids == list(range(1, len(ids) + 1))


def test_the_same_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write(tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_other_scenes_are_not_mixed_in(folder: Path) -> None:
    with pytest.raises(Refused, match="other scenes"):
        write(folder, seed=SEED + 1)
    with pytest.raises(Refused, match="other scenes"):
        write(folder, count=COUNT + 1)
    write(folder)


def test_numbers_out_of_range_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as raised:
        write(tmp_path, count=0, seed=-1)
    assert raised.value.problems == ("count: 0 is less than 1", "seed: -1 is less than 0")
