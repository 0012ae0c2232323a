"""Large scenes in tiles: is what tiles find and seams join as good as the same scenes cut where no object is cut?

Scenes of 3,000 x 3,000 pixels have an object in no two of their cells of 500 pixels. They are labelled twice by the
demo model: through tiles whose borders lie where they may, and cut into their cells. An object is found if an instance
of its shape has an IoU of 0.5 with it; one is double if two more instances have half of it, and an instance is of
several if it has half of two objects.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from benchmarks.review import label_here
from PIL import Image

from autolabel.config import OutputConfig
from autolabel.config.compose import compose_config
from autolabel.demo.large_scenes import CELL_PX, draw_large_scene
from autolabel.demo.phrases import SHAPES
from autolabel.demo.scenes import Scene
from autolabel.labels.types import Instance
from autolabel.labels.units import read_columns
from autolabel.masks.rle import decode_crop
from autolabel.output.job_output import open_output

SEED = 41
RIGHT_IOU, SHARE = 0.5, 0.5


@dataclass(kw_only=True)
class Counts:
    """Objects and instances of some scenes, and what is wrong with them."""

    objects: int = 0
    instances: int = 0
    found: int = 0
    doubled: int = 0  # objects
    of_several: int = 0  # instances

    def told(self) -> dict[str, float]:
        return {
            "objects": self.objects,
            "instances": self.instances,
            "recall": self.found / self.objects,
            "precision": self.found / max(1, self.instances),
            "doubled": self.doubled,
            "of_several": self.of_several,
        }


def run(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py tiles")
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--cells", type=int, default=6)
    parser.add_argument("--overlaps", type=int, nargs="+", default=[200, 100])
    options = parser.parse_args(list(arguments))
    with tempfile.TemporaryDirectory() as folder:
        scenes = [draw_large_scene(SEED, index, options.cells) for index in range(options.scenes)]
        cells = Path(folder, "cells")
        for index, scene in enumerate(scenes):
            write(Path(folder, "whole", f"{index}.png"), scene.rgb)
            for number, (rows, columns) in enumerate(cells_of(scene)):
                write(cells / f"{index}-{number:03}.png", scene.rgb[rows, columns])
        truths = [cut_out(scene, rows, columns) for scene in scenes for rows, columns in cells_of(scene)]
        told("cells, no object cut", counted(label(cells, Path(folder, "of-cells")), truths))
        truths = [(scene.ids, [kind.shape for kind in scene.kinds]) for scene in scenes]
        for overlap_px in options.overlaps:
            settings = f"tiles={{size_px:{CELL_PX},overlap_px:{overlap_px}}}"
            output = Path(folder, f"of-tiles-{overlap_px}")
            found = label(Path(folder, "whole"), output, settings)
            told(f"tiles of {CELL_PX}, overlap {overlap_px}", counted(found, truths))


def write(path: Path, rgb: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(rgb).save(path)


def cells_of(scene: Scene) -> Iterator[tuple[slice, slice]]:
    starts = range(0, len(scene.ids), CELL_PX)
    return ((slice(y, y + CELL_PX), slice(x, x + CELL_PX)) for y in starts for x in starts)


Truth = tuple[npt.NDArray[np.integer], Sequence[str]]  # ids (h, w) from 1, and the shape of each


def cut_out(scene: Scene, rows: slice, columns: slice) -> Truth:
    """Return the objects of a cell."""
    there, ids = np.unique(scene.ids[rows, columns], return_inverse=True)
    return ids.reshape(CELL_PX, CELL_PX), [scene.kinds[number - 1].shape for number in there if number]


def label(images: Path, output: Path, *settings: str) -> list[list[tuple[Instance, str]]]:
    """Return the instances of each image by its name, and their shapes."""
    places = [f"input.uri='{images}'", f"output.uri='{output}'", f"prompts=[{','.join(SHAPES)}]"]
    label_here(compose_config("label", [*places, *settings]))
    labelled = open_output(OutputConfig(uri=str(output)))
    names = {category.id: category.name for category in labelled.record.settings.ontology.categories}
    rows = [
        row
        for unit in range(labelled.plan.n_units)
        for row in read_columns(labelled.storage, labelled.uri, unit).images()
    ]
    by_uri = sorted(rows, key=lambda row: row.uri)
    return [[(instance, names[instance.category_id]) for instance in row.instances] for row in by_uri]


def counted(found: Sequence[Sequence[tuple[Instance, str]]], truths: Sequence[Truth]) -> Counts:
    counts = Counts()
    for instances, (ids, shapes) in zip(found, truths, strict=True):
        areas = np.bincount(ids.ravel(), minlength=len(shapes) + 1)
        in_objects = np.array([pixels_in(instance, ids, len(areas)) for instance, _ in instances])
        in_objects = in_objects.reshape(len(instances), len(areas))[:, 1:]
        sizes = np.array([instance.area_px for instance, _ in instances])[:, None]
        named = [[name == shape for shape in shapes] for _, name in instances]
        right = np.array(named, np.bool_).reshape(in_objects.shape)
        iou = in_objects / (sizes + areas[1:] - in_objects)
        half = right & (in_objects > SHARE * areas[1:])
        counts.objects += len(shapes)
        counts.instances += len(instances)
        counts.found += int(((iou > RIGHT_IOU) & right).any(axis=0).sum())
        counts.doubled += int((half.sum(axis=0) > 1).sum())
        counts.of_several += int(((in_objects > SHARE * areas[1:]).sum(axis=1) > 1).sum())
    return counts


def pixels_in(instance: Instance, ids: npt.NDArray[np.integer], n: int) -> npt.NDArray[np.int64]:
    """Return how many pixels an instance has in each object, the ground first."""
    (left, top), mask = decode_crop(instance.rle)
    height, width = mask.shape
    return np.bincount(ids[top : top + height, left : left + width][mask], minlength=n)


def told(case: str, counts: Counts) -> None:
    figures = {name: round(value, 4) for name, value in counts.told().items()}
    print(json.dumps({"case": "tiles", "labelled": case, **figures}), flush=True)
