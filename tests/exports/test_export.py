"""What holds for every format: its folder is its own and replaced as a whole, on disk and on S3, whatever names are."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolabel.config import ExportConfig
from autolabel.config.keys import keys_of
from autolabel.errors import BadInput
from autolabel.exports import FORMATS
from autolabel.labels.types import ImageLabels
from autolabel.labels.units import file_metadata, unit_uri, write_unit
from autolabel.masks.rle import Rle, encode
from autolabel.output.job_output import JobOutput
from autolabel.parallel import in_threads
from autolabel.storage import open_storage
from tests.support.adversarial_names import NO_KEYS, NO_PATHS, ON_DISK
from tests.support.jobs import images_of, run_export
from tests.support.made import SIZE_HW, Made, box_mask, make_output
from tests.support.s3 import S3

BEFORE = {"train": 0.1, "val": 0.2, "test": 0.7}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def splits(shares: dict[str, float]) -> str:
    return f"splits={{{', '.join(f'{name}: {share}' for name, share in shares.items())}}}"


def test_help_lists_the_formats() -> None:
    (sentence,) = (key.sentence for key in keys_of(ExportConfig) if key.name == "format")
    assert set(sentence.removesuffix(".").replace(" or ", ", ").split(": ")[1].split(", ")) == FORMATS.keys()
    with pytest.raises(BadInput, match="'voc' is not one of coco, coco-polygons, yolo"):
        run_export("nowhere", "format=voc")


def test_formats_have_folders_of_their_own() -> None:
    folders = {chosen.folder for chosen in FORMATS.values()}
    assert len(folders) == len(FORMATS)
    assert not folders & {"labels", "runs"}


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_is_replaced_as_a_whole(name: str, hard: JobOutput, tmp_path: Path) -> None:
    """The second export leaves what one into an empty folder leaves, and the user's own files."""
    twice, once, folder = tmp_path / "twice", tmp_path / "once", FORMATS[name].folder
    for copy in (twice, once):
        shutil.copytree(hard.uri, copy, ignore=lambda _, names: set(names) & {f.folder for f in FORMATS.values()})
    before = files_of(twice)
    run_export(twice, f"format={name}", splits(BEFORE))
    (twice / folder / "mine").mkdir()
    (twice / folder / "mine" / "notes.md").write_text("mine")
    run_export(twice, f"format={name}", splits({"train": 0.5, "val": 0.5}))
    told = run_export(once, f"format={name}", splits({"train": 0.5, "val": 0.5}))
    found, expected = files_of(twice / folder), files_of(once / folder)
    assert found.pop("mine/notes.md") == b"mine"
    assert found.keys() == expected.keys()
    assert {path: data.replace(b"/twice/", b"/once/") for path, data in found.items()} == expected
    assert len(expected) > 0
    assert "1 rejected image" in told or "rejected ones too" in told
    assert {path: data for path, data in files_of(twice).items() if not path.startswith(f"{folder}/")} == before


@pytest.mark.parametrize("name", FORMATS)
def test_adversarial_names_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    root = "s3://bucket/in"
    uris = [f"{root}/{key}" for key in (*ON_DISK, *NO_KEYS, *NO_PATHS)]
    masks = [Made(1, box_mask(n % 50, n // 50, 1, 1)) for n in range(len(uris))]
    output_uri = tmp_path / "folder" / "labels"
    make_output(str(output_uri), {u: [m] for u, m in zip(uris, masks, strict=True)}, root=root, unit_size=32)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    run_export(output_uri, f"format={name}")
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert written
    assert all(path.is_relative_to(output_uri / FORMATS[name].folder) for path in written)
    if name in ("yolo", "sa1b", "semantic", "panoptic"):  # a file for each image
        assert len([path for path in written if path.suffix in (".txt", ".json", ".png")]) >= len(uris)
    assert all(len(os.fsencode(path.name)) <= 255 for path in written)


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_to_s3_is_the_same(name: str, s3: S3, tmp_path: Path) -> None:
    images: dict[str, list[Made] | None] = {
        "/photos/a.jpg": [Made(1, box_mask(1, 2, 9, 9)), Made(2, box_mask(5, 5, 9, 9), 0.8)],
        "/photos/b/c.jpg": [],
        "/photos/torn.jpg": None,
    }
    bucket = s3.make_bucket(f"exports-{name}")
    folder = FORMATS[name].folder
    for uri, options in ((f"{bucket}/out", s3.options), (str(tmp_path / "out"), {})):
        make_output(uri, images, options=options, unit_size=2)
        overrides = [f"output.storage_options.{key}={value}" for key, value in options.items()]
        for _ in range(2):
            run_export(uri, f"format={name}", *overrides)
    storage = open_storage(bucket, s3.options)
    found = {item.uri.removeprefix(f"{bucket}/out/{folder}/") for item in storage.list(f"{bucket}/out/{folder}")}
    expected = files_of(tmp_path / "out" / folder)
    assert found == expected.keys()
    for path, data in expected.items():
        if b"run_id" not in data and b"run `" not in data:  # two jobs, two ids
            assert storage.read(f"{bucket}/out/{folder}/{path}") == data


@pytest.mark.parametrize("name", FORMATS)
def test_an_output_with_nothing_in_it(name: str, tmp_path: Path) -> None:
    """Every image rejected, or nothing found in any."""
    make_output(str(tmp_path / "rejected"), {"/photos/a.jpg": None})
    make_output(str(tmp_path / "empty"), {"/photos/a.jpg": []})
    for kind in ("rejected", "empty"):
        assert "rejected" in run_export(tmp_path / kind, f"format={name}")


def test_an_unfinished_job_is_not_exported(tmp_path: Path) -> None:
    output = make_output(str(tmp_path), {f"/photos/{n}.jpg": [] for n in range(7)})
    Path(unit_uri(output.uri, 1)).unlink()
    with pytest.raises(BadInput, match="1 of 3 units are not labelled yet"):
        run_export(output.uri)


def damaged(row: ImageLabels, kind: str) -> ImageLabels:
    found = row.instances[0]
    changes: dict[str, dict[str, Any]] = {
        "torn counts": {"rle": Rle(size_hw=SIZE_HW, counts=found.rle.counts[:-1])},
        "another size": {"rle": Rle(size_hw=(20, 100), counts=found.rle.counts)},
        "no pixels": {"rle": encode(np.zeros(SIZE_HW, bool))},
        "unknown category": {"category_id": 77},
        "short box": {"bbox_xywh": found.bbox_xywh[:3]},
    }
    return replace(row, instances=(replace(found, **changes[kind]),))


@pytest.mark.parametrize("kind", ["torn counts", "another size", "no pixels", "unknown category", "short box"])
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_labels_are_told_and_never_a_traceback(name: str, kind: str, tmp_path: Path) -> None:
    output = make_output(str(tmp_path), {"/photos/a.jpg": [Made(1, box_mask(1, 2, 9, 9))]})
    spoilt = [damaged(image, kind) for image in images_of(output)]
    Path(unit_uri(output.uri, 0)).unlink()
    metadata = file_metadata(output.record.fingerprint, output.record.settings.ontology)
    write_unit(output.storage, output.uri, 0, spoilt, metadata)
    passed_on = {"coco", "huggingface", "instances", *(["coco-polygons"] if kind == "another size" else [])}
    if name in passed_on and kind in ("torn counts", "another size", "no pixels"):  # masks as they are
        assert run_export(tmp_path, f"format={name}")
    else:
        with pytest.raises(BadInput, match="`autolabel verify` says more"):
            run_export(tmp_path, f"format={name}")


def test_work_in_parallel_keeps_its_order_and_its_bounds() -> None:
    taken = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    done = in_threads(lambda n: n * n, items(), 4)
    for n in range(100):
        assert next(done) == n * n
        assert len(taken) <= n + 9


def test_a_failure_in_parallel_work_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda n: 1 // (5 - n), range(100), 4))
