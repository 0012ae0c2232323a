"""Hugging Face `datasets`: `huggingface/data/<split>-00000-of-00002.parquet` and so on, and a card, `README.md`.

`load_dataset("labels/huggingface")` gives the splits, with the features that the files carry: `image` is opened from
its URI when it is asked for, `objects.category` has the names of the categories. Masks are COCO's compressed counts.
"""

from collections import Counter
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from autolabel.exports.base import Export
from autolabel.labels.columns import UnitColumns, index_of
from autolabel.labels.types import Status
from autolabel.wording import counted

FILES = r"data/[a-z][a-z0-9_]*-\d+-of-\d+\.parquet|README\.md"
IMAGES_PER_FILE = 5000  # held in memory, of each split

OBJECTS = pa.struct(
    [
        ("bbox", pa.list_(pa.list_(pa.float64()))),
        ("category", pa.list_(pa.int64())),
        ("area", pa.list_(pa.int64())),
        ("score", pa.list_(pa.float32())),
        ("phrase", pa.list_(pa.string())),
        ("object_id", pa.list_(pa.string())),
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

{n_images}, {n_instances}, labelled by autolabel {version} (run `{run_id}`); {left_out}.

`image` is read from the URI that it was labelled at, and turned upright by its EXIF orientation, as the labels are.
`bbox` is `[x, y, width, height]` in pixels. A mask is `pycocotools.mask.decode({{"size": [height, width], "counts":
rle_counts}})`. `score` is the model's confidence.
"""


def write(export: Export) -> str:
    n_of = Counter(export.splits.split_of(name) for name in export.names())
    schema = SCHEMA.with_metadata({"huggingface": orjson.dumps({"info": {"features": features(export)}})})
    files = {split: SplitFiles(export, split, n_of[split], schema) for split in n_of}
    for unit in export.unit_columns():
        readable = unit.select(unit.status != Status.REJECTED)
        names = map(export.output.file_name, readable.uri.to_pylist())
        splits = np.array([export.splits.split_of(name) for name in names])
        for split in np.unique(splits).tolist():
            files[split].add(converted(export, readable.select(splits == split), schema))
    for split in files.values():
        split.flush()
    present = [split for split in export.splits.names if n_of[split]]
    export.write("README.md", card(export, present).encode())
    counts = ", ".join(f"{split} {n_of[split]}" for split in export.splits.names)
    return f"{export.folder_uri}: {counted(n_of.total(), 'image')} ({counts}), {export.left_out}"


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


def converted(export: Export, unit: UnitColumns, schema: pa.Schema) -> pa.Table:
    """Return labels as rows of SCHEMA: an object of lists for each image, as `datasets` has it."""
    instances = unit.instances
    offsets = pa.array(instances.row_offsets(len(unit)), pa.int32())
    ids = [category.id for category in export.output.record.settings.ontology.categories]
    boxes = pa.ListArray.from_arrays(
        np.arange(0, 4 * len(instances) + 1, 4, dtype=np.int32), instances.box_xywh.ravel()
    )
    values = {
        "bbox": boxes,
        "category": pa.array(index_of(ids, instances.category_id)),
        "area": pa.array(instances.area_px),
        "score": pa.array(instances.score, pa.float32()),
        "phrase": instances.phrase,
        "object_id": instances.object_id,
        "rle_counts": instances.counts,
    }
    objects = [pa.ListArray.from_arrays(offsets, values[field.name]) for field in OBJECTS]
    files = [pa.nulls(len(unit), pa.binary()), unit.uri]
    columns = [
        pa.StructArray.from_arrays(files, fields=list(SCHEMA.field("image").type)),
        pa.array(unit.image_id),
        pa.array(unit.size_hw[:, 1], pa.int32()),
        pa.array(unit.size_hw[:, 0], pa.int32()),
        pa.StructArray.from_arrays(objects, fields=list(OBJECTS)),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def features(export: Export) -> dict[str, Any]:
    """Return the features in the words of `datasets`, as it writes them into a schema's metadata."""

    def value(dtype: str) -> dict[str, Any]:
        return {"dtype": dtype, "_type": "Value"}

    def sequence(feature: dict[str, Any]) -> dict[str, Any]:
        return {"feature": feature, "_type": "Sequence"}

    names = [category.name for category in export.output.record.settings.ontology.categories]
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
            "object_id": sequence(value("string")),
            "rle_counts": sequence(value("string")),
        },
    }


def card(export: Export, splits: list[str]) -> str:
    """Return README.md: which files are which split, for `datasets`, and what the columns are, for people."""
    data_files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    header = {
        "configs": [{"config_name": "default", "data_files": data_files}],
        "task_categories": ["image-segmentation", "object-detection"],
    }
    text = CARD.format(
        root=export.output.plan.input_root,
        n_images=counted(export.summary.n_readable, "image"),
        n_instances=counted(export.summary.n_instances, "instance"),
        version=export.output.record.autolabel_version,
        run_id=export.output.record.run_id,
        left_out=export.left_out,
    )
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n{text}"
