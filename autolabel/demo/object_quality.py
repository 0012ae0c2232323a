"""How well the demo model's head masks what a box or a click singles out, by the engine alone, on drawn scenes."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from autolabel.demo.scenes import Scene
from autolabel.masks.rle import encode, pairwise_overlap
from autolabel.sam3.architecture import Architecture
from autolabel.sam3.engine import Engine
from autolabel.sam3.grid import GridSettings
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.objects import ObjectQuery
from autolabel.sam3.preprocess import resize

FOUND_IOU = 0.5

Bools = npt.NDArray[np.bool_]
Prompt = Callable[[Bools], ObjectQuery]  # what is asked for the mask (h, w) of an object


def box_around(mask: Bools) -> ObjectQuery:
    """Return the box around an object."""
    (height, width), rows, columns = mask.shape, np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    low = columns[0] / width, rows[0] / height
    high = (columns[-1] + 1) / width, (rows[-1] + 1) / height
    return ObjectQuery(image=0, points_xy=(low, high), labels=(2, 3))


def click_in_the_middle(mask: Bools) -> ObjectQuery:
    """Return a click where an object's outline is farthest."""
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), mask.shape)
    point = (float(column) + 0.5) / mask.shape[1], (float(row) + 0.5) / mask.shape[0]
    return ObjectQuery(image=0, points_xy=(point,), labels=(1,))


def mask_ious(
    engine: Engine, architecture: Architecture, scenes: Sequence[Scene], prompt: Prompt
) -> npt.NDArray[np.float64]:
    """Return the IoU of every object of the scenes with the mask that its prompt gives, at the scene's own size."""
    ious: list[float] = []
    for scene in scenes:
        masks = [scene.mask(index) for index in range(len(scene.kinds))]
        pixels = resize(scene.rgb, architecture.resolution)[None]
        for mask, result in zip(masks, engine.segment_objects(pixels, [prompt(mask) for mask in masks]), strict=True):
            found = logits_to_rles(result.mask_logits, scene.ids.shape)
            ious.append(float(pairwise_overlap(found, [encode(mask)], metric="iou")[0, 0]))
    return np.array(ious)


def grid_figures(
    engine: Engine, architecture: Architecture, scenes: Sequence[Scene], *, side: int, settings: GridSettings
) -> dict[str, float]:
    """Return the share of objects that a grid of side x side points finds, and of its masks that are objects."""
    points = [((column + 0.5) / side, (row + 0.5) / side) for row in range(side) for column in range(side)]
    found: list[bool] = []
    right: list[bool] = []
    for scene in scenes:
        results = engine.segment_grid(resize(scene.rgb, architecture.resolution)[None], 0, points, settings)
        objects = [encode(scene.mask(index)) for index in range(len(scene.kinds))]
        masks = [rle for result in results for rle in logits_to_rles(result.mask_logits, scene.ids.shape)]
        overlap = pairwise_overlap(masks, objects, metric="iou")
        found += (overlap.max(axis=0, initial=0) >= FOUND_IOU).tolist()
        right += (overlap.max(axis=1, initial=0) >= FOUND_IOU).tolist()
    return {"found": float(np.mean(found)), "right": float(np.mean(right)) if right else 0.0, "objects": len(found)}
