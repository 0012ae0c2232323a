"""`verify` is only worth what it notices: an output is spoilt in every way, one at a time."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autolabel import plan
from autolabel.config.compose import compose_config
from autolabel.errors import BadInput
from autolabel.inputs.listing import Listing
from autolabel.inputs.locations import ImageLocation
from autolabel.labels.schema import SCHEMA
from autolabel.labels.types import ImageLabels
from autolabel.labels.units import file_metadata, unit_uri, write_unit
from autolabel.masks.rle import encode
from autolabel.output import passes, run_record
from autolabel.output.settings import label_settings
from autolabel.storage import open_storage
from tests.support.jobs import run_verify
from tests.support.made import box_mask
from tests.support.made_objects import NO_MASK, MadeObject, make_objects_output
from tests.support.rows import ONTOLOGY, instance, looked_at, unreadable

Rows = list[dict[str, Any]]


@pytest.fixture
def output(tmp_path: Path) -> str:
    """Five images in units of two: labelled and rejected; empty; labelled."""
    units = [
        [looked_at(1, instance("car")), unreadable(2)],
        [looked_at(3), looked_at(4)],
        [looked_at(5, instance("car"))],
    ]
    return written(tmp_path / "labels-of-a-job", units, unit_size=2)


def written(folder: Path, units: Sequence[Sequence[ImageLabels]], *, unit_size: int) -> str:
    """The output of a job that ended in these rows."""
    uri = str(folder)
    storage = open_storage(uri, {})
    config = compose_config("label", ["input.uri=s3://bucket", f"output.uri={uri}"])
    settings = label_settings(config, ONTOLOGY, input_uri="s3://bucket", weights="seed 0")
    record = run_record.create_or_match(storage, uri, settings)
    images = [ImageLocation(f"s3://bucket/{row.image_id}.jpg", 10, "e") for rows in units for row in rows]
    assert plan.seal(storage, uri, plan.encode(Listing(root="s3://bucket", images=images), unit_size=unit_size))
    for unit, rows in enumerate(units):
        write_unit(storage, uri, unit, rows, file_metadata(record.fingerprint, ONTOLOGY))
    return uri


def rewrite(
    output: str, unit: int, change: Callable[[Rows], Any], *, schema: pa.Schema = SCHEMA, **metadata: str
) -> None:
    path = unit_uri(output, unit)
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    merged = {**(table.schema.metadata or {}), **{f"autolabel.{k}".encode(): v for k, v in metadata.items()}}
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.with_metadata(merged)), path)


def first(rows: Rows) -> dict[str, Any]:
    return rows[0]["instances"][0]  # type: ignore[no-any-return]


def test_a_whole_output_is_clean(output: str) -> None:
    assert str(run_verify(output)) == "5 images: 2 labelled, 2 empty, 1 rejected; 0 missing, 0 duplicated"
    assert run_verify(output).clean


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda rows: rows.append(rows[0]), "0 missing, 1 duplicated", id="a row twice"),
        pytest.param(lambda rows: rows.pop(), "1 images of its unit have no row", id="a row lost"),
        pytest.param(lambda rows: rows[1].update(image_id=3), "image 3 is not of this unit", id="another unit's row"),
        pytest.param(lambda rows: rows[0].update(uri="s3://x"), "in the plan 's3://bucket/1.jpg'", id="another image"),
        pytest.param(lambda rows: rows[0].update(status="empty"), "status 'empty' with 1 instances", id="status"),
        pytest.param(lambda rows: rows[0].update(sha256=None), "without its size", id="no sha256"),
        pytest.param(lambda rows: rows[0].update(width=7), "mask of size [4, 6] on an image of [4, 7]", id="size"),
        pytest.param(lambda rows: rows[1].update(reject_code="bored"), "rejected with code 'bored'", id="no such code"),
        pytest.param(lambda rows: rows[1].update(reject_detail=None), "and detail None", id="no detail"),
        pytest.param(lambda rows: rows[1].update(prompts=rows[0]["prompts"]), "but with prompts", id="asked anyway"),
        pytest.param(lambda rows: rows[0]["prompts"][0].update(n_instances=2), "prompts tell of 2", id="count"),
        pytest.param(lambda rows: first(rows).update(category_id=9), "category 9 is not of this run", id="category"),
        pytest.param(lambda rows: first(rows).update(score=1.5), "score 1.5", id="score"),
        pytest.param(lambda rows: first(rows).update(score=0.4), "instance 0: score 0.4", id="below the threshold"),
        pytest.param(
            lambda rows: rows[0].update(candidates=[{**first(rows), "score": 0.1, "area": 7}]),
            "candidate 0: score 0.1",
            id="a candidate below what is kept",
        ),
        pytest.param(lambda rows: first(rows).update(area=7), "area 7, its mask has 6 pixels", id="area"),
        pytest.param(lambda rows: first(rows).update(bbox=[2, 1, 3, 3]), "bbox [2.0, 1.0, 3.0, 3.0]", id="bbox"),
        pytest.param(lambda rows: first(rows).update(bbox=[2, 1, 3]), "bbox [2.0, 1.0, 3.0], its", id="a short bbox"),
        pytest.param(lambda rows: first(rows)["segmentation"].update(size=[4]), "mask of size [4]", id="a short size"),
        pytest.param(lambda rows: first(rows)["segmentation"].update(counts="0"), "does not decode", id="short mask"),
        pytest.param(lambda rows: first(rows)["segmentation"].update(counts="\x7f\x01"), "not decode", id="no RLE"),
        pytest.param(lambda rows: first(rows)["segmentation"].update(counts="h0"), "mask is empty", id="empty mask"),
        pytest.param(
            lambda rows: first(rows)["segmentation"].update(counts=first(rows)["segmentation"]["counts"] + "N"),
            "not written as pycocotools",
            id="a run of no pixels",
        ),
    ],
)
def test_a_spoilt_row_is_noticed(output: str, change: Callable[[Rows], Any], told: str) -> None:
    rewrite(output, 0, change)
    verdict = run_verify(output)
    assert not verdict.clean
    assert told in str(verdict)


# --- given objects ---


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two units of images with given objects, one of which has no mask, and one that is of three boxes."""
    images = {
        "a.jpg": [MadeObject("17", 3, box_mask(0, 0, 9, 9)), MadeObject("nothing", 7, NO_MASK)],
        "b.jpg": [MadeObject("17", 7, box_mask(9, 9, 9, 9), n_parts=3)],
        "c.jpg": [],
    }
    uri = str(tmp_path_factory.mktemp("given") / "labels")
    return make_objects_output(uri, images, unit_size=2).uri


@pytest.fixture
def own_given(given: str, tmp_path: Path) -> str:
    return str(shutil.copytree(given, tmp_path / "labels"))


def test_an_output_of_given_objects_is_clean(given: str) -> None:
    assert str(run_verify(given)) == "3 images: 2 labelled, 1 empty, 0 rejected; 0 missing, 0 duplicated"


def without_mask(instance: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**instance, "area": 0, "bbox": [0, 0, 0, 0], "segmentation": encode(NO_MASK).to_coco(), **fields}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(
            lambda rows: rows[0]["candidates"].clear(),
            ["object 'nothing' of the plan is 0 times in its row"],
            id="an object without a mask is lost",
        ),
        pytest.param(
            lambda rows: rows[0]["instances"].append(first(rows)),
            ["object '17' of the plan is 2 times in its row"],
            id="an object twice",
        ),
        pytest.param(
            lambda rows: rows[0]["candidates"].append(first(rows)),
            ["object '17' of the plan is 2 times in its row"],
            id="an object as label and candidate",
        ),
        pytest.param(
            lambda rows: first(rows).update(object_id="18"),
            ["object '17' of the plan is 0 times in its row", "the plan has no object '18' on it"],
            id="an object of no plan",
        ),
        pytest.param(
            lambda rows: first(rows).update(category_id=7, prompt_id=1),
            ["object '17' is of category 7, in the plan of 3"],
            id="an object of another category",
        ),
        pytest.param(
            lambda rows: rows[0]["candidates"].append({**first(rows), "object_id": None}),
            ["1 of its masks are of no given object"],
            id="a mask of no object",
        ),
        pytest.param(
            lambda rows: rows[0]["candidates"].append(without_mask(first(rows), object_id=None)),
            ["candidate 1: mask is empty", "1 of its masks are of no given object"],
            id="an empty mask of no object",
        ),
        pytest.param(
            lambda rows: rows[0]["instances"].__setitem__(0, without_mask(first(rows))),
            ["instance 0: mask is empty"],
            id="an empty mask as label",
        ),
    ],
)
def test_an_object_that_is_not_exactly_once_in_its_row_is_noticed(
    own_given: str, change: Callable[[Rows], Any], told: list[str]
) -> None:
    rewrite(own_given, 0, change)
    verdict = run_verify(own_given)
    assert not verdict.clean
    place = "labels/00000000.parquet: image 1: "
    of_objects = ("object", "the plan", "1 of its masks", "candidate", "instance")
    found = [problem.removeprefix(place) for problem in verdict.problems]
    assert sorted(problem for problem in found if problem.startswith(of_objects)) == sorted(told)


def test_a_rejected_image_need_not_have_its_objects(own_given: str) -> None:
    nothing: dict[str, Any] = {"instances": [], "candidates": [], "prompts": []}
    rejected = {"status": "rejected", "reject_code": "corrupt", "reject_detail": "torn", **nothing}
    rewrite(own_given, 0, lambda rows: rows[0].update(rejected))
    assert run_verify(own_given).problems == ["labels/00000000.parquet: it states other counts than its rows have"]


def test_a_file_of_another_run_is_noticed(output: str) -> None:
    rewrite(output, 1, lambda rows: None, fingerprint="0" * 64)
    assert "fingerprint is not that of run.json" in str(run_verify(output))
    rewrite(output, 2, lambda rows: None, categories="[]")
    assert "categories are not those of run.json" in str(run_verify(output))


def test_other_counts_than_those_of_the_rows_are_noticed(output: str) -> None:
    rewrite(output, 1, lambda rows: None, summary='{"images":{},"instances_of":{},"images_with":{},"rejected_by":{}}')
    assert "00000001.parquet: it states other counts than its rows have" in str(run_verify(output))
    rewrite(output, 1, lambda rows: None, summary="{}")
    assert "00000001.parquet was not written by autolabel: it has no counts" in str(run_verify(output))


def test_another_schema_is_noticed(output: str) -> None:
    rewrite(output, 1, lambda rows: None, schema=SCHEMA.remove(SCHEMA.get_field_index("sha256")))
    verdict = run_verify(output)
    assert "columns" in str(verdict)
    assert verdict.n_missing == 2


def test_missing_stray_and_torn_files_are_noticed(output: str) -> None:
    Path(unit_uri(output, 2)).rename(unit_uri(output, 7))
    path = Path(unit_uri(output, 1))
    path.write_bytes(path.read_bytes()[:-20])
    told = str(run_verify(output))
    assert "the plan has no unit 7" in told
    assert "00000001.parquet: unreadable" in told
    assert told.endswith("5 images: 1 labelled, 0 empty, 1 rejected; 3 missing, 0 duplicated; 2 problems")


def test_processes_say_what_one_process_says(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(output, 0, lambda rows: first(rows).update(area=7))
    rewrite(output, 2, lambda rows: rows.append(rows[0]))
    Path(unit_uri(output, 1)).unlink()
    alone = run_verify(output)
    monkeypatch.setattr(passes, "UNITS_WORTH_PROCESSES", 1)
    monkeypatch.setattr(passes, "n_cores", lambda: 2)
    assert run_verify(output) == alone
    assert (alone.n_images, alone.n_missing, alone.n_duplicated, alone.n_problems) == (5, 2, 1, 2)


def test_an_output_that_is_none_is_told(tmp_path: Path, output: str) -> None:
    with pytest.raises(BadInput, match="no job was ever started"):
        run_verify(tmp_path / "nowhere")
    Path(output, "plan.parquet").unlink()
    with pytest.raises(BadInput, match="has no plan yet"):
        run_verify(output)
    Path(output, "run.json").write_text('{"by": "another program"}')
    with pytest.raises(BadInput, match="not written by autolabel"):
        run_verify(output)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of a process's peak memory")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    program = r"""
import re, sys
from pathlib import Path
from autolabel.config.compose import compose_config
from autolabel.output.verify import verify
assert verify(compose_config("verify", [f"output.uri={sys.argv[1]}"])).clean
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""
    peak_kb = []
    for n_units in (20, 400):
        rows = [[unreadable(256 * unit + k) for k in range(1, 257)] for unit in range(n_units)]
        output = written(tmp_path / str(n_units), rows, unit_size=256)
        done = subprocess.run([sys.executable, "-c", program, output], capture_output=True, text=True, check=True)
        peak_kb.append(int(done.stdout))
    assert peak_kb[1] < peak_kb[0] + 15_000, "100,000 rows more"
