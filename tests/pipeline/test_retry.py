"""Images that are out of reach: told before anything is written, refused by the unit, and labelled again on request."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autolabel.config.compose import compose_config
from autolabel.errors import BadInput, JobFailed
from autolabel.pipeline.job import label
from autolabel.storage import open_storage
from autolabel.storage.uris import join
from tests.support.free_model import BRIGHT, FreeModel
from tests.support.jobs import rows_of, run_verify, statuses
from tests.support.s3 import S3

pytestmark = pytest.mark.usefixtures("cluster")

UNIT_SIZE = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty images, and a manifest of them."""
    (tmp_path / "in").mkdir()
    names = [f"{n:02d}.png" for n in range(60)]
    for name in names:
        (tmp_path / "in" / name).write_bytes(BRIGHT)
    (tmp_path / "in" / "manifest.csv").write_text("\n".join(["uri", *names]) + "\n")
    return tmp_path


def hide(folder: Path, numbers: Iterator[int] | range) -> None:
    (folder / "hidden").mkdir(exist_ok=True)
    for n in numbers:
        shutil.move(folder / "in" / f"{n:02d}.png", folder / "hidden" / f"{n:02d}.png")


def show(folder: Path) -> None:
    for path in (folder / "hidden").iterdir():
        shutil.move(path, folder / "in" / path.name)


def run(folder: Path, *overrides: str) -> str:
    places = [f"input.uri={folder}/in/manifest.csv", f"output.uri={folder}/out", f"output.unit_size={UNIT_SIZE}"]
    return label(compose_config("label", [*places, "prompts=[disc]", *overrides]), load=FreeModel())


def test_an_input_that_is_wholly_missing_is_bad_input_before_anything_is_written(folder: Path) -> None:
    hide(folder, range(60))
    with pytest.raises(BadInput, match=r"none of 8 images that were tried can be read:\n.*00\.png: missing: not there"):
        run(folder)
    assert not (folder / "out").exists()


def test_a_wrong_image_root_is_told_with_where_it_leads(folder: Path) -> None:
    with pytest.raises(BadInput, match=f"{folder}/elsewhere/00.png: missing"):
        run(folder, f"input.image_root={folder}/elsewhere")


def test_some_images_that_are_missing_cost_themselves(folder: Path) -> None:
    hide(folder, range(1, 8))
    run(folder)
    assert statuses(folder / "out") == {"labelled": 53, "rejected": 7}


def test_a_unit_that_is_wholly_missing_is_not_written(folder: Path) -> None:
    hide(folder, range(20, 40))
    with pytest.raises(
        JobFailed, match=r"unit 1: 20 missing of 20 images, such as .*/20\.png \(not there\); nothing is"
    ):
        run(folder)
    assert not (folder / "out" / "labels" / "00000001.parquet").exists()
    show(folder)
    run(folder)
    assert statuses(folder / "out") == {"labelled": 60}


def test_who_says_so_gets_it_all_the_same(folder: Path) -> None:
    hide(folder, range(20, 40))
    run(folder, "max_rejected_share=1")
    assert statuses(folder / "out") == {"labelled": 40, "rejected": 20}
    assert run_verify(folder / "out").clean


def test_images_that_were_missing_are_labelled_again_and_no_others(folder: Path) -> None:
    hide(folder, range(3, 6))
    (folder / "in" / "45.png").write_bytes(b"no image")
    run(folder)
    before = rows_of(folder / "out")
    files = {path.name: path.stat().st_ino for path in (folder / "out" / "labels").iterdir()}
    assert statuses(folder / "out") == {"labelled": 56, "rejected": 4}

    told = run(folder, "retry=[missing]")
    assert statuses(folder / "out") == {"labelled": 56, "rejected": 4}, "they are still missing"
    show(folder)
    told = run(folder, "retry=[missing, forbidden]")
    assert told.startswith("60 images: 59 labelled, 0 empty, 1 rejected")
    after = rows_of(folder / "out")
    assert [row["image_id"] for row in after] == list(range(1, 61))
    changed = [old["image_id"] for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [4, 5, 6]
    kept = {path.name: path.stat().st_ino for path in (folder / "out" / "labels").iterdir()}
    assert {name for name in files if files[name] != kept[name]} == {"00000000.parquet"}
    assert run_verify(folder / "out").clean
    assert run(folder, "retry=[missing]") == told, "there is nothing left to try again"


def test_a_code_that_there_is_not_is_told(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"retry: 'mising' is not one of empty_file, .*missing"):
        run(folder, "retry=[mising]")


def test_a_file_is_replaced_only_where_it_is_the_one_that_was_read(s3: S3, tmp_path: Path) -> None:
    for root, options in ((str(tmp_path), {}), (s3.make_bucket("replace-if"), s3.options)):
        storage, uri = open_storage(root, options), join(root, "labels/00000000.parquet")
        storage.create_once(uri, b"first")
        first = storage.stat(uri).etag
        assert storage.replace_if(uri, b"second", first)
        assert storage.read(uri) == b"second"
        assert not storage.replace_if(uri, b"third", first), root
        assert storage.read(uri) == b"second"
