"""Instances as a flat table, a row for each: what `Labels.instances()` gives and the export `instances` writes."""

import numpy as np
import pyarrow as pa

from autolabel.labels.columns import InstanceColumns, UnitColumns, index_of
from autolabel.prompts.ontology import Ontology

FLAT_INSTANCES = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("category_id", pa.int64(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("prompt_id", pa.int32(), nullable=False),
        pa.field("phrase", pa.string()),
        pa.field("object_id", pa.string()),
        pa.field("track_id", pa.int64()),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("presence", pa.float32(), nullable=False),
        pa.field("box_left", pa.float64(), nullable=False),
        pa.field("box_top", pa.float64(), nullable=False),
        pa.field("box_width", pa.float64(), nullable=False),
        pa.field("box_height", pa.float64(), nullable=False),
        pa.field("area", pa.int64(), nullable=False),
        pa.field("point_x", pa.float32()),
        pa.field("point_y", pa.float32()),
        pa.field("stability", pa.float32()),
        pa.field("rle_height", pa.int32(), nullable=False),
        pa.field("rle_width", pa.int32(), nullable=False),
        pa.field("rle_counts", pa.string(), nullable=False),
    ]
)
MASK_COLUMNS = ("rle_height", "rle_width", "rle_counts")


def instances_table(unit: UnitColumns, instances: InstanceColumns, ontology: Ontology) -> pa.Table:
    """Return a unit's instances or candidates as a table of FLAT_INSTANCES.

    Raises:
        BadInput: one is of a category that the ontology does not have.
    """
    names = pa.array([category.name for category in ontology.categories], pa.string())
    index = index_of([category.id for category in ontology.categories], instances.category_id)
    owners = pa.array(instances.row)
    left, top, width, height = instances.box_xywh.T
    columns = {
        "image_id": pa.array(unit.image_id).take(owners),
        "uri": unit.uri.take(owners),
        "category_id": instances.category_id,
        "category": names.take(pa.array(index)),
        "prompt_id": instances.prompt_id.astype(np.int32),
        "phrase": instances.phrase,
        "object_id": instances.object_id,
        "track_id": instances.track_id,
        "score": instances.score.astype(np.float32),
        "presence": instances.presence.astype(np.float32),
        "box_left": left,
        "box_top": top,
        "box_width": width,
        "box_height": height,
        "area": instances.area_px,
        "point_x": pa.array(instances.point_xy[:, 0], pa.float32(), from_pandas=True),
        "point_y": pa.array(instances.point_xy[:, 1], pa.float32(), from_pandas=True),
        "stability": pa.array(instances.stability, pa.float32(), from_pandas=True),
        "rle_height": instances.size_hw[:, 0].astype(np.int32),
        "rle_width": instances.size_hw[:, 1].astype(np.int32),
        "rle_counts": instances.counts,
    }
    return pa.table(columns, schema=FLAT_INSTANCES)
