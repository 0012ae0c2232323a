"""Flat tables of an output for DuckDB, Polars and pandas: a row for each image, or for each instance."""

from collections.abc import Iterator

import pyarrow as pa

from autolabel.labels.columns import UnitColumns
from autolabel.labels.flat import FLAT_INSTANCES, MASK_COLUMNS
from autolabel.labels.schema import SCHEMA

OF_AN_IMAGE = ("image_id", "uri", "width", "height", "status", "reject_code", "reject_detail")
IMAGES = pa.schema([SCHEMA.field(name) for name in OF_AN_IMAGE])
INSTANCES = pa.schema([field for field in FLAT_INSTANCES if field.name not in MASK_COLUMNS])


def image_batches(unit: UnitColumns) -> Iterator[pa.RecordBatch]:
    """Give the rows of IMAGES of a unit."""
    height, width = unit.size_hw.T
    decoded = height > 0
    columns = {
        "image_id": unit.image_id,
        "uri": unit.uri,
        "width": pa.array(width, pa.int32(), mask=~decoded),
        "height": pa.array(height, pa.int32(), mask=~decoded),
        "status": unit.status,
        "reject_code": unit.reject_code,
        "reject_detail": unit.reject_detail,
    }
    yield from pa.table(columns, schema=IMAGES).to_batches()
