"""What the CPU does for every image, each step alone on one core, against the plain way to do it.

decode   a JPEG of 1800 x 1200 to pixels              plain: Image.open(...).convert("RGB") to an array
resize   to the model's 1008 x 1008                   plain: torchvision on a channels-first copy
rle      20 masks from 288 x 288 logits               plain: upsample each to full size, threshold, pycocotools
nms      60 instances of one category, three of each  plain: pycocotools' IoU of all pairs, then greedy
parquet  a unit of 256 images, 8 instances each       plain: a JSON file per image, as labelling tools write
"""

import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported

import numpy as np
import orjson
import torch
from benchmarks.photos import SIZE_WH, jpeg
from PIL import Image
from pycocotools import mask as coco
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import functional

from autolabel.images.decode import decode
from autolabel.labels.schema import row_from_labels
from autolabel.labels.types import ImageLabels, Instance, PromptResult
from autolabel.labels.units import write_unit
from autolabel.masks.rle import Rle, area, bbox_xywh, encode
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.preprocess import resize
from autolabel.selection.rules import Rules, select
from autolabel.storage import open_storage

SIZE_HW = SIZE_WH[1], SIZE_WH[0]
SIDE_PX = 1008
N_MASKS, N_OBJECTS, N_IMAGES, N_INSTANCES = 20, 20, 256, 8


def run() -> None:
    data = jpeg(0)
    rgb = decode(data, apply_exif=True, max_pixels=10**8).rgb
    logits = blobs(N_MASKS, seed=0)
    objects = thrice(logits_to_rles(blobs(N_OBJECTS, seed=1), SIZE_HW))
    rows = unit_rows(logits_to_rles(blobs(N_INSTANCES, seed=2), SIZE_HW))
    with tempfile.TemporaryDirectory() as folder:
        steps: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "decode": (
                lambda: decode(data, apply_exif=True, max_pixels=10**8),
                lambda: np.array(Image.open(io.BytesIO(data)).convert("RGB")),
            ),
            "resize": (lambda: resize(rgb, SIDE_PX), lambda: resize_plainly(rgb)),
            "rle": (lambda: logits_to_rles(logits, SIZE_HW), lambda: rles_plainly(logits)),
            "nms": (lambda: select(objects, Rules(nms_within=0.7)), lambda: nms_plainly(objects, 0.7)),
            "parquet": (lambda: write_parquet(Path(folder), rows), lambda: write_json(Path(folder), rows)),
        }
        for step, (ours, plain) in steps.items():
            ours_ms, plain_ms = 1000 * seconds(ours), 1000 * seconds(plain)
            figures = {"case": "host", "step": step, "ms": round(ours_ms, 2), "plain_ms": round(plain_ms, 2)}
            print(json.dumps(figures | {"times_faster": round(plain_ms / ours_ms, 2)}), flush=True)


def seconds(work: Callable[[], Any], at_least_s: float = 1.0) -> float:
    """Return the least of several runs."""
    times: list[float] = []
    while sum(times) < at_least_s or len(times) < 3:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def blobs(n: int, seed: int) -> torch.Tensor:
    """Return logits (n, 288, 288) of steep-edged, slightly ragged blobs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:288, :288]
    drawn = []
    for _ in range(n):
        radius, (cy, cx) = 288 * np.exp(rng.uniform(np.log(0.03), np.log(0.3))), rng.uniform(20, 268, 2)
        distance = radius - np.hypot((y - cy) * rng.uniform(0.6, 1.6), x - cx)
        drawn.append(np.clip(distance * 1.2 + rng.normal(0, 0.3, (288, 288)), -12, 10))
    return torch.from_numpy(np.array(drawn, np.float32))


def thrice(rles: list[Rle]) -> list[Instance]:
    """Return each mask as three synonyms would find it."""
    rng = np.random.default_rng(0)
    instances = []
    for rle in rles:
        for phrase in ("car", "van", "vehicle"):
            instances.append(
                Instance(
                    category_id=1,
                    prompt_id=0,
                    phrase=phrase,
                    score=float(rng.uniform(0.5, 1)),
                    presence=1.0,
                    rle=rle,
                    area_px=area(rle),
                    bbox_xywh=bbox_xywh(rle),
                )
            )
    return instances


def unit_rows(rles: list[Rle]) -> list[ImageLabels]:
    instances = tuple(thrice(rles)[::3])
    prompt = PromptResult(
        prompt_id=0, category_id=1, phrase="car", presence=0.9, best_score=0.9, n_instances=len(instances)
    )
    return [
        ImageLabels(
            image_id=number,
            uri=f"s3://bucket/photos/{number:06d}.jpg",
            size_hw=SIZE_HW,
            orientation=1,
            sha256="0" * 64,
            prompts=(prompt,),
            instances=instances,
        )
        for number in range(1, N_IMAGES + 1)
    ]


def resize_plainly(rgb: Any) -> torch.Tensor:
    resized: torch.Tensor = functional.resize(torch.from_numpy(rgb).permute(2, 0, 1).contiguous(), [SIDE_PX, SIDE_PX])
    return resized


def rles_plainly(logits: torch.Tensor) -> list[Rle]:
    upsampled = interpolate(logits[:, None], SIZE_HW, mode="bilinear", align_corners=False)[:, 0]
    return [encode(mask) for mask in (upsampled > 0).numpy()]


def nms_plainly(instances: list[Instance], limit: float) -> list[Instance]:
    ranked = sorted(instances, key=lambda instance: -instance.score)
    rles = [instance.rle.to_coco() for instance in ranked]
    overlap = coco.iou(rles, rles, [0] * len(rles))
    kept: list[int] = []
    for index in range(len(ranked)):
        if not any(overlap[index, other] > limit for other in kept):
            kept.append(index)
    return [ranked[index] for index in kept]


def write_parquet(folder: Path, rows: list[ImageLabels]) -> None:
    write_unit(open_storage(str(folder), {}), str(folder), 0, rows, {})
    (folder / "labels" / "00000000.parquet").unlink()


def write_json(folder: Path, rows: list[ImageLabels]) -> None:
    for row in rows:
        (folder / f"{row.image_id}.json").write_bytes(orjson.dumps(row_from_labels(row)))
