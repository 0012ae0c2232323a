"""Label files are read as they are by software nobody here wrote, also where a whole shard is empty or rejected."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autolabel.labels.schema import SCHEMA
from autolabel.labels.units import file_metadata, open_unit, read_summary, write_unit
from autolabel.masks.rle import decode
from autolabel.storage import open_storage
from tests.support.rows import ONTOLOGY, instance, looked_at, unreadable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAMES = ["0 labelled", "1 all empty", "2 all rejected", "3 exemplars alone"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("readers")
    units = [
        [looked_at(1, instance("car"), instance("van")), unreadable(2)],
        [looked_at(3), looked_at(4)],
        [unreadable(5), unreadable(6)],
        [looked_at(7, instance(None)), looked_at(8)],
    ]
    storage, metadata = open_storage(str(output), {}), file_metadata("f" * 64, ONTOLOGY)
    for unit, rows in enumerate(units):
        assert write_unit(storage, str(output), unit, rows, metadata)
        assert not write_unit(storage, str(output), unit, rows, metadata)
    return output / "labels"


STATUSES = ["labelled", "rejected", "empty", "empty", "rejected", "rejected", "labelled", "empty"]


def test_every_file_has_the_same_schema_and_says_what_it_is(folder: Path) -> None:
    storage = open_storage(str(folder), {})
    for unit in range(len(NAMES)):
        schema = open_unit(storage, str(folder.parent), unit).schema_arrow
        assert schema.equals(SCHEMA), NAMES[unit]
        assert schema.metadata[b"autolabel.fingerprint"] == b"f" * 64
        assert b'"car"' in schema.metadata[b"autolabel.categories"]
    assert read_summary(storage, str(folder.parent), 0).instances_of == {1: 2}
    assert read_summary(storage, str(folder.parent), 2).rejected_by == {"truncated": 2}


def test_pyarrow(folder: Path) -> None:
    import pyarrow.dataset as ds

    table = ds.dataset(folder, format="parquet").to_table()
    assert table["status"].to_pylist() == STATUSES
    first = table["instances"][0].as_py()[1]
    assert (first["phrase"], first["score"], first["bbox"], first["area"]) == ("van", 0.75, [2, 1, 3, 2], 6)


def test_duckdb(folder: Path, duckdb: "DuckDBPyConnection") -> None:
    query = f"""
        select phrase, count(*), sum(area) from (
            select unnest(instances, recursive := true) from '{folder}/*.parquet'
        ) group by phrase order by phrase nulls last
    """
    assert duckdb.execute(query).fetchall() == [("car", 1, 6), ("van", 1, 6), (None, 1, 6)]
    for unit in range(len(NAMES)):
        assert duckdb.execute(f"select count(*) from '{folder}/{unit:08d}.parquet'").fetchall() == [(2,)]


def test_polars(folder: Path) -> None:
    import polars as pl

    frame = pl.read_parquet(folder / "*.parquet")
    assert frame["status"].to_list() == STATUSES
    masks = frame.explode("instances").unnest("instances").drop_nulls("score").unnest("segmentation")
    assert masks["size"].to_list() == [[4, 6]] * 3


def test_pandas(folder: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(folder)
    assert frame["status"].to_list() == STATUSES
    assert [len(found) for found in frame["instances"]] == [2, 0, 0, 0, 0, 0, 1, 0]
    assert frame["reject_code"].value_counts().to_dict() == {"truncated": 3}


def test_datasets(folder: Path, tmp_path: Path) -> None:
    import datasets

    files = sorted(str(path) for path in folder.iterdir())
    for some in (files, files[1:2], files[2:3]):
        loaded = datasets.load_dataset("parquet", data_files=some, split="train", cache_dir=str(tmp_path / "cache"))
        assert len(loaded) == 2 * len(some)
    whole = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert whole["status"][:] == STATUSES
    counts = whole[0]["instances"][0]["segmentation"]["counts"]
    assert counts == instance("car").rle.counts
    assert decode(instance("car").rle).sum() == 6
