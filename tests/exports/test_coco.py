"""COCO as pycocotools and supervision read it, in one file and in several."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from autolabel.exports import coco
from autolabel.masks.rle import decode
from autolabel.output.job_output import JobOutput
from tests.support.jobs import run_export
from tests.support.made import stored


def loaded(path: Path) -> COCO:
    read = COCO()
    read.dataset = json.loads(path.read_bytes())
    read.createIndex()
    return read


def test_pycocotools_reads_every_mask(hard: JobOutput) -> None:
    told = run_export(hard.uri)
    assert "annotations.json: 14 images, 24 annotations, 1 rejected image apart" in told
    read = loaded(Path(hard.uri, "coco/annotations.json"))
    expected = stored(hard)
    assert sorted(read.anns) == list(range(1, 25))
    for annotation, (name, instance) in zip(read.dataset["annotations"], expected, strict=True):
        assert read.imgs[annotation["image_id"]]["file_name"] == name
        assert (read.annToMask(annotation) == decode(instance.rle)).all()
        assert annotation["category_id"] == instance.category_id
        assert annotation["score"] == instance.score
        assert (annotation["area"], annotation["iscrowd"]) == (instance.area_px, 0)
        assert annotation["bbox"] == list(instance.bbox_xywh)
    assert [c["name"] for c in read.dataset["categories"]] == ["round", "angular", "unicorn"]
    assert [image["file_name"] for image in read.dataset["rejected_images"]] == ["torn.jpg"]
    assert read.dataset["info"]["input_root"] == "/photos"


def test_several_files_are_one_data_set(hard: JobOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    run_export(hard.uri)
    whole = loaded(Path(hard.uri, "coco/annotations.json")).dataset
    monkeypatch.setattr(coco, "ANNOTATIONS_PER_FILE", 6)
    told = run_export(hard.uri)
    folder = Path(hard.uri, "coco")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    names = {name for file in manifest["files"] for name in (file["annotations"], file["results"])}
    assert {path.name for path in folder.iterdir()} == names | {"manifest.json"}  # no file is left of the export before
    assert all(name in told for name in names)

    parts: list[dict[str, Any]] = []
    for file in manifest["files"]:
        read = loaded(folder / file["annotations"])
        assert len(read.anns) == file["n_annotations"]
        assert len(read.imgs) == file["n_images"]
        assert len(read.loadRes(str(folder / file["results"])).anns) == len(read.anns)
        parts.append(read.dataset)
    assert len(parts) == 3
    for key in ("images", "annotations", "rejected_images"):
        assert [item for part in parts for item in part[key]] == whole[key]
    assert all(part["categories"] == whole["categories"] == manifest["categories"] for part in parts)

    monkeypatch.undo()
    run_export(hard.uri)
    assert {path.name for path in folder.iterdir()} == {"annotations.json", "results.json"}


def test_supervision_reads_the_same_masks(scenes: JobOutput) -> None:
    import supervision as sv

    run_export(scenes.uri)
    read = sv.DetectionDataset.from_coco(
        images_directory_path=scenes.plan.input_root,
        annotations_path=f"{scenes.uri}/coco/annotations.json",
        force_masks=True,
    )
    masks: dict[str, list[Any]] = {name: [] for name, _ in stored(scenes)}
    for name, instance in stored(scenes):
        masks[name].append(decode(instance.rle))
    assert len(read) == 20
    n_masks = 0
    for path, _, found in read:
        expected = masks.get(Path(path).name, [])
        assert len(found) == len(expected)
        for mask, own in zip(np.asarray(found.mask) if len(found) else [], expected, strict=True):
            assert (mask == own).all()
            n_masks += 1
    assert n_masks > 50


def test_every_instance_has_polygons_and_they_are_its_mask(hard: JobOutput) -> None:
    """Rings, holes and noise too: no run lengths, which trainers that ask for polygons do not read."""
    told = run_export(hard.uri, "format=coco-polygons")
    read = loaded(Path(hard.uri, "coco_polygons/annotations.json"))
    ious = []
    for annotation, (_, instance) in zip(read.dataset["annotations"], stored(hard), strict=True):
        mask, own = read.annToMask(annotation).astype(bool), decode(instance.rle)
        assert all(isinstance(polygon, list) and len(polygon) >= 6 for polygon in annotation["segmentation"])
        ious.append((mask & own).sum() / (mask | own).sum())
        assert annotation["area"] == own.sum()
    assert len(ious) == 24
    assert min(ious) > 0.99
    said = read.dataset["info"]["polygons"]
    assert said == {"mean_iou": pytest.approx(np.mean(ious)), "lowest_iou": pytest.approx(min(ious))}
    assert "IoU of the polygons with the masks: 1.0000 on average" in told


def test_other_readers_of_polygons_find_the_same_masks(scenes: JobOutput) -> None:
    """Who fill by pixels or points of their own: OpenCV, as supervision does, and Pillow."""
    import cv2
    from PIL import Image, ImageDraw

    run_export(scenes.uri, "format=coco-polygons")
    document = json.loads(Path(scenes.uri, "coco_polygons/annotations.json").read_bytes())
    ious = []
    for annotation, (_, instance) in zip(document["annotations"], stored(scenes), strict=True):
        own = decode(instance.rle)
        points = [np.reshape(polygon, (-1, 2)) for polygon in annotation["segmentation"]]
        by_opencv, by_pillow = np.zeros(own.shape, np.uint8), Image.new("1", own.shape[::-1])
        cv2.fillPoly(by_opencv, [line.astype(np.int32) for line in points], 1)
        for line in points:
            ImageDraw.Draw(by_pillow).polygon([tuple(point) for point in line], fill=1)
        for mask in (by_opencv.astype(bool), np.array(by_pillow)):
            ious.append((mask & own).sum() / (mask | own).sum())
    assert len(ious) > 100
    assert np.mean(ious) > 0.97
