"""Tables for SQL: `instances/*.parquet`, a row for each instance, and `instances/images/*.parquet`, one for each image.

    select category, count(*), avg(score) from 'labels/instances/*.parquet' where split = 'train' group by category;

Both are in the order of image ids, instances of an image best first, as annotations in the export `coco`. The images
are all of them, rejected ones too, so that "nothing found" and "could not be read" can be told apart.
"""

from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from autolabel.exports.base import Export

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

INSTANCES = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("category_id", pa.int64(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("phrase", pa.string()),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("presence", pa.float32(), nullable=False),
        pa.field("box_left", pa.float64(), nullable=False),
        pa.field("box_top", pa.float64(), nullable=False),
        pa.field("box_width", pa.float64(), nullable=False),
        pa.field("box_height", pa.float64(), nullable=False),
        pa.field("area", pa.int64(), nullable=False),
        pa.field("rle_height", pa.int32(), nullable=False),
        pa.field("rle_width", pa.int32(), nullable=False),
        pa.field("rle_counts", pa.string(), nullable=False),
    ]
)

READ = ["image_id", "uri", "width", "height", "status", "reject_code", "instances"]


def write(export: Export) -> str:
    units = (both_tables(export, table) for table in export.tables(READ))
    n_files = 0
    while some := list(islice(units, UNITS_PER_FILE)):
        for folder, tables in zip(("images/", ""), zip(*some, strict=True), strict=True):
            with export.replace(f"{folder}{n_files:05d}.parquet") as file:
                pq.write_table(pa.concat_tables(tables), file, compression="zstd", compression_level=3)
        n_files += 1
    return (
        f"{export.uri('*.parquet')}: {export.summary.n_instances} instances in {n_files} files\n"
        f"{export.uri('images/*.parquet')}: {export.summary.n_images} images in {n_files} files, rejected ones too"
    )


def both_tables(export: Export, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows of IMAGES and of INSTANCES of a unit."""
    names = [export.output.file_name(uri) for uri in rows["uri"].to_pylist()]
    splits = pa.array([export.splits.split_of(name) for name in names])
    lists = rows["instances"].combine_chunks()
    lengths = lists.value_lengths()
    images = {"name": names, "split": splits, "n_instances": lengths}
    images |= {name: rows[name] for name in ("image_id", "uri", "status", "reject_code", "width", "height")}

    flat = lists.flatten()
    owners = np.repeat(np.arange(len(rows)), lengths.to_numpy())
    categories = export.output.record.ontology.categories
    category = pc.index_in(flat.field("category_id"), pa.array([c.id for c in categories], pa.int64()))
    boxes_xywh = flat.field("bbox").flatten().to_numpy().reshape(-1, 4)
    sizes_hw = flat.field("segmentation").field("size").flatten().to_numpy().reshape(-1, 2)
    instances = {
        "image_id": rows["image_id"].take(owners),
        "uri": rows["uri"].take(owners),
        "split": splits.take(pa.array(owners)),
        "category": pa.array([c.name for c in categories]).take(category),
        **dict(zip(("box_left", "box_top", "box_width", "box_height"), boxes_xywh.T, strict=True)),
        **dict(zip(("rle_height", "rle_width"), sizes_hw.T, strict=True)),
        "rle_counts": flat.field("segmentation").field("counts"),
    }
    instances |= {name: flat.field(name) for name in ("category_id", "phrase", "score", "presence", "area")}
    return pa.table(images, schema=IMAGES), pa.table(instances, schema=INSTANCES)
