"""COCO with polygons: `coco_polygons/annotations.json`, for trainers that read no run lengths.

A polygon has no holes: they are filled. Where that leaves an IoU with the mask below MIN_IOU, as of a ring, the
instance keeps its run lengths, which COCO's own tools take beside polygons. `info.polygons` says how many do, and how
well the polygons fit. Boxes and areas are those of the masks. Several files past a million annotations, as of the
export `coco`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pycocotools import mask as coco_mask

from autolabel.exports.base import Export, damage_told
from autolabel.exports.coco import Annotation, annotations, plan_shards, write_dataset, write_manifest
from autolabel.masks.polygons import Fit, flat, outlines
from autolabel.masks.rle import Rle

MIN_IOU = 0.9


class Polygons:
    """Turns run lengths into polygons, and counts what is lost."""

    def __init__(self) -> None:
        self.fit, self.n_rle = Fit(), 0

    def of(self, annotations: Iterable[Annotation]) -> Iterator[Annotation]:
        for annotation in annotations:
            with damage_told(annotation["image_id"]):
                polygons, iou = fitted(annotation["segmentation"])
            if iou < MIN_IOU:
                self.n_rle += 1
                yield annotation
            else:
                self.fit.add(iou)
                yield annotation | {"segmentation": polygons}

    def info(self) -> dict[str, Any]:
        return {
            "polygons": {
                "n_polygons": self.fit.n,
                "n_kept_as_rle": self.n_rle,
                "mean_iou": self.fit.mean_iou,
                "lowest_iou": self.fit.lowest_iou,
            }
        }


def write(export: Export) -> str:
    shards, told = plan_shards(export), []
    for shard in shards:
        polygons = Polygons()
        told.append(write_dataset(export, shard, polygons.of(annotations(export, shard)), polygons.info))
        told.append(f"{polygons.fit.n} as polygons, holes filled; {polygons.n_rle} kept as RLE; {polygons.fit}")
    return "\n".join([*told, *write_manifest(export, shards, ("annotations",))])


def fitted(segmentation: Any) -> tuple[list[list[float]], float]:
    """Return a mask's polygons in COCO's JSON, and their IoU with it as pycocotools draws them; 0 without any."""
    height, width = segmentation["size"]
    polygons = flat(outlines(Rle(size_hw=(height, width), counts=segmentation["counts"])))
    if not polygons:
        return [], 0.0
    drawn = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return polygons, float(coco_mask.iou([drawn], [segmentation], [0])[0, 0])
