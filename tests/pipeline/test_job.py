"""The whole job on local files: images in, Parquet and COCO out."""

import json
import os
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autolabel.config.compose import compose_config
from autolabel.errors import BadInput, CheckpointError, JobFailed, Refused
from autolabel.labels.summary import Summary
from autolabel.pipeline import job
from autolabel.pipeline.job import phrases_asked
from autolabel.pipeline.refine import refine
from autolabel.pipeline.request import Request
from autolabel.prompts.concepts import Exemplar, ImageExemplars
from autolabel.prompts.ontology import Category, Ontology
from autolabel.storage import open_storage
from tests.support.bad_images import bad_images, good_images
from tests.support.jobs import assert_same_labels, rows_of, run_export, run_label, run_verify, statuses
from tests.support.photographs import SIZES_HW
from tests.support.scenes import write_scenes

pytestmark = pytest.mark.usefixtures("cluster")


def write(folder: Path, images: dict[str, bytes]) -> Path:
    for name, data in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "photos"
    write_scenes(folder, count=9, seed=7)
    return folder


@pytest.fixture(scope="session")
def labelled(scenes: Path, cluster: None) -> Path:
    """A finished job over the scenes, in units of four; tests copy it before they touch it."""
    output = scenes.parent / "labels"
    run_label(scenes, output, "output.unit_size=4", "prompts=[red circle, triangle]")
    return output


@pytest.fixture
def copy(labelled: Path, scenes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(labelled, tmp_path / "labels"))


def by_name(output: Path, root: Path) -> dict[str, dict[str, Any]]:
    """Rows by file name relative to the input."""
    return {row["uri"].removeprefix(f"{root}/"): row for row in rows_of(output)}


def test_one_row_per_image_and_a_file_per_unit(labelled: Path, scenes: Path) -> None:
    assert sorted(path.name for path in (labelled / "labels").iterdir()) == [f"{n:08d}.parquet" for n in range(3)]
    rows = rows_of(labelled)
    assert [row["image_id"] for row in rows] == list(range(1, 11))
    assert [row["uri"] for row in rows] == sorted(str(path) for path in scenes.iterdir())
    assert statuses(labelled)["rejected"] == 1
    assert statuses(labelled)["labelled"] >= 1
    found = [instance for row in rows for instance in row["instances"]]
    assert {instance["phrase"] for instance in found} <= {"red circle", "triangle"}
    assert all(0.5 < instance["score"] <= 1 for instance in found)
    for row in rows[:-1]:
        assert [prompt["phrase"] for prompt in row["prompts"]] == ["red circle", "triangle"]


def test_verify_is_clean_and_says_so_in_one_line(labelled: Path) -> None:
    verdict = run_verify(labelled)
    assert verdict.clean
    counts = statuses(labelled)
    assert str(verdict) == (
        f"10 images: {counts['labelled']} labelled, {counts['empty']} empty, 1 rejected; 0 missing, 0 duplicated"
    )


def test_a_second_run_does_only_what_is_missing(copy: Path, scenes: Path) -> None:
    before = {path.name: path.read_bytes() for path in (copy / "labels").iterdir()}
    kept = {name: (copy / "labels" / name).stat() for name in before}
    (copy / "labels" / "00000001.parquet").unlink()
    assert run_verify(copy).n_missing == 4
    told = run_label(scenes, copy, "output.unit_size=4", "prompts=[red circle, triangle]")
    assert "10 images" in told
    after = {path.name: path.read_bytes() for path in (copy / "labels").iterdir()}
    assert after == before  # the very bytes
    for name in ("00000000.parquet", "00000002.parquet"):
        stat = (copy / "labels" / name).stat()
        assert (stat.st_ino, stat.st_mtime_ns) == (kept[name].st_ino, kept[name].st_mtime_ns)
    assert run_verify(copy).clean


def test_a_run_with_other_settings_is_refused_with_the_difference(copy: Path, scenes: Path) -> None:
    with pytest.raises(Refused) as refused:
        run_label(scenes, copy, "prompts=[red circle, square]", "threshold=0.4")
    assert "threshold: 0.5 there, 0.4 now" in str(refused.value)
    assert 'categories[1].name: "triangle" there, "square" now' in str(refused.value)
    with pytest.raises(Refused, match="input.uri"):
        run_label(scenes.parent, copy, "prompts=[red circle, triangle]")
    assert refused.value.exit_code == 3


def test_the_plan_is_sealed_and_what_changed_since_is_told(copy: Path, scenes: Path, tmp_path: Path) -> None:
    photos = Path(shutil.copytree(scenes, tmp_path / "photos"))
    output = tmp_path / "sealed"
    settings = ("output.unit_size=4", "prompts=[red circle]")
    run_label(photos, output, *settings)
    for path in (output / "labels").iterdir():
        path.unlink()
    (photos / "scene-00.png").write_bytes((photos / "scene-01.png").read_bytes())  # new, and first in order
    (photos / "scene-02.jpg").unlink()
    (photos / "scene-03.png").write_bytes((photos / "scene-04.jpg").read_bytes())
    os.utime(photos / "scene-04.jpg", ns=(1, 1))
    run_label(photos, output, *settings)
    rows = {Path(row["uri"]).name: row for row in rows_of(output)}
    assert "scene-00.png" not in rows
    codes = {name: row["reject_code"] for name, row in rows.items() if row["reject_code"]}
    assert codes == {
        "scene-02.jpg": "missing",
        "scene-03.png": "changed",
        "scene-04.jpg": "changed",
        "truncated.jpg": "truncated",
    }
    assert run_verify(output).clean


def test_bad_images_cost_nobody_else_anything(tmp_path: Path) -> None:
    good, bad = good_images(), bad_images()
    alone = write(tmp_path / "alone", good)
    mixed = write(write(tmp_path / "mixed", good), {name: data for name, (data, _) in bad.items()})
    settings = ["image.max_pixels=20_000_000", "prompts=[red circle, thing]", "output.unit_size=16"]
    suffixes = sorted({name.rpartition(".")[2] for name in (*good, *bad)})
    settings += [f"input.suffixes=[{','.join(repr(s) for s in suffixes)}]"]
    run_label(alone, tmp_path / "out-alone", *settings)
    run_label(mixed, tmp_path / "out-mixed", *settings)
    expected, found = by_name(tmp_path / "out-alone", alone), by_name(tmp_path / "out-mixed", mixed)
    assert set(expected) == set(good)
    assert set(found) == {*good, *bad}
    assert {row["status"] for row in expected.values()} <= {"labelled", "empty"}
    for name in good:
        assert_same_labels(found[name], expected[name])
    assert {name: found[name]["reject_code"] for name in bad} == {name: str(code) for name, (_, code) in bad.items()}
    assert all(found[name]["reject_detail"] for name in bad)
    assert run_verify(tmp_path / "out-mixed").clean


def test_masks_are_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    Image.effect_noise((60, 40), 80).convert("RGB").save(tmp_path / "in" / "turned.jpg", exif=exif)
    run_label(tmp_path / "in", tmp_path / "upright", "threshold=0.01")
    run_label(tmp_path / "in", tmp_path / "raw", "threshold=0.01", "image.apply_exif=false")
    (upright,), (raw,) = rows_of(tmp_path / "upright"), rows_of(tmp_path / "raw")
    assert (upright["width"], upright["height"], upright["orientation"]) == (40, 60, 6)
    assert (raw["width"], raw["height"], raw["orientation"]) == (60, 40, 6)
    for row in (upright, raw):
        sizes = {tuple(instance["segmentation"]["size"]) for instance in row["instances"]}
        assert sizes == {(row["height"], row["width"])}


def test_the_photos_pass_through_the_demo_model(photos: Path, tmp_path: Path) -> None:
    run_label(photos, tmp_path / "out", "prompts=[person, truck, red circle]", "threshold=0.3")
    rows = rows_of(tmp_path / "out")
    sizes = {Path(row["uri"]).name: (row["width"], row["height"]) for row in rows}
    assert sizes == {name: (width, height) for name, (height, width) in SIZES_HW.items()}
    assert all(row["status"] != "rejected" for row in rows)
    assert run_verify(tmp_path / "out").clean


def test_words_that_the_model_does_not_know_are_told_at_the_start_and_at_the_end(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A first run on one's own photos finds nothing: why, and what to type instead."""
    output = tmp_path / "out"
    told = run_label(photos, output, "prompts=[person, red car, red circle]", "threshold=0.9")
    note = "The model does not know 'person', 'car': words that find nothing. With model=sam3.1 it knows every word."
    assert note in caplog.messages
    assert note in told.splitlines()
    assert json.loads((output / "run.json").read_bytes())["unknown_words"] == ["person", "car"]
    refine(compose_config("refine", [f"output.uri='{output}'", f"refined.uri='{tmp_path / 'refined'}'", "min_area=9"]))
    assert json.loads((tmp_path / "refined" / "run.json").read_bytes())["unknown_words"] == ["person", "car"]


def test_nothing_is_told_of_words_that_the_model_knows(labelled: Path) -> None:
    assert json.loads((labelled / "run.json").read_bytes())["unknown_words"] == []


def test_footers_of_earlier_runs_are_read_beside_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed job of 195,000 units would hold its GPUs for half an hour at its end."""
    may_read, n_read = threading.Event(), list[int]()

    def read_slowly(output: object, output_uri: str, unit: int) -> Summary:
        assert may_read.wait(30)
        n_read.append(unit)
        return Summary(images=Counter(labelled=1))

    monkeypatch.setattr(job, "read_summary", read_slowly)
    storage = open_storage("x", {})
    with job.summing(storage, "x", range(100)) as total:
        assert not n_read, "the block has begun, whatever is read"
        may_read.set()
        assert total().n_images == 100
    n_read.clear()
    with pytest.raises(JobFailed), job.summing(storage, "x", range(100_000)):
        raise JobFailed("the job ends")
    assert len(n_read) < 50_000, "what nobody needs any more is read to its end"


def test_words_of_a_category_that_boxes_show_are_not_asked(scenes: Path) -> None:
    ontology = Ontology(
        categories=(Category(id=1, name="a", phrases=("like this",)), Category(id=2, name="b", phrases=("elephant",)))
    )
    box = Exemplar(category_id=1, box_cxcywh=(0.5, 0.5, 0.1, 0.1), positive=True)
    boxes = {"an image": ImageExemplars(size_hw=None, exemplars=(box,))}
    for use_text, asked in (("true", ["like this", "elephant"]), ("false", ["elephant"])):
        settings = [f"input.uri={scenes}", "output.uri=x", "prompts=[a]", f"exemplars.use_text={use_text}"]
        request = Request(ontology=ontology, listing=None, exemplars=boxes, objects=None)
        assert phrases_asked(compose_config("label", settings), request) == asked


def test_exemplars_prompt_beside_and_instead_of_text(scenes: Path, tmp_path: Path) -> None:
    seeds = {
        "images": [{"id": 5, "file_name": "scene-01.png"}],
        "categories": [{"id": 3, "name": "triangle"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 3, "bbox": [10, 10, 80, 80]},
            {"id": 2, "image_id": 5, "category_id": 3, "bbox": [100, 100, 60, 60], "negative": True},
        ],
    }
    (tmp_path / "seeds.json").write_text(json.dumps(seeds))
    settings = ("prompts=[red circle, triangle]", f"exemplars.uri={tmp_path}/seeds.json")
    run_label(scenes, tmp_path / "text", "prompts=[red circle, triangle]")
    run_label(scenes, tmp_path / "both", *settings)
    run_label(scenes, tmp_path / "boxes", *settings, "exemplars.use_text=false")
    text, both, boxes = (rows_of(tmp_path / name) for name in ("text", "both", "boxes"))
    assert [p["phrase"] for p in both[0]["prompts"]] == ["red circle", "triangle"]
    assert [p["phrase"] for p in boxes[0]["prompts"]] == ["red circle", None]
    presence = [rows[0]["prompts"][1]["presence"] for rows in (text, both, boxes)]
    assert len(set(presence)) == 3
    for row, same in zip(both[1:], text[1:], strict=True):
        assert_same_labels(row, same)
    assert text[0]["prompts"][0]["presence"] == pytest.approx(both[0]["prompts"][0]["presence"], abs=1e-5)


def test_exemplars_come_with_a_manifest(scenes: Path, tmp_path: Path) -> None:
    seeds = [{"category": "triangle", "bbox": [0.1, 0.1, 0.5, 0.5]}]
    lines = [
        {"uri": str(scenes / "scene-02.jpg"), "seeds": seeds},
        {"uri": str(scenes / "scene-01.png"), "seeds": None},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    overrides = ["prompts=[triangle]", "exemplars.column=seeds", "exemplars.use_text=false"]
    overrides += ["exemplars.normalized=true", "exemplars.box_format=xyxy"]
    run_label(tmp_path / "m.jsonl", tmp_path / "out", *overrides)
    rows = rows_of(tmp_path / "out")
    assert [Path(row["uri"]).name for row in rows] == ["scene-02.jpg", "scene-01.png"]
    assert [row["prompts"][0]["phrase"] for row in rows] == [None, "triangle"]
    with pytest.raises(Refused, match="exemplars.sha256"):
        (tmp_path / "m.jsonl").write_text((tmp_path / "m.jsonl").read_text().replace("0.5]", "0.6]"))
        run_label(tmp_path / "m.jsonl", tmp_path / "out", *overrides)


def test_everything_wrong_is_told_together_before_a_model_is_loaded(scenes: Path, tmp_path: Path) -> None:
    seeds = {
        "images": [{"id": 1, "file_name": "scene-01.png"}, {"id": 2, "file_name": "nowhere.png"}],
        "categories": [{"id": 1, "name": "triangle"}, {"id": 2, "name": "square"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, -5, 5]},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [10, 10, 5, 5]},
            {"id": 3, "image_id": 1, "category_id": 1, "bbox": [9000, 10, 5, 5]},
            {"id": 4, "image_id": 2, "category_id": 1, "bbox": [10, 10, 5, 5]},
        ],
    }
    (tmp_path / "seeds.json").write_text(json.dumps(seeds))
    prompts = "prompts=[triangle, '  ', triangle, '" + "very long " * 40 + "']"
    with pytest.raises(BadInput) as caught:
        run_label(scenes, tmp_path / "out", prompts, f"exemplars.uri={tmp_path}/seeds.json")
    told = str(caught.value)
    for part in ("[1]", "blank", "[2]", "tokens", "annotations[0]", "'square'", "annotations[2]", "'nowhere.png'"):
        assert part in told, told
    assert not (tmp_path / "out").exists()


def test_a_wrong_checkpoint_ends_the_job_before_anything_is_written(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"<html>not a checkpoint</html>")
    for checkpoint in ("broken.pt", "absent.safetensors"):
        with pytest.raises(CheckpointError, match=checkpoint):
            run_label(scenes, tmp_path / "out", "model.seed=null", f"model.checkpoint={tmp_path}/{checkpoint}")
    assert not (tmp_path / "out").exists()


def test_export_is_read_by_pycocotools_mask_for_mask(labelled: Path) -> None:
    from pycocotools import mask as mask_utils
    from pycocotools.coco import COCO

    run_export(labelled)
    coco = COCO(labelled / "coco" / "annotations.json")
    rows = rows_of(labelled)
    readable = [row for row in rows if row["status"] != "rejected"]
    assert sorted(coco.imgs) == [row["image_id"] for row in readable]
    assert [image["file_name"] for image in coco.dataset["images"]] == [Path(r["uri"]).name for r in readable]
    assert [image["file_name"] for image in coco.dataset["rejected_images"]] == ["truncated.jpg"]
    stored = [(row["image_id"], instance) for row in rows for instance in row["instances"]]
    assert len(stored) == len(coco.anns) > 0
    assert sorted(coco.anns) == list(range(1, len(stored) + 1))
    for annotation, (image_id, instance) in zip(coco.dataset["annotations"], stored, strict=True):
        assert (annotation["image_id"], annotation["category_id"]) == (image_id, instance["category_id"])
        assert annotation["iscrowd"] == 0
        assert annotation["score"] == instance["score"]
        mask = coco.annToMask(annotation)
        assert (mask == mask_utils.decode(instance["segmentation"])).all()
        assert mask.sum() == annotation["area"]
    results = coco.loadRes(str(labelled / "coco" / "results.json"))
    assert len(results.anns) == len(stored)
    assert "bbox" not in json.loads((labelled / "coco" / "results.json").read_bytes())[0]
