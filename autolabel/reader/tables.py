"""Flat tables of an output for DuckDB, Polars and pandas: a row for each image, or for each instance."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from autolabel.labels.schema import SCHEMA
from autolabel.prompts.ontology import Category

OF_AN_IMAGE = ("image_id", "uri", "width", "height", "status", "reject_code", "reject_detail")


IMAGES = pa.schema([SCHEMA.field(name) for name in OF_AN_IMAGE])


OF_AN_INSTANCE = ("category_id", "score", "presence", "phrase", "bbox", "area")  # without its mask


BOX_SIDES = ("box_left", "box_top", "box_width", "box_height")


INSTANCES = pa.schema(
    [
        ("image_id", pa.int64()),
        ("uri", pa.string()),
        ("category_id", pa.int64()),
        ("category", pa.string()),
        ("phrase", pa.string()),
        ("score", pa.float32()),
        ("presence", pa.float32()),
        *((side, pa.float64()) for side in BOX_SIDES),
        ("area", pa.int64()),
    ]
)


def instances_table(table: pa.Table, name: str, categories: Sequence[Category]) -> pa.RecordBatch:
    """The instances in the column `name`, a row of INSTANCES each."""
    lists = table[name].combine_chunks()
    cells, of_row = lists.flatten(), pc.list_parent_indices(lists)
    column = {field: pc.struct_field(cells, field) for field in OF_AN_INSTANCE}
    column |= {side: pc.list_element(column["bbox"], index) for index, side in enumerate(BOX_SIDES)}
    column |= {field: table[field].combine_chunks().take(of_row) for field in ("image_id", "uri")}
    place = pc.index_in(column["category_id"], pa.array([category.id for category in categories], pa.int64()))
    column["category"] = pa.array([category.name for category in categories]).take(place)
    return pa.record_batch([column[field.name] for field in INSTANCES], schema=INSTANCES)


def one_batch(table: pa.Table) -> pa.RecordBatch:
    columns = [column.combine_chunks() for column in table.columns]
    return pa.record_batch(columns, schema=IMAGES)


def leaves(name: str, fields: Sequence[str]) -> list[str]:
    """Parquet's names of fields of the structs in a list: the others are not decoded."""
    return [f"{name}.list.element.{field}" for field in fields]
