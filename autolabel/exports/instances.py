"""Tables for SQL: `instances/*.parquet`, a row for each instance, and `instances/images/*.parquet`, one for each image.

    select category, count(*), avg(score) from 'labels/instances/*.parquet' where split = 'train' group by category;

Both are in the order of image ids, instances of an image best first, as annotations in the export `coco`. The images
are all of them, rejected ones too, so that "nothing found" and "could not be read" can be told apart.
"""

from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.exports.base import Export
from autolabel.labels.columns import UnitColumns
from autolabel.labels.flat import FLAT_INSTANCES, instances_table
from autolabel.wording import counted

FILES = r"(images/)?\d+\.parquet"
UNITS_PER_FILE = 32  # held in memory

IMAGES = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reject_code", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("n_instances", pa.int32(), nullable=False),
    ]
)

SPLIT = pa.field("split", pa.string(), nullable=False)
INSTANCES = FLAT_INSTANCES.insert(2, SPLIT)


def write(export: Export) -> str:
    units = (both_tables(export, unit) for unit in export.unit_columns())
    n_files = 0
    while some := list(islice(units, UNITS_PER_FILE)):
        for folder, tables in zip(("images/", ""), zip(*some, strict=True), strict=True):
            with export.replace(f"{folder}{n_files:05d}.parquet") as file:
                pq.write_table(pa.concat_tables(tables), file, compression="zstd", compression_level=3)
        n_files += 1
    instances, images = counted(export.summary.n_instances, "instance"), counted(export.summary.n_images, "image")
    return (
        f"{export.uri('*.parquet')}: {instances} in {counted(n_files, 'file')}\n"
        f"{export.uri('images/*.parquet')}: {images} in {counted(n_files, 'file')}, rejected ones too"
    )


def both_tables(export: Export, unit: UnitColumns) -> tuple[pa.Table, pa.Table]:
    """Return the rows of IMAGES and of INSTANCES of a unit."""
    names = [export.output.file_name(uri) for uri in unit.uri.to_pylist()]
    splits = pa.array([export.splits.split_of(name) for name in names], pa.string())
    not_decoded = unit.size_hw[:, 0] == 0
    images = {
        "image_id": unit.image_id,
        "uri": unit.uri,
        "name": names,
        "split": splits,
        "status": unit.status,
        "reject_code": unit.reject_code,
        "width": pa.array(unit.size_hw[:, 1], pa.int32(), mask=not_decoded),
        "height": pa.array(unit.size_hw[:, 0], pa.int32(), mask=not_decoded),
        "n_instances": np.bincount(unit.instances.row, minlength=len(unit)).astype(np.int32),
    }
    instances = instances_table(unit, unit.instances, export.output.record.settings.ontology)
    instances = instances.add_column(2, SPLIT, splits.take(pa.array(unit.instances.row)))
    return pa.table(images, schema=IMAGES), instances
