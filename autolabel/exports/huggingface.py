"""Hugging Face `datasets`: `huggingface/data/<split>-00000-of-00002.parquet` and so on, and a card, `README.md`.

`load_dataset("labels/huggingface")` gives the splits, with the features that the files carry: `image` is opened from
its URI when it is asked for, `objects.category` has the names of the categories. Masks are COCO's compressed counts.
"""

from collections import Counter
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from autolabel.exports.base import Export
from autolabel.labels.types import Status

FILES = r"data/[a-z][a-z0-9_]*-\d+-of-\d+\.parquet|README\.md"
IMAGES_PER_FILE = 5000  # held in memory, of each split

OBJECTS = pa.struct(
    [
        ("bbox", pa.list_(pa.list_(pa.float64()))),
        ("category", pa.list_(pa.int64())),
        ("area", pa.list_(pa.int64())),
        ("score", pa.list_(pa.float32())),
        ("phrase", pa.list_(pa.string())),
        ("rle_counts", pa.list_(pa.string())),
    ]
)
SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("image_id", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("objects", OBJECTS),
    ]
)

CARD = """
# Labels of {root}

{n_images} images, {n_instances} instances, labelled by autolabel {version} (run `{run_id}`); {left_out}.

`image` is read from the URI that it was labelled at, and turned upright by its EXIF orientation, as the labels are.
`bbox` is `[x, y, width, height]` in pixels. A mask is `pycocotools.mask.decode({{"size": [height, width], "counts":
rle_counts}})`. `score` is the model's confidence.
"""


def write(export: Export) -> str:
    n_of = Counter(export.splits.split_of(name) for name in export.names())
    schema = SCHEMA.with_metadata({"huggingface": orjson.dumps({"info": {"features": features(export)}})})
    files = {split: SplitFiles(export, split, n_of[split], schema) for split in n_of}
    for rows in export.tables(["image_id", "uri", "width", "height", "status", "instances"]):
        readable = rows.filter(pc.not_equal(rows["status"], str(Status.REJECTED)))
        names = map(export.output.file_name, readable["uri"].to_pylist())
        splits = np.array([export.splits.split_of(name) for name in names])
        for split in np.unique(splits).tolist():
            files[split].add(converted(export, readable.filter(pa.array(splits == split)), schema))
    for split in files.values():
        split.flush()
    present = [split for split in export.splits.names if n_of[split]]
    export.write("README.md", card(export, present).encode())
    counts = ", ".join(f"{split} {n_of[split]}" for split in export.splits.names)
    return f"{export.folder_uri}: {n_of.total()} images ({counts}), {export.left_out}"


class SplitFiles:
    """The files of a split, each written when its images have come together."""

    def __init__(self, export: Export, split: str, n_images: int, schema: pa.Schema) -> None:
        self._export, self._split = export, split
        self._n_files = -(-n_images // IMAGES_PER_FILE)
        self._pending, self._n_written = schema.empty_table(), 0

    def add(self, rows: pa.Table) -> None:
        self._pending = pa.concat_tables([self._pending, rows])
        while self._pending.num_rows >= IMAGES_PER_FILE:
            self._write(self._pending.slice(0, IMAGES_PER_FILE))
            self._pending = self._pending.slice(IMAGES_PER_FILE)

    def flush(self) -> None:
        if self._pending.num_rows:
            self._write(self._pending)

    def _write(self, rows: pa.Table) -> None:
        name = f"data/{self._split}-{self._n_written:05d}-of-{self._n_files:05d}.parquet"
        with self._export.replace(name) as file:
            pq.write_table(rows, file, compression="zstd", compression_level=3, row_group_size=1000)
        self._n_written += 1


def converted(export: Export, rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows of labels as rows of SCHEMA: a list of objects becomes an object of lists, as `datasets` has it."""
    lists = rows["instances"].combine_chunks()
    ends = np.cumsum(lists.value_lengths().to_numpy())
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    flat = lists.flatten()
    ids = pa.array([category.id for category in export.output.record.ontology.categories], pa.int64())
    values = {
        "category": pc.index_in(flat.field("category_id"), ids).cast(pa.int64()),
        "rle_counts": flat.field("segmentation").field("counts"),
    }
    values |= {name: flat.field(name) for name in ("bbox", "area", "score", "phrase")}
    objects = [pa.ListArray.from_arrays(offsets, values[field.name]) for field in OBJECTS]
    uris = rows["uri"].combine_chunks()
    columns = [
        pa.StructArray.from_arrays([pa.nulls(len(uris), pa.binary()), uris], fields=list(SCHEMA.field("image").type)),
        *(rows[name].combine_chunks() for name in ("image_id", "width", "height")),
        pa.StructArray.from_arrays(objects, fields=list(OBJECTS)),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def features(export: Export) -> dict[str, Any]:
    """The features in the words of `datasets`, as it writes them into a schema's metadata."""

    def value(dtype: str) -> dict[str, Any]:
        return {"dtype": dtype, "_type": "Value"}

    def sequence(feature: dict[str, Any]) -> dict[str, Any]:
        return {"feature": feature, "_type": "Sequence"}

    names = [category.name for category in export.output.record.ontology.categories]
    return {
        "image": {"_type": "Image"},
        "image_id": value("int64"),
        "width": value("int32"),
        "height": value("int32"),
        "objects": {
            "bbox": sequence(sequence(value("float64"))),
            "category": sequence({"names": names, "_type": "ClassLabel"}),
            "area": sequence(value("int64")),
            "score": sequence(value("float32")),
            "phrase": sequence(value("string")),
            "rle_counts": sequence(value("string")),
        },
    }


def card(export: Export, splits: list[str]) -> str:
    """README.md: which files are which split, for `datasets`, and what the columns are, for people."""
    data_files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    header = {
        "configs": [{"config_name": "default", "data_files": data_files}],
        "task_categories": ["image-segmentation", "object-detection"],
    }
    text = CARD.format(
        root=export.output.plan.input_root,
        n_images=export.summary.n_readable,
        n_instances=export.summary.n_instances,
        version=export.output.record.autolabel_version,
        run_id=export.output.record.run_id,
        left_out=export.left_out,
    )
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n{text}"
