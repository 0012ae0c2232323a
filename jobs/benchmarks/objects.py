"""Single objects by the engine against Meta's predictor, in the same process on the same weights and image.

predictor  Meta's `SAM3InteractiveImagePredictor`: the image's features once, then object by object; it enlarges every
           mask to the image's size.
ours       `Engine.segment_objects`, or `segment_grid`, with masks as run lengths of the image's size; `segment` is the
           first alone.

Boxes are random, on a drawn scene. The grid is 32 x 32 points with three masks each; the predictor's are not filtered
or made unique, which it cannot. Weights are those of the demo model (`tiny`), or seeded (`full`). `cpu_s` are the
process's seconds on any core per object.
"""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.contest import SEED, device_name, timed
from benchmarks.predictor import metas_predictor

from autolabel.demo.scenes import draw_scene
from autolabel.sam3.architecture import ARCHITECTURES, INTERACTIVE_ALONE, TINY, build, seed_weights
from autolabel.sam3.checkpoint import load
from autolabel.sam3.device import memory_mb
from autolabel.sam3.download import fetch
from autolabel.sam3.engine import Engine
from autolabel.sam3.grid import GridSettings
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.objects import ObjectQuery
from autolabel.sam3.precision import PRECISIONS, multiply_in, narrow
from autolabel.sam3.preprocess import resize
from autolabel.sam3.upstream import Sam3Image

BOXES = (10, 100, 1000)
GRID_SIDE = 32
SETTINGS = GridSettings(iou=0.5, stability=0.8, nms=0.7)
WAYS = ("ours", "segment", "predictor")


def run(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py objects")
    parser.add_argument("--model", choices=list(ARCHITECTURES), default="tiny")
    parser.add_argument("--boxes", type=int, nargs="*", default=list(BOXES), help="an image; none: the grid alone")
    parser.add_argument("--no-grid", action="store_true")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32", help="ours")
    parser.add_argument("--compile", action="store_true", help="ours")
    options = parser.parse_args(list(arguments))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    multiply_in(PRECISIONS[options.precision])
    rgb = draw_scene(SEED, 0).rgb
    work = Work(options.model, device, rgb, precision=options.precision, compiled=options.compile)
    of_run = {"case": "objects", "model": options.model, "device": device_name(device), "precision": options.precision}
    of_run |= {"compile": options.compile, "size_hw": list(rgb.shape[:2])}
    for n_boxes in [*options.boxes, *([] if options.no_grid else [None])]:
        asked = {"boxes": n_boxes} if n_boxes else {"grid": f"{GRID_SIDE} x {GRID_SIDE}"}
        n_objects = n_boxes or GRID_SIDE**2
        cpu_s_of: dict[str, float] = {}
        seconds_of: dict[str, float] = {}
        for way in (way for way in WAYS if way in options.ways):
            spent = timed(work.of(way, n_boxes), device, warm_ups=1)
            seconds_of[way], cpu_s_of[way] = spent.seconds, spent.cpu_seconds
            line = {"way": way, "objects_per_s": round(n_objects / spent.seconds, 1), "masks": spent.n_instances}
            line |= {"cpu_s": round(spent.cpu_seconds / n_objects, 6), "peak_mb": spent.peak_mb}
            if way == "predictor":
                for ours in (ours for ours in ("ours", "segment") if ours in seconds_of):
                    line[f"{ours}_over"] = round(spent.seconds / seconds_of[ours], 2)
                    line[f"cpu_{ours}_over"] = round(spent.cpu_seconds / cpu_s_of[ours], 2)
            print(json.dumps(of_run | asked | line), flush=True)


def model_of(name: str, device: torch.device) -> Sam3Image:
    """Return the ViT and the head of a size, trained where there are such weights."""
    architecture = ARCHITECTURES[name]
    if architecture == TINY:
        weights = fetch("pkg://autolabel.demo/demo.safetensors", storage_options={}).path
        return load(weights, architecture, device=device, parts=INTERACTIVE_ALONE)
    model = build(architecture, device=device, parts=INTERACTIVE_ALONE)
    seed_weights(model, SEED)
    return model


class Work:
    """One image, and ways to mask objects in it."""

    def __init__(
        self, model: str, device: torch.device, rgb: npt.NDArray[np.uint8], *, precision: str, compiled: bool
    ) -> None:
        architecture = ARCHITECTURES[model]
        metas, own = (model_of(model, device) for _ in range(2))
        logging.getLogger().setLevel(logging.WARNING)  # the predictor says every image
        self.predictor = metas_predictor(metas, architecture)
        narrow(own, PRECISIONS[precision])
        self.engine = Engine(own, architecture, device=device, memory_mb=memory_mb(device), compiled=compiled)
        self.rgb, self.resolution = rgb, architecture.resolution
        self.pixels = resize(rgb, self.resolution)[None]

    def of(self, way: str, n_boxes: int | None) -> Callable[[], int]:
        """Return one run of a way over so many boxes, or over the grid, which gives the number of masks."""
        if n_boxes is None:
            centres = [(index + 0.5) / GRID_SIDE for index in range(GRID_SIDE)]
            points = [(x, y) for y in centres for x in centres]
            return {
                "ours": partial(self._grid, points, as_rles=True),
                "segment": partial(self._grid, points, as_rles=False),
                "predictor": partial(self._points_by_predictor, points),
            }[way]
        corners = np.sort(np.random.default_rng(SEED).random((n_boxes, 2, 2)), axis=1)
        return {
            "ours": partial(self._boxes, corners, as_rles=True),
            "segment": partial(self._boxes, corners, as_rles=False),
            "predictor": partial(self._boxes_by_predictor, corners),
        }[way]

    def _boxes(self, corners: npt.NDArray[np.float64], *, as_rles: bool) -> int:
        pixels = resize(self.rgb, self.resolution)[None] if as_rles else self.pixels
        queries = [
            ObjectQuery(image=0, points_xy=((low[0], low[1]), (high[0], high[1])), labels=(2, 3))
            for low, high in corners.tolist()
        ]
        results = self.engine.segment_objects(pixels, queries)
        return self._counted([result.mask_logits for result in results], as_rles=as_rles)

    def _grid(self, points_xy: Sequence[tuple[float, float]], *, as_rles: bool) -> int:
        pixels = resize(self.rgb, self.resolution)[None] if as_rles else self.pixels
        results = self.engine.segment_grid(pixels, 0, points_xy, SETTINGS)
        return self._counted([result.mask_logits for result in results], as_rles=as_rles)

    def _counted(self, logits: Sequence[torch.Tensor], *, as_rles: bool) -> int:
        if not as_rles:
            return len(logits)
        height, width = self.rgb.shape[:2]
        return sum(len(logits_to_rles(each, (height, width))) for each in logits)

    def _boxes_by_predictor(self, corners: npt.NDArray[np.float64]) -> int:
        self.predictor.set_image(self.rgb)
        boxes = (corners * self.rgb.shape[1::-1]).reshape(-1, 4)
        return sum(len(self.predictor.predict(box=box, multimask_output=False)[0]) for box in boxes)

    def _points_by_predictor(self, points_xy: Sequence[tuple[float, float]]) -> int:
        self.predictor.set_image(self.rgb)
        points, label = np.array(points_xy) * self.rgb.shape[1::-1], np.ones(1)
        return sum(
            len(self.predictor.predict(point_coords=point[None], point_labels=label, multimask_output=True)[0])
            for point in points
        )
