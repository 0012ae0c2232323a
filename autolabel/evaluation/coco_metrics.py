"""COCO's average precision and recall of masks, and of masks and their boundaries, by faster-coco-eval.

Boundary AP is that of arXiv:2103.16562: the IoU of two masks is no better than that of their boundaries. The engine has
it too, but finds every boundary on the whole image, which takes it 0.6 s for a mask of 12 megapixels.

Objects of a category that an image does not know exhaustively are treated as in LVIS: what was found beside them counts
neither way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from autolabel.evaluation.boundaries import boundary, boundary_iou
from autolabel.evaluation.comparison import Comparison
from autolabel.masks.rle import Rle, area, bbox_xywh

AREAS = ("all", "small", "medium", "large")


@dataclass(frozen=True, kw_only=True)
class CocoMetrics:
    """COCO's figures under their own names; None where there is nothing to measure: no object (of that size)."""

    AP: float | None
    AP50: float | None
    AP75: float | None
    APs: float | None
    APm: float | None
    APl: float | None
    AR: float | None
    ARs: float | None
    ARm: float | None
    ARl: float | None
    boundary_AP: float | None
    boundary_AP50: float | None
    boundary_AP75: float | None


def coco_metrics(comparison: Comparison) -> tuple[CocoMetrics, Mapping[int, float | None]]:
    """Compute the metrics over all categories, and the AP of each.

    All detections are ranked, of an output down to its `keep_threshold`: no threshold in force changes the figures.
    """
    masks = _Evaluated(comparison, COCOeval_faster)
    boundaries = _Evaluated(comparison, _BoundaryEvaluation)
    figures = CocoMetrics(
        AP=masks.precision(),
        AP50=masks.precision(iou=0.5),
        AP75=masks.precision(iou=0.75),
        APs=masks.precision(size="small"),
        APm=masks.precision(size="medium"),
        APl=masks.precision(size="large"),
        AR=masks.recall(),
        ARs=masks.recall(size="small"),
        ARm=masks.recall(size="medium"),
        ARl=masks.recall(size="large"),
        boundary_AP=boundaries.precision(),
        boundary_AP50=boundaries.precision(iou=0.5),
        boundary_AP75=boundaries.precision(iou=0.75),
    )
    return figures, {id: masks.precision(category=place) for place, id in enumerate(comparison.category_ids)}


class _Evaluated:
    """faster-coco-eval's tables: precision (IoU, recall, category, size, most detections), recall without its second.

    Its last entry is 100 detections per image and category, as COCO's main figures have it.
    """

    def __init__(self, comparison: Comparison, engine: type[COCOeval_faster]) -> None:
        truth, found = coco_datasets(comparison)
        evaluation = engine(COCO(truth), COCO(found), iouType="segm", lvis_style=True)
        evaluation.evaluate()
        evaluation.accumulate()
        self._iou_thresholds = evaluation.params.iouThrs
        self._precision: npt.NDArray[np.float64] = evaluation.eval["precision"][..., -1]
        self._recall: npt.NDArray[np.float64] = evaluation.eval["recall"][..., -1]

    def precision(self, *, iou: float | None = None, size: str = "all", category: int | None = None) -> float | None:
        """Return average precision at an IoU threshold, of objects of a size, of one category or over all."""
        ious = slice(None) if iou is None else np.isclose(self._iou_thresholds, iou)
        places = slice(None) if category is None else [category]
        return mean_of_known(self._precision[ious][:, :, places, AREAS.index(size)])

    def recall(self, *, size: str = "all") -> float | None:
        return mean_of_known(self._recall[:, :, AREAS.index(size)])


class _BoundaryEvaluation(COCOeval_faster):  # type: ignore[misc]  # untyped
    """Takes the lesser of two masks' IoU and their boundaries' IoU, where the former is enough to match at all."""

    def computeIoU(self, imgId: int, catId: int) -> npt.NDArray[np.float64]:
        iou: npt.NDArray[np.float64] = np.array(super().computeIoU(imgId, catId))  # (found, best first; truth)
        truth, found = (_annotations(data, imgId, catId) for data in (self.cocoGt, self.cocoDt))
        found.sort(key=lambda one: -one["score"])
        for row, column in np.argwhere(iou >= self.params.iouThrs[0]):
            if not truth[column]["iscrowd"]:
                of_both = boundary_iou(boundary(_rle(found[row])), boundary(_rle(truth[column])))
                iou[row, column] = min(iou[row, column], of_both)
        return iou


def _annotations(data: COCO, image_id: int, category_id: int) -> list[dict[str, Any]]:
    return [one for one in data.imgToAnns[image_id] if one["category_id"] == category_id]


def _rle(annotation: dict[str, Any]) -> Rle:
    height, width = annotation["segmentation"]["size"]
    return Rle(size_hw=(height, width), counts=annotation["segmentation"]["counts"])


def mean_of_known(values: npt.NDArray[np.float64]) -> float | None:
    """Return the mean of those that there is a value for: -1 stands where there is no object."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def coco_datasets(comparison: Comparison) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ground truth and detections of the known pairs as COCO data sets, with LVIS's fields."""
    objects: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    partial: dict[int, list[int]] = {image.id: [] for image in comparison.images}
    for pair in comparison.pairs:
        ids = {"image_id": pair.image_id, "category_id": pair.category_id}
        if not pair.exhaustive:
            partial[pair.image_id].append(pair.category_id)
        for number, one in enumerate(pair.truth, start=len(objects) + 1):  # 0 would count as unmatched
            shape = {"segmentation": one.rle.to_coco(), "area": one.area_px, "bbox": list(bbox_xywh(one.rle))}
            objects.append({"id": number, **ids, **shape, "iscrowd": int(one.crowd)})
        for number, detection in enumerate(pair.found, start=len(found) + 1):
            rle = detection.rle
            shape = {"segmentation": rle.to_coco(), "area": area(rle), "bbox": list(bbox_xywh(rle))}
            found.append({"id": number, **ids, **shape, "iscrowd": 0, "score": detection.score})
    images = [
        {
            "id": image.id,
            "height": image.size_hw[0],
            "width": image.size_hw[1],
            "neg_category_ids": comparison.category_ids,  # pairs that are not known are left out above
            "not_exhaustive_category_ids": partial[image.id],
        }
        for image in comparison.images
    ]
    categories = [{"id": id, "frequency": "f"} for id in comparison.category_ids]
    shared = {"images": images, "categories": categories}
    return {**shared, "annotations": objects}, {**shared, "annotations": found}
