"""YOLO labels as supervision reads them, and as Ultralytics' own rules find and fill them."""

import csv
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from autolabel.output.job_output import JobOutput
from tests.support.jobs import run_export
from tests.support.made import Made, Mask, box_mask, make_output, masks_by_name


def label_of(image_path: str) -> str:
    """Ultralytics' rule."""
    return "/labels/".join(image_path.rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"


def listed(folder: Path, split: str) -> list[str]:
    """The paths of a list, as Ultralytics takes them."""
    lines = (folder / f"{split}.txt").read_text().strip().splitlines()
    return [line.replace("./", f"{folder}/") if line.startswith("./") else line for line in lines]


def drawn(line: str, size_hw: tuple[int, int]) -> tuple[int, Mask]:
    """A row of a label file, cut off to whole pixels and filled, as Ultralytics does it."""
    number, *values = line.split()
    assert len(values) >= 6  # less is a box
    assert all(0 <= float(value) <= 1 for value in values)
    points = np.array(values, np.float32).reshape(-1, 2) * np.array(size_hw[::-1], np.float32)
    canvas = np.zeros(size_hw, np.uint8)
    cv2.fillPoly(canvas, [points.astype(np.int32)], 1)
    return int(number), canvas.astype(bool)


def test_every_label_is_found_and_filled(hard: JobOutput) -> None:
    told = run_export(hard.uri, "format=yolo", "splits={train: 0.5, val: 0.5}")
    folder = Path(hard.uri, "yolo")
    names = yaml.safe_load((folder / "data.yaml").read_text())["names"]
    assert names == {0: "round", 1: "angular", 2: "unicorn"}
    images = {path: split for split in ("train", "val") for path in listed(folder, split)}
    expected = masks_by_name(hard)
    assert len(images) == len(expected) == 14
    ious = []
    for path, split in images.items():
        assert path.startswith(f"{folder}/images/{split}/")
        own = expected.pop(path.removeprefix(f"{folder}/images/{split}/"))
        lines = Path(label_of(path)).read_text().splitlines()  # there for images without objects, too
        assert len(lines) == len(own)
        for line, (category, mask) in zip(lines, own, strict=True):
            number, filled = drawn(line, mask.shape)
            assert names[number] == category
            assert not (mask & ~filled).any()
            ious.append((mask & filled).sum() / (mask | filled).sum())
    assert not expected
    assert min(ious) < 0.95 < np.median(ious)  # joints of chequers cost most
    assert f"{np.mean(ious):.4f} on average, {min(ious):.4f} at worst" in told
    assert "1 rejected image left out" in told


def test_supervision_reads_the_same_masks(own_scenes: JobOutput) -> None:
    import supervision as sv

    run_export(own_scenes.uri, "format=yolo", "splits={train: 0.6, val: 0.4}")
    folder, expected = Path(own_scenes.uri, "yolo"), masks_by_name(own_scenes)
    images = (folder / "images").resolve()
    for split in ("train", "val"):
        (images / split).mkdir(parents=True)
        for path in listed(folder, split):
            Path(path).symlink_to(Path(own_scenes.plan.input_root, Path(path).name))
        read = sv.DetectionDataset.from_yolo(
            images_directory_path=str(images / split),
            annotations_directory_path=str(folder / "labels" / split),
            data_yaml_path=str(folder / "data.yaml"),
            force_masks=True,
        )
        assert read.classes == ["round", "angular", "unicorn"]
        assert len(read) > 4
        for path, _, found in read:
            own = expected.pop(Path(path).name)
            assert len(found) == len(own)
            assert found.class_id is not None
            for n, (category, mask) in enumerate(own):
                filled = np.asarray(found.mask)[n]
                assert read.classes[found.class_id[n]] == category
                assert (filled & mask).sum() / (filled | mask).sum() > 0.99
    assert not expected


def test_one_link_for_each_split_leads_to_the_images(own_scenes: JobOutput) -> None:
    """The commands of the closing text, as they stand."""
    told = run_export(own_scenes.uri, "format=yolo")
    commands = [line.strip() for line in told.splitlines() if line.startswith("  ")]
    for _ in range(2):  # again and again
        subprocess.run(" && ".join(commands), shell=True, check=True)
    folder = Path(own_scenes.uri, "yolo")
    paths = [path for split in ("train", "val", "test") for path in listed(folder, split)]
    assert len(paths) == 20
    assert all(Path(path).is_file() and Path(label_of(path)).is_file() for path in paths)
    run_export(own_scenes.uri, "format=yolo")  # removes what it wrote, not what the links lead to
    assert len(list(Path(own_scenes.plan.input_root).glob("*.jpg"))) == 21


def test_an_empty_split_is_told(hard: JobOutput) -> None:
    told = run_export(hard.uri, "format=yolo", "splits={train: 0.5, val: 0.499999999, odd: 0.000000001}")
    assert "\nodd is empty" in told
    assert "train is empty" not in told
    assert Path(hard.uri, "yolo", "odd.txt").read_bytes() == b""


def test_names_that_ultralytics_would_mix_up(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "left/b.jpg", "right/b.jpg", "images/c.jpg", "dot./d.jpg", "e.gif", "new\nline.jpg"]
    output = make_output(
        str(tmp_path / "labels"),
        {f"/photos/{name}": [Made(1, box_mask(n, 1, 5, 5))] for n, name in enumerate(names)},
    )
    told = run_export(output.uri, "format=yolo")
    folder = tmp_path / "labels" / "yolo"
    paths = [path for split in ("train", "val", "test") for path in listed(folder, split)]
    assert len(paths) == len({label_of(path) for path in paths}) == len(names)
    with (folder / "images.csv").open(newline="") as file:
        uri_of = {row["path"]: row["uri"] for row in csv.DictReader(file)}
    by_id = 0
    for path in paths:
        relative = os.path.relpath(path, folder)
        name = uri_of[relative].removeprefix("/photos/")
        _, filled = drawn(Path(label_of(path)).read_text().strip(), (40, 50))
        assert (filled == box_mask(names.index(name), 1, 5, 5)).all()
        by_id += relative.startswith("images/by-id/")
        assert relative.startswith("images/by-id/") or relative.split("/", 2)[2] == name
    assert by_id == 6
    assert "6 images belong under images/by-id" in told


@pytest.mark.parametrize("splits", ["{train: 0.5, val: 0.5}", "{train: 0.9, val: 0.05, holdout: 0.05}"])
def test_no_label_of_another_split_is_left(splits: str, own_scenes: JobOutput) -> None:
    folder = Path(own_scenes.uri, "yolo")
    run_export(own_scenes.uri, "format=yolo", "splits={train: 0.1, val: 0.2, test: 0.7}")
    (folder / "NOTES.md").write_text("mine")
    run_export(own_scenes.uri, "format=yolo", f"splits={splits}")
    of_lists = {label_of(path) for list_ in folder.glob("*.txt") for path in listed(folder, list_.stem)}
    assert of_lists == {str(path) for path in folder.glob("labels/**/*.txt")}
    assert len(of_lists) == 20
    assert (folder / "NOTES.md").read_text() == "mine"
