"""The columns of a file of labels, and the row that an image is written as. `columns` reads them back."""

from typing import Any

import pyarrow as pa

from autolabel.labels.types import ImageLabels, Instance

INSTANCE = pa.struct(
    [
        ("category_id", pa.int64()),
        ("prompt_id", pa.int32()),
        ("phrase", pa.string()),
        ("object_id", pa.string()),
        ("track_id", pa.int64()),
        ("score", pa.float32()),
        ("presence", pa.float32()),
        ("bbox", pa.list_(pa.float64())),
        ("area", pa.int64()),
        ("point_x", pa.float32()),
        ("point_y", pa.float32()),
        ("stability", pa.float32()),
        ("segmentation", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])),
    ]
)

PROMPT = pa.struct(
    [
        ("prompt_id", pa.int32()),
        ("category_id", pa.int64()),
        ("phrase", pa.string()),
        ("presence", pa.float32()),
        ("best_score", pa.float32()),
        ("n_instances", pa.int32()),
    ]
)

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("orientation", pa.int8()),
        pa.field("sha256", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reject_code", pa.string()),
        pa.field("reject_detail", pa.string()),
        pa.field("prompts", pa.list_(PROMPT)),
        pa.field("instances", pa.list_(INSTANCE)),
        pa.field("candidates", pa.list_(INSTANCE)),
    ]
)

MAY_BE_NULL = (
    *("width", "height", "orientation", "sha256", "reject_code", "reject_detail", "prompts.phrase"),
    *(
        f"{kind}.{name}"
        for kind in ("instances", "candidates")
        for name in ("phrase", "object_id", "track_id", "point_x", "point_y", "stability")
    ),
)


def row_from_labels(image: ImageLabels) -> dict[str, Any]:
    """Return a row as plain values in the order of SCHEMA."""
    height, width = image.size_hw or (None, None)
    return {
        "image_id": image.image_id,
        "uri": image.uri,
        "width": width,
        "height": height,
        "orientation": image.orientation,
        "sha256": image.sha256,
        "status": str(image.status),
        "reject_code": None if image.reject_code is None else str(image.reject_code),
        "reject_detail": image.reject_detail,
        "prompts": [vars(prompt) for prompt in image.prompts],
        "instances": [struct_from_instance(instance) for instance in image.instances],
        "candidates": [struct_from_instance(instance) for instance in image.candidates],
    }


def struct_from_instance(instance: Instance) -> dict[str, Any]:
    """Return an instance as plain values in the order of INSTANCE."""
    x, y = instance.point_xy or (None, None)
    return {
        "category_id": instance.category_id,
        "prompt_id": instance.prompt_id,
        "phrase": instance.phrase,
        "object_id": instance.object_id,
        "track_id": instance.track_id,
        "score": instance.score,
        "presence": instance.presence,
        "bbox": list(instance.bbox_xywh),
        "area": instance.area_px,
        "point_x": x,
        "point_y": y,
        "stability": instance.stability,
        "segmentation": {"size": list(instance.rle.size_hw), "counts": instance.rle.counts},
    }
