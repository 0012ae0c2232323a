"""The whole job against an S3 server process: images read from it, labels written to it, several workers at once."""

from pathlib import Path

import pytest

from autolabel.config.compose import compose_config
from autolabel.labels.units import done_units, open_unit
from autolabel.output.run_record import read
from autolabel.pipeline import actors
from autolabel.pipeline.heartbeat import Heartbeat
from autolabel.pipeline.job import label
from autolabel.pipeline.messages import LabelJob
from autolabel.plan import Plan
from autolabel.storage import open_storage
from tests.support.jobs import assert_same_labels, rows_of, run_export, run_label, run_verify
from tests.support.s3 import S3
from tests.support.scenes import write_scenes

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def bucket(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A bucket with 31 scenes and a broken file, and the same files on disk."""
    uri, folder = s3.make_bucket("job"), tmp_path_factory.mktemp("s3") / "photos"
    for name in write_scenes(folder, count=31, seed=3):
        s3.put(f"{uri}/photos/{name}", (folder / name).read_bytes())
    return uri, folder


def on_s3(s3: S3, *names: str) -> list[str]:
    return [f"{name}.storage_options.endpoint_url={s3.endpoint_url}" for name in names]


SETTINGS = ("prompts=[red circle, triangle]", "output.unit_size=2")


def test_from_s3_to_s3_with_several_workers(s3: S3, bucket: tuple[str, Path], tmp_path: Path) -> None:
    uri, folder = bucket
    overrides = [*on_s3(s3, "input", "output"), *SETTINGS, "cluster.min_actors=2", "cluster.max_actors=2"]
    overrides += ["cluster.cpus_per_actor=1", f"input.uri={uri}/photos", f"output.uri={uri}/labels"]
    config = compose_config("label", overrides)
    assert "32 images" in label(config)
    assert run_verify(f"{uri}/labels", *on_s3(s3, "output")).clean

    # the same rows as from disk to disk
    run_label(folder, tmp_path / "labels", *SETTINGS)
    local = {Path(row["uri"]).name: row for row in rows_of(tmp_path / "labels")}
    storage = open_storage(uri, s3.options)
    assert done_units(storage, f"{uri}/labels") == set(range(16))
    for unit in range(16):
        for row in open_unit(storage, f"{uri}/labels", unit).read().to_pylist():
            assert_same_labels(row, local.pop(row["uri"].removeprefix(f"{uri}/photos/")))
    assert not local

    # several processes did it: label half of it again elsewhere, and ask who
    record, plan = read(storage, f"{uri}/labels"), Plan(storage, f"{uri}/labels")
    assert record is not None
    storage.create_once(f"{uri}/again/plan.parquet", storage.read(f"{uri}/labels/plan.parquet"))
    job = LabelJob.of(config, output_uri=f"{uri}/again", record=record, checkpoint_sha256=None)
    reports = list(actors.label_units(job, range(plan.n_units), Heartbeat(), config.cluster))
    assert {report.unit for report in reports} == set(range(16))
    assert len({report.worker for report in reports}) == 2


def test_export_to_s3(s3: S3, bucket: tuple[str, Path]) -> None:
    uri, _ = bucket
    overrides = (*on_s3(s3, "input", "output"), *SETTINGS)
    run_label(f"{uri}/photos/scene-0*", f"{uri}/few", *overrides)
    told = run_export(f"{uri}/few", *on_s3(s3, "output"))
    assert "9 images" in told
    document = open_storage(uri, s3.options).read(f"{uri}/few/coco/annotations.json")
    assert b'"file_name":"scene-01.png"' in document


def test_a_replaced_object_is_a_changed_image(s3: S3, bucket: tuple[str, Path]) -> None:
    uri, folder = bucket
    names = ["scene-01.png", "scene-02.jpg"]
    for name in names:
        s3.put(f"{uri}/replaced/{name}", (folder / name).read_bytes())
    overrides = (*on_s3(s3, "input", "output"), *SETTINGS)
    run_label(f"{uri}/replaced", f"{uri}/out", *overrides)
    storage = open_storage(uri, s3.options)
    storage.fs.rm(f"{uri}/out/labels/00000000.parquet".removeprefix("s3://"))  # type: ignore[attr-defined]
    s3.put(f"{uri}/replaced/{names[0]}", (folder / "scene-03.png").read_bytes())
    storage.fs.rm(f"{uri}/replaced/{names[1]}".removeprefix("s3://"))  # type: ignore[attr-defined]
    run_label(f"{uri}/replaced", f"{uri}/out", *overrides)
    rows = open_unit(storage, f"{uri}/out", 0).read().to_pylist()
    assert [row["reject_code"] for row in rows] == ["changed", "missing"]
