"""`autolabel.Labels` against the files it reads, pycocotools and DuckDB."""

import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco

import autolabel
from autolabel import Labels
from autolabel.errors import BadInput, RejectCode, StorageError
from autolabel.labels.types import Status
from autolabel.labels.units import unit_uri
from autolabel.storage import Storage, open_storage
from tests.support.outputs import UNIT_SIZE, labelled_scenes
from tests.support.s3 import S3

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

N_SCENES = 9
TRUNCATED = N_SCENES + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reader")
    labelled_scenes(place, count=N_SCENES)
    return place / "labels"


@pytest.fixture(scope="module")
def labels(folder: Path) -> Labels:
    return Labels(str(folder))


@pytest.fixture
def flat(folder: Path, duckdb: "DuckDBPyConnection") -> "DuckDBPyConnection":
    """Every instance and candidate as DuckDB sees them."""
    for name in ("instances", "candidates"):
        unnested = f"select image_id, uri, unnest({name}, recursive := true) from '{folder}/labels/*.parquet'"
        duckdb.execute(f"create table {name} as {unnested}")
    return duckdb


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = """
import sys, autolabel
assert "autolabel.reader.labels" not in sys.modules
autolabel.Labels
print([name for name in ("torch", "ray", "cv2", "matplotlib", "pandas") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_the_package_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Lables'"):
        autolabel.Lables  # type: ignore[attr-defined]  # noqa: B018 - that is the test


def test_images_come_in_order_with_all_that_their_rows_hold(labels: Labels, folder: Path) -> None:
    rows = pq.read_table(folder / "labels").to_pylist()
    images = list(labels)
    assert len(labels) == labels.n_planned == len(images) == len(rows) == TRUNCATED
    for image, row in zip(images, rows, strict=True):
        assert (image.image_id, image.uri, str(image.status)) == (row["image_id"], row["uri"], row["status"])
        assert image.size_hw == (None if row["height"] is None else (row["height"], row["width"]))
        assert [vars(prompt) for prompt in image.prompts] == row["prompts"]
        for found, stored in ((image.instances, row["instances"]), (image.candidates, row["candidates"])):
            assert [(i.category_id, i.score, i.presence, i.phrase, i.area_px) for i in found] == [
                (s["category_id"], s["score"], s["presence"], s["phrase"], s["area"]) for s in stored
            ]
            assert [list(i.bbox_xywh) for i in found] == [s["bbox"] for s in stored]
            assert {(i.category_id, i.category) for i in found} <= {(c.id, c.name) for c in labels.categories}
    assert sum(len(image.candidates) for image in images) > 10
    assert images[-1].status == Status.REJECTED
    assert images[-1].reject_code == RejectCode.TRUNCATED


def test_masks_are_those_that_pycocotools_decodes(labels: Labels, folder: Path) -> None:
    n = 0
    for image, row in zip(labels, pq.read_table(folder / "labels").to_pylist(), strict=True):
        found, stored = image.instances + image.candidates, row["instances"] + row["candidates"]
        for instance, cell in zip(found, stored, strict=True):
            mask = instance.mask()
            assert mask.dtype == bool
            assert np.array_equal(mask, coco.decode(cell["segmentation"]))
            n += 1
    assert n > 50


def test_an_image_by_its_id(labels: Labels) -> None:
    for image in labels:
        assert labels[image.image_id] == image


@pytest.mark.parametrize("image_id", [0, -1, TRUNCATED + 1])
def test_an_id_that_the_plan_has_not(labels: Labels, image_id: int) -> None:
    with pytest.raises(KeyError, match=f"ids are 1 to {TRUNCATED}"):
        labels[image_id]


def test_an_image_by_its_name_or_uri(labels: Labels, folder: Path) -> None:
    root = folder.parent / "images"
    assert labels["000002.jpg"] == labels[f"{root}/000002.jpg"] == labels[f"file://{root}/000002.jpg"] == labels[2]
    assert labels["000002.jpg"].uri == f"{root}/000002.jpg"
    with pytest.raises(KeyError, match=r"no image 'sub/000002.jpg' below .*images \(did you mean '000002.jpg'\?\)"):
        labels["sub/000002.jpg"]
    with pytest.raises(KeyError, match=r"no image '7.jpg' below [^(]*$"):
        labels["7.jpg"]


def test_images_of_a_slice_of_ids(labels: Labels) -> None:
    images = list(labels)
    assert labels[1:3] == labels[:3] == images[:2]
    assert labels[UNIT_SIZE : UNIT_SIZE + 3] == images[UNIT_SIZE - 1 : UNIT_SIZE + 2]  # of two units
    assert labels[TRUNCATED - 1 :] == images[-2:]
    assert labels[::4] == images[::4]
    assert labels[:] == labels[1:1000] == images
    assert [image.image_id for image in labels.filter(status="rejected")[1:]] == [TRUNCATED]


WRONG: list[Any] = [slice(0, 3), slice(-3, None), slice(None, None, -1), slice("a", "b"), 1.0, None, True]


@pytest.mark.parametrize("chosen", WRONG)
def test_what_chooses_no_image_says_what_does(labels: Labels, chosen: Any) -> None:
    with pytest.raises(TypeError, match=r"list\(labels\)|by its id, its URI or its path below the input"):
        labels[chosen]


def test_filters_select_images_and_their_instances(labels: Labels) -> None:
    chosen = list(labels.filter(category="angular").filter(min_score=0.95))
    everything = {image.image_id: image for image in labels}
    expected = {
        image_id: [i for i in image.instances if i.category == "angular" and i.score >= 0.95]
        for image_id, image in everything.items()
    }
    assert {image.image_id: list(image.instances) for image in chosen} == {k: v for k, v in expected.items() if v}
    assert 0 < len(chosen) < N_SCENES
    for image in chosen:
        assert list(image.candidates) == [
            c for c in everything[image.image_id].candidates if c.category == "angular" and c.score >= 0.95
        ]
        assert image.prompts == everything[image.image_id].prompts


def test_filters_compose_in_any_order_and_leave_what_they_filter(labels: Labels) -> None:
    at_once = labels.filter(category=["round", "angular"], min_score=0.7, status="labelled")
    one_by_one = labels.filter(status="labelled").filter(min_score=0.7).filter(category=["round", "angular"])
    assert list(at_once) == list(one_by_one) == list(labels.filter(min_score=0.7).filter(min_score=0.1))
    assert len(list(labels)) == TRUNCATED
    assert not list(labels.filter(category="round").filter(category="angular"))
    assert not list(labels.filter(category="unicorn"))
    assert not list(labels.filter(status="rejected", min_score=0.1))
    assert [image.image_id for image in labels.filter(status="rejected")] == [TRUNCATED]


def test_a_stored_score_can_be_asked_for(labels: Labels) -> None:
    lowest = min(i.score for image in labels for i in image.instances)
    assert sum(len(image.instances) for image in labels.filter(min_score=lowest)) == labels.to_pandas().shape[0]


def test_a_filter_holds_for_single_images_and_tables(labels: Labels, flat: "DuckDBPyConnection") -> None:
    rejected, sure = labels.filter(status="rejected"), labels.filter(min_score=0.9)
    assert rejected[TRUNCATED].reject_detail == "ends early"
    with pytest.raises(KeyError, match="not among those"):
        rejected[1]
    assert rejected.images().read_all()["reject_code"].to_pylist() == ["truncated"]
    assert rejected.instances().read_all().num_rows == 0
    expected = flat.sql("select distinct image_id from instances where score >= 0.9::float order by 1").fetchall()
    assert [(n,) for n in sure.images().read_all()["image_id"].to_pylist()] == expected
    assert sure.to_pandas()["score"].min() >= 0.9
    assert sure.candidates().read_all().num_rows == sum(len(image.candidates) for image in sure)


def test_everything_wrong_with_a_filter_is_told_at_once(labels: Labels) -> None:
    with pytest.raises(BadInput) as caught:
        labels.filter(category=["anguler", "round"], status="reject", min_score=1.5)
    assert caught.value.problems == (
        "no category 'anguler' (did you mean 'angular'?): there are round, angular, unicorn",
        "no status 'reject': it is one of labelled, empty, rejected",
        "min_score 1.5 is not between 0 and 1",
    )


def test_a_selection_has_no_length_but_can_be_listed(labels: Labels) -> None:
    selection = labels.filter(status="labelled")
    with pytest.raises(TypeError, match="not known before it is read"):
        len(selection)
    assert len(list(selection)) == N_SCENES


@pytest.mark.parametrize("name", ["instances", "candidates"])
def test_flat_tables_are_what_duckdb_unnests(labels: Labels, flat: "DuckDBPyConnection", name: str) -> None:
    reader = labels.instances() if name == "instances" else labels.candidates()
    names = {category.id: category.name for category in labels.categories}
    expected = flat.sql(
        f"select image_id, uri, category_id, prompt_id, phrase, score, presence, bbox, area from {name}"
    ).fetchall()
    rows = reader.read_all().to_pylist()
    assert len(rows) == len(expected) > 10
    for row, (image_id, uri, category_id, prompt_id, phrase, score, presence, bbox, area) in zip(
        rows, expected, strict=True
    ):
        assert row == {
            "image_id": image_id,
            "uri": uri,
            "category_id": category_id,
            "category": names[category_id],
            "prompt_id": prompt_id,
            "phrase": phrase,
            "object_id": None,
            "track_id": None,
            "point_x": None,
            "point_y": None,
            "stability": None,
            "score": score,
            "presence": presence,
            "box_left": bbox[0],
            "box_top": bbox[1],
            "box_width": bbox[2],
            "box_height": bbox[3],
            "area": area,
        }


def test_pandas_and_duckdb_take_the_tables(labels: Labels, duckdb: "DuckDBPyConnection") -> None:
    counted = Counter(i.category for image in labels for i in image.instances)
    assert labels.to_pandas()["category"].value_counts().to_dict() == counted
    duckdb.register("found", labels.instances()).register("looked_at", labels.images())
    assert dict(duckdb.sql("select category, count(*) from found group by all").fetchall()) == counted
    statuses = duckdb.sql("select status, count(*) from looked_at group by all").fetchall()
    assert dict(statuses) == {"labelled": N_SCENES, "rejected": 1}


def test_an_image_is_the_file_that_was_labelled(labels: Labels) -> None:
    image = labels[1]
    with Image.open(image.uri) as opened:
        assert np.array_equal(np.asarray(image.image()), np.asarray(opened))


def test_an_image_is_turned_as_the_job_turned_it(tmp_path: Path) -> None:
    for name, overrides in (("turned", []), ("raw", ["image.apply_exif=false"])):
        labelled_scenes(tmp_path / name, count=1, overrides=overrides)
        path = tmp_path / name / "images" / "000001.jpg"
        exif = Image.Exif()
        exif[0x0112] = 6
        with Image.open(path) as opened:
            upright = opened.size
            opened.save(path, exif=exif)
        size_wh = upright[::-1] if name == "turned" else upright
        row = Labels(str(tmp_path / name / "labels"))[1]
        image = replace(row, sha256=None, size_hw=size_wh[::-1])  # as if that file had been labelled
        assert image.image().size == size_wh


def test_a_drawing_shows_the_instances_asked_for(labels: Labels) -> None:
    image = labels[1]
    plain, drawn = np.asarray(image.image()), np.asarray(image.draw())
    changed = (plain != drawn).any(axis=2)
    whole = np.logical_or.reduce([instance.mask() for instance in image.instances])
    assert changed[whole].mean() > 0.95
    assert np.array_equal(np.asarray(image.draw(())), plain)
    one = (np.asarray(image.draw(image.instances[:1])) != plain).any(axis=2)
    assert one.sum() < changed.sum()
    assert max(image.draw(max_side_px=100).size) == 100


def test_a_notebook_gets_a_jpeg_and_of_a_rejected_image_its_text(labels: Labels) -> None:
    shown = labels[1]._repr_jpeg_()
    assert shown is not None
    assert shown.startswith(b"\xff\xd8\xff")
    assert labels[TRUNCATED]._repr_jpeg_() is None
    assert "rejected: truncated: ends early" in repr(labels[TRUNCATED])
    counts = Counter(instance.category for instance in labels[1].instances)
    assert all(f"{n} {category}" in repr(labels[1]) for category, n in counts.items())
    assert "counts" not in repr(labels[1].instances[0]), "no run lengths"
    assert f"{TRUNCATED} images planned, of round, angular, unicorn" in repr(labels)


def test_an_image_that_is_gone_changed_or_unreadable_is_told(tmp_path: Path) -> None:
    labelled_scenes(tmp_path, count=3)
    labels = Labels(str(tmp_path / "labels"))
    images = tmp_path / "images"
    (images / "000001.jpg").unlink()
    shutil.copy(images / "000003.jpg", images / "000002.jpg")
    with pytest.raises(FileNotFoundError, match=r"000001\.jpg"):
        labels[1].image()
    with pytest.raises(BadInput, match=r"000002\.jpg: changed: not the bytes that were labelled"):
        labels[2].draw()
    with pytest.raises(BadInput, match=r"truncated\.jpg: truncated: "):
        labels[4].image()


def test_an_unfinished_output_gives_what_is_there(tmp_path: Path) -> None:
    labelled_scenes(tmp_path, count=N_SCENES)
    Path(unit_uri(str(tmp_path / "labels"), 1)).unlink()
    labels = Labels(str(tmp_path / "labels"))
    assert labels.n_planned == TRUNCATED
    assert len(labels) == len(list(labels)) == TRUNCATED - UNIT_SIZE
    assert labels.images().read_all().num_rows == TRUNCATED - UNIT_SIZE
    with pytest.raises(KeyError, match="image 5 is not labelled yet"):
        labels[5]


def test_only_what_is_asked_for_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    storage = type(open_storage(str(folder), {}))
    whole = storage.read

    def recorded(self: Storage, uri: str, **options: str) -> bytes:
        read.append(uri.rpartition("/")[2])
        return whole(self, uri, **options)

    monkeypatch.setattr(storage, "read", recorded)
    labels = Labels(str(folder))
    labels.filter(category="round").instances()
    assert read == ["run.json"]
    labels[1]
    assert read == ["run.json", "00000000.parquet"]
    next(iter(labels.filter(status="rejected")))
    assert read[2:] == [f"{unit:08d}.parquet" for unit in range(3)]


def test_no_output_and_no_plan_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no job was ever started here"):
        Labels(str(tmp_path))
    labelled_scenes(tmp_path, count=1)
    (tmp_path / "labels" / "plan.parquet").unlink()
    with pytest.raises(BadInput, match="has no plan yet"):
        Labels(str(tmp_path / "labels"))


def test_labels_and_images_on_s3(s3: S3, folder: Path) -> None:
    bucket = s3.make_bucket("reader")
    for path in folder.rglob("*"):
        if path.is_file():
            s3.put(f"{bucket}/out/{path.relative_to(folder)}", path.read_bytes())
    local, labels = Labels(str(folder)), Labels(f"{bucket}/out", storage_options=s3.options)
    assert list(labels.filter(category="round")) == list(local.filter(category="round"))
    assert labels.to_pandas().equals(local.to_pandas())
    assert labels[1].draw().tobytes() == local[1].draw().tobytes(), "its image is on this disk"

    s3.put(f"{bucket}/images/1.jpg", Path(local[1].uri).read_bytes())
    on_s3 = replace(labels[1], uri=f"{bucket}/images/1.jpg")
    assert on_s3.draw().tobytes() == local[1].draw().tobytes()
    nowhere = {"endpoint_url": "http://127.0.0.1:1", "retry_for_s": 0}
    elsewhere = Labels(f"{bucket}/out", storage_options=s3.options, input_storage_options=nowhere)
    with pytest.raises(StorageError, match=r"1\.jpg"):
        replace(elsewhere[1], uri=on_s3.uri).image()
