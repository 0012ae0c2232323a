"""The tables as DuckDB and Polars read them."""

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from pycocotools import mask as coco

from autolabel.exports import instances
from autolabel.masks.rle import decode
from autolabel.output.job_output import JobOutput
from tests.support.jobs import run_export
from tests.support.made import stored

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@pytest.fixture(scope="module")
def folder(hard: JobOutput) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instances, "UNITS_PER_FILE", 2)
        told = run_export(hard.uri, "format=instances")
    assert "24 instances in 3 files" in told
    assert "15 images in 3 files, rejected ones too" in told
    return Path(hard.uri, "instances")


def test_polars_reads_every_instance_and_its_mask(hard: JobOutput, folder: Path) -> None:
    rows = pl.read_parquet(folder / "*.parquet").to_dicts()
    for row, (name, instance) in zip(rows, stored(hard), strict=True):
        assert row["uri"] == f"/photos/{name}"
        assert (row["category_id"], row["phrase"], row["score"]) == (
            instance.category_id,
            instance.phrase,
            instance.score,
        )
        assert row["category"] == {1: "round", 2: "angular"}[instance.category_id]
        assert tuple(row[f"box_{part}"] for part in ("left", "top", "width", "height")) == instance.bbox_xywh
        assert row["area"] == instance.area_px
        mask = coco.decode({"size": [row["rle_height"], row["rle_width"]], "counts": row["rle_counts"]})
        assert (mask == decode(instance.rle)).all()


def test_duckdb_counts_and_joins(folder: Path, duckdb: "DuckDBPyConnection") -> None:
    images, found = f"'{folder}/images/*.parquet'", f"'{folder}/*.parquet'"
    by_status = duckdb.execute(f"select status, count(*), sum(n_instances) from {images} group by status").fetchall()
    assert sorted(by_status) == [("empty", 1, 0), ("labelled", 13, 24), ("rejected", 1, 0)]
    joined = f"{images} i left join {found} o using (image_id)"
    wrong = f"select count(*) from {joined} where o.split <> i.split or o.uri <> i.uri"
    assert duckdb.execute(wrong).fetchall() == [(0,)]
    counts = f"select i.n_instances, count(o.uri) from {joined} group by i.image_id, i.n_instances"
    assert all(own == counted for own, counted in duckdb.execute(counts).fetchall())


def test_a_table_without_rows_has_its_columns(folder: Path) -> None:
    schemas = {pl.read_parquet_schema(path).__str__() for path in folder.glob("*.parquet")}
    assert len(schemas) == 1
