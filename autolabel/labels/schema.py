"""The columns of a file of labels, and the row that an image is written as."""

from typing import Any

import pyarrow as pa

from autolabel.errors import RejectCode
from autolabel.labels.types import ImageLabels, Instance, PromptResult
from autolabel.masks.rle import Rle

INSTANCE = pa.struct(
    [
        ("category_id", pa.int64()),
        ("score", pa.float32()),
        ("presence", pa.float32()),
        ("phrase", pa.string()),
        ("bbox", pa.list_(pa.float64())),
        ("area", pa.int64()),
        ("segmentation", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])),
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
        pa.field(
            "prompts",
            pa.list_(
                pa.struct(
                    [
                        ("category_id", pa.int64()),
                        ("phrase", pa.string()),
                        ("presence", pa.float32()),
                        ("best_score", pa.float32()),
                        ("n_instances", pa.int32()),
                    ]
                )
            ),
        ),
        pa.field("instances", pa.list_(INSTANCE)),
        pa.field("candidates", pa.list_(INSTANCE)),
    ]
)


MAY_BE_NULL = (
    *("width", "height", "orientation", "sha256", "reject_code", "reject_detail"),
    *("prompts.phrase", "instances.phrase", "candidates.phrase"),
)


def row_from_labels(row: ImageLabels) -> dict[str, Any]:
    """A row as plain values in the order of SCHEMA."""
    height, width = row.size_hw or (None, None)
    return {
        "image_id": row.image_id,
        "uri": row.uri,
        "width": width,
        "height": height,
        "orientation": row.orientation,
        "sha256": row.sha256,
        "status": str(row.status),
        "reject_code": None if row.reject_code is None else str(row.reject_code),
        "reject_detail": row.reject_detail,
        "prompts": [
            {
                "category_id": prompt.category_id,
                "phrase": prompt.phrase,
                "presence": prompt.presence,
                "best_score": prompt.best_score,
                "n_instances": prompt.n_instances,
            }
            for prompt in row.prompts
        ],
        "instances": [struct_from_instance(instance_from_struct) for instance_from_struct in row.instances],
        "candidates": [struct_from_instance(instance_from_struct) for instance_from_struct in row.candidates],
    }


def labels_from_row(values: dict[str, Any]) -> ImageLabels:
    """The reverse of `record`, for rows that `labels.read_unit` has checked."""
    code = values["reject_code"]
    return ImageLabels(
        image_id=values["image_id"],
        uri=values["uri"],
        size_hw=None if values["height"] is None else (values["height"], values["width"]),
        orientation=values["orientation"],
        sha256=values["sha256"],
        reject_code=None if code is None else RejectCode(code),
        reject_detail=values["reject_detail"],
        prompts=tuple(PromptResult(**prompt) for prompt in values["prompts"]),
        instances=tuple(map(instance_from_struct, values["instances"])),
        candidates=tuple(map(instance_from_struct, values["candidates"])),
    )


def struct_from_instance(instance: Instance) -> dict[str, Any]:
    """An instance as plain values in the order of INSTANCE."""
    return {
        "category_id": instance.category_id,
        "score": instance.score,
        "presence": instance.presence,
        "phrase": instance.phrase,
        "bbox": list(instance.bbox_xywh),
        "area": instance.area_px,
        "segmentation": {"size": list(instance.rle.size_hw), "counts": instance.rle.counts},
    }


def instance_from_struct(values: dict[str, Any]) -> Instance:
    """The reverse of `instance_record`."""
    height, width = values["segmentation"]["size"]
    return Instance(
        category_id=values["category_id"],
        phrase=values["phrase"],
        score=values["score"],
        presence=values["presence"],
        rle=Rle(size_hw=(height, width), counts=values["segmentation"]["counts"]),
        area_px=values["area"],
        bbox_xywh=tuple(values["bbox"]),
    )
