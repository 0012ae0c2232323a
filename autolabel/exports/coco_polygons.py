"""COCO with polygons: `coco_polygons/annotations.json`, for trainers that read no run lengths.

Every instance has polygons and none has run lengths: a trainer that reads only the ones would end at the first of the
others. A part of a mask is one polygon, and holes are joined to it by cuts that enclose nothing, so that whoever fills
by the even-odd rule gets the mask back. `info.polygons` says how well pycocotools does. Boxes and areas are those of
the masks. Several files past a million annotations, as of the export `coco`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pycocotools import mask as coco_mask

from autolabel.exports.base import Export, damage_told
from autolabel.exports.coco import Annotation, annotations, plan_shards, write_dataset, write_manifest
from autolabel.masks.polygons import Fit, flat, outlines
from autolabel.masks.rle import Rle


class Polygons:
    """Turns run lengths into polygons, and measures what is lost."""

    def __init__(self) -> None:
        self.fit = Fit()

    def of(self, annotations: Iterable[Annotation]) -> Iterator[Annotation]:
        for annotation in annotations:
            with damage_told(annotation["image_id"]):
                polygons, iou = fitted(annotation["segmentation"])
            self.fit.add(iou)
            yield annotation | {"segmentation": polygons}

    def info(self) -> dict[str, Any]:
        return {"polygons": {"mean_iou": self.fit.mean_iou, "lowest_iou": self.fit.lowest_iou}}


def write(export: Export) -> str:
    shards, told = plan_shards(export), []
    for shard in shards:
        polygons = Polygons()
        told.append(write_dataset(export, shard, polygons.of(annotations(export, shard)), polygons.info))
        told.append(str(polygons.fit))
    return "\n".join([*told, *write_manifest(export, shards, ("annotations",))])


def fitted(segmentation: Any) -> tuple[list[list[float]], float]:
    """Return a mask's polygons in COCO's JSON, and their IoU with it as pycocotools draws them."""
    height, width = segmentation["size"]
    polygons = flat(outlines(Rle(size_hw=(height, width), counts=segmentation["counts"])))
    if not polygons:
        raise ValueError("a mask without pixels has no polygon")
    drawn = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return polygons, float(coco_mask.iou([drawn], [segmentation], [0])[0, 0])
