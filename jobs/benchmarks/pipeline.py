"""The whole job with a model that costs nothing: what everything else costs, and what Ray adds to it.

job        `autolabel label` over photos of 1800 x 1200: listed, planned, fetched, decoded, resized, masks, rows, files
process    the same units by the same code in one process, without Ray
script     the plain Ray Data script that a user would write: read_images -> map_batches -> write_parquet, with the same
           resize and masks

The model answers at once, with three masks per image. Every way has all cores of the machine and one actor (or
process). The job's seconds are those from its first unit's file to its last, scaled to all units, and `whole_s` with
Ray's start and end; the peak is of the memory of the process that holds the model.
"""

import argparse
import json
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from autolabel.output.settings import label_settings

os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when Ray is imported
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported

import numpy as np
import ray
import ray.cloudpickle
import ray.data
import torch
from benchmarks.photos import SIZE_WH, write_photos
from ray.data import ActorPoolStrategy, DataContext
from torch.nn.functional import interpolate

from autolabel.config import LabelConfig
from autolabel.config.compose import compose_config
from autolabel.masks.rle import encode as encode_mask
from autolabel.output import run_record
from autolabel.pipeline.job import label
from autolabel.pipeline.messages import LabelJob
from autolabel.pipeline.request import read_request
from autolabel.pipeline.unit import UnitLabeler
from autolabel.plan import Plan, encode, seal
from autolabel.sam3.device import HostTensor
from autolabel.sam3.engine import Engine, Pair, PairResult
from autolabel.sam3.preprocess import resize
from autolabel.storage import open_storage

SIDE_PX, MASKS_PX, N_MASKS = 1008, 288, 3
UNIT_SIZE = 50


def run(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py pipeline")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--ways", nargs="+", choices=["job", "process", "script"], default=["process", "job", "script"])
    options = parser.parse_args(list(arguments))
    for module in (sys.modules[__name__], sys.modules["benchmarks.photos"]):
        ray.cloudpickle.register_pickle_by_value(module)  # workers cannot import them
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        write_photos(photos, options.images)
        ways: dict[str, Callable[[Path, Path], dict[str, Any]]] = {"job": job, "process": process, "script": script}
        for way in options.ways:
            started = time.monotonic()
            figures = ways[way](photos, Path(folder) / way)
            seconds = figures.pop("seconds", time.monotonic() - started)
            line = {"case": "pipeline", "way": way, "images": options.images}
            print(json.dumps(line | {"images_per_s": round(options.images / seconds, 2)} | figures), flush=True)


class FreeEngine(Engine):
    """Says of every image that it holds the same three blobs."""

    def __init__(self, output: Path) -> None:
        self.peak_mb = output / "peak_mb"
        y, x = np.mgrid[:MASKS_PX, :MASKS_PX]
        centres = ((80, 90, 30), (150, 200, 60), (230, 60, 12))
        distances = [radius - np.hypot(y - cy, x - cx) for cy, cx, radius in centres]
        self.logits = torch.from_numpy(np.array(distances, np.float32))

    def segment(self, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
        self.peak_mb.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
        return [
            PairResult(
                presence=1.0,
                best_score=0.9,
                scores=np.full(N_MASKS, 0.9, np.float32),
                boxes_xyxy=np.zeros((N_MASKS, 4), np.float32),
                masks=HostTensor(self.logits),
            )
            for _ in pairs
        ]


def free_engine(job: LabelJob) -> FreeEngine:
    return FreeEngine(Path(job.output_uri))


def settings(photos: Path, output: Path) -> LabelConfig:
    """Return settings with the full model's frame of 1008 pixels, of which the free model needs no weights."""
    overrides = ["model.architecture=full", "model.checkpoint=null", "model.sha256=null", "model.seed=0"]
    overrides += ["prompts=[thing]", f"output.unit_size={UNIT_SIZE}"]
    config: LabelConfig = compose_config("label", [f"input.uri='{photos}'", f"output.uri='{output}'", *overrides])
    return config


def job(photos: Path, output: Path) -> dict[str, Any]:
    ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    started = time.monotonic()
    label(settings(photos, output), load=free_engine)
    whole_s = time.monotonic() - started
    ray.shutdown()
    created = sorted(path.stat().st_mtime for path in (output / "labels").iterdir())
    seconds = (created[-1] - created[0]) * len(created) / (len(created) - 1)
    peak_mb = int((output / "peak_mb").read_text())
    return {"seconds": seconds, "whole_s": round(whole_s, 1), "peak_mb": peak_mb}


def process(photos: Path, output: Path) -> dict[str, Any]:
    """Measure one process with two units in hand, as an actor has."""
    config = settings(photos, output)
    request = read_request(config, list_input=True)
    assert request.listing is not None
    storage = open_storage(str(output), {})
    seal(storage, str(output), encode(request.listing, unit_size=UNIT_SIZE))
    work = LabelJob.of(
        config,
        output_uri=str(output),
        record=run_record.new_record(
            label_settings(config, request.ontology, input_uri=config.input.uri, weights="none", exemplars_sha256=None)
        ),
        checkpoint_sha256=None,
    )
    labeler = UnitLabeler(work, FreeEngine(output))
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(labeler.label_unit, range(Plan(storage, str(output)).n_units)))
    return {"seconds": time.monotonic() - started, "peak_mb": int((output / "peak_mb").read_text())}


def script(photos: Path, output: Path) -> dict[str, Any]:
    """Measure what a user would write."""
    ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    DataContext.get_current().enable_progress_bars = False
    started = time.monotonic()
    (
        ray.data.read_images(str(photos), include_paths=True, mode="RGB")
        .map_batches(PlainLabeler, batch_size=4, compute=ActorPoolStrategy(size=1), num_cpus=1)
        .write_parquet(str(output))
    )
    seconds = time.monotonic() - started
    ray.shutdown()
    return {"seconds": seconds}


class PlainLabeler:
    """Full-size masks of a batch."""

    def __init__(self) -> None:
        self.logits = FreeEngine(Path()).logits

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        counts = []
        for rgb in batch["image"]:
            resize(np.ascontiguousarray(rgb), SIDE_PX)
            upsampled = interpolate(self.logits[:, None], SIZE_WH[::-1], mode="bilinear", align_corners=False)[:, 0]
            counts.append([encode_mask(mask).counts for mask in (upsampled > 0).numpy()])
        return {"path": batch["path"], "counts": np.array(counts)}
