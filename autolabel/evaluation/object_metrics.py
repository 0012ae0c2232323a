"""How good the masks of given objects are: each against the annotation of its own id, whatever else is on the image."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autolabel.evaluation.ground_truth import GroundTruth
from autolabel.masks.rle import Rle, pairwise_overlap, union

ObjectMasks = Mapping[tuple[int, str], Rle]  # by the id of the ground truth's image, and the object's


@dataclass(frozen=True, kw_only=True)
class ObjectMetrics:
    """IoU of objects with their annotations, of which there are `n`; an empty mask has an IoU of 0."""

    n: int
    mean_iou: float | None
    share_above_50: float | None
    share_above_75: float | None
    n_without_annotation: int


def object_metrics(truth: GroundTruth, masks: ObjectMasks) -> ObjectMetrics | None:
    """Return the metrics of given objects; None where none were given. Annotations of one object are its parts."""
    if not masks:
        return None
    annotated: dict[tuple[int, str], list[Rle]] = {}
    for (image_id, _), objects in truth.objects.items():
        for one in objects:
            if one.object_id is not None and not one.crowd:
                annotated.setdefault((image_id, one.object_id), []).append(one.rle)
    shared = sorted(masks.keys() & annotated.keys())
    iou = np.array([pairwise_overlap([masks[key]], [union(annotated[key])], "iou")[0, 0] for key in shared])
    return ObjectMetrics(
        n=len(shared),
        mean_iou=float(iou.mean()) if shared else None,
        share_above_50=float((iou > 0.5).mean()) if shared else None,
        share_above_75=float((iou > 0.75).mean()) if shared else None,
        n_without_annotation=len(masks) - len(shared),
    )
