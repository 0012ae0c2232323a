"""What `datasets` makes of the folder, as a user loads it."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from autolabel.exports import huggingface
from autolabel.output.job_output import JobOutput
from tests.support.jobs import run_export
from tests.support.made import masks_by_name, stored


def load(folder: Path, cache: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of datasets and its dependencies
        from datasets import load_dataset

        return load_dataset(str(folder), cache_dir=str(cache))


def masks_in(example: dict[str, Any]) -> list[Any]:
    size = [example["height"], example["width"]]
    return [coco.decode({"size": size, "counts": counts}) for counts in example["objects"]["rle_counts"]]


def test_datasets_reads_splits_features_and_masks(own_scenes: JobOutput, tmp_path: Path) -> None:
    told = run_export(own_scenes.uri, "format=huggingface", "splits={train: 0.6, val: 0.3, test: 0.1}")
    read = load(Path(own_scenes.uri, "huggingface"), tmp_path / "cache")
    assert "1 rejected image left out" in told
    assert list(read) == ["train", "val", "test"]
    expected, found = masks_by_name(own_scenes), 0
    for split in read.values():
        names = split.features["objects"]["category"].feature.names
        assert names == ["round", "angular", "unicorn"]
        for example in split:
            name = Path(example["image"].filename).name
            assert example["image"].size == (example["width"], example["height"])
            with Image.open(Path(own_scenes.plan.input_root, name)) as image:
                assert (np.array(example["image"]) == np.array(image)).all()
            own = expected.pop(name)
            assert [names[n] for n in example["objects"]["category"]] == [category for category, _ in own]
            for mask, (_, stored_mask) in zip(masks_in(example), own, strict=True):
                assert (mask == stored_mask).all()
                found += 1
    assert not expected
    assert found > 50


def test_every_value_is_as_it_was_labelled(hard: JobOutput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In files of a few images, which the split's images come to out of many units."""
    monkeypatch.setattr(huggingface, "IMAGES_PER_FILE", 4)
    run_export(hard.uri, "format=huggingface", "splits={whole: 1}")
    folder = Path(hard.uri, "huggingface")
    names = [path.name for path in sorted(folder.glob("data/*"))]
    assert names == [f"whole-0000{n}-of-00004.parquet" for n in range(4)]
    from datasets import Image as ImageFeature

    read = load(folder, tmp_path / "cache")["whole"].cast_column("image", ImageFeature(decode=False))
    assert len(read) == 14
    values = [
        (example["image"]["path"].removeprefix("/photos/"), *one)
        for example in read
        for one in zip(*(example["objects"][key] for key in ("bbox", "area", "score", "phrase")), strict=True)
    ]
    assert values == [(name, list(i.bbox_xywh), i.area_px, i.score, i.phrase) for name, i in stored(hard)]
    masks = [mask for example in read for mask in masks_in(example)]
    assert all((mask == coco.decode(i.rle.to_coco())).all() for mask, (_, i) in zip(masks, stored(hard), strict=True))


def test_a_split_without_images_is_none(hard: JobOutput, tmp_path: Path) -> None:
    run_export(hard.uri, "format=huggingface", "splits={train: 0.999999999, none: 0.000000001}")
    assert list(load(Path(hard.uri, "huggingface"), tmp_path)) == ["train"]
