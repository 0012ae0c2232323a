"""The engine at full size against what else runs SAM3, in the same process on the same weights and images.

processor  Meta's `Sam3Processor`: an image's features once, then prompt by prompt.
datapoint  Meta's batched call, one image at a time with up to 16 prompts: what Roboflow's inference does. Phrases are
           encoded with every call, and masks are upsampled to the image's size.
ours       `Engine.segment` over all images, and masks as run lengths.

Weights are seeded. Thresholds are set per prompt so that as many prompts as are said are present, each with ten
instances. Imports neither Ray nor Hydra nor pyarrow. `cpu_s` are the process's seconds on any core per image: where
others use the cores too, a ratio of these says more than one of images a second. On a GPU, `matmul_share` is the share
of the peak that a large matrix product reaches on this device in the precision of the run.
"""

import argparse
import json
import resource
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torch.utils.flop_counter import FlopCounterMode

from autolabel.masks.rle import encode
from autolabel.sam3.architecture import ARCHITECTURES, Architecture, build, seed_weights
from autolabel.sam3.engine import Engine, Pair
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.precision import PRECISIONS, multiply_in, narrow
from autolabel.sam3.preprocess import normalize, resize
from autolabel.sam3.upstream import Prompt, Sam3Image, find_stage

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="CUDA is not available or torch_xla is imported")
    from sam3.model.sam3_image_processor import Sam3Processor

CASES = {1: 1, 4: 3, 16: 3, 80: 5}  # prompts, of which present
WAYS = ("ours", "processor", "datapoint")
KEPT = 10  # instances of a present prompt
TOGETHER = 16  # prompts of one datapoint
SIZE_HW = (1200, 1800)
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black", "small", "large")
NOUNS = ("car", "person", "dog", "bicycle", "tree", "house", "sign", "bird")
PHRASES = [f"{color} {noun}" for noun in NOUNS for color in COLORS]
NEVER = 1.1


def run(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py engine")
    parser.add_argument("--model", choices=list(ARCHITECTURES), default="full")
    parser.add_argument("--prompts", type=int, nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--memory-mb", type=int, default=2000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32", help="of ours; others: float32")
    parser.add_argument("--compile", action="store_true", help="ours")
    options = parser.parse_args(list(arguments))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    architecture = ARCHITECTURES[options.model]
    dtype = PRECISIONS[options.precision]
    model = seeded(architecture, device)
    ours = model
    if options.precision != "float32" or options.compile:
        ours = narrow(seeded(architecture, device), dtype)
    multiply_in(dtype)
    engine = Engine(ours, architecture, device=device, memory_mb=options.memory_mb, compiled=options.compile)
    contest = Contest(model, architecture, device, options.images, engine=engine, dtype=dtype)
    run_of = {"case": "engine", "model": options.model, "device": device_name(device), "precision": options.precision}
    for n_prompts in options.prompts:
        for line in contest.measure(n_prompts, CASES[n_prompts], options.ways):
            print(json.dumps(run_of | {"compile": options.compile} | line), flush=True)


def seeded(architecture: Architecture, device: torch.device) -> Sam3Image:
    model = build(architecture, device=device)
    seed_weights(model, 10)
    return model


class Contest:
    """Three ways through one model."""

    def __init__(
        self,
        model: Sam3Image,
        architecture: Architecture,
        device: torch.device,
        n_images: int,
        *,
        engine: Engine,
        dtype: torch.dtype,
    ) -> None:
        self.dtype = dtype
        self.model, self.architecture, self.device = model, architecture, device
        self.images = [noise_image(seed) for seed in range(n_images)]
        self.engine = engine
        self.processor = Sam3Processor(model, resolution=architecture.resolution, device=str(device))

    def measure(self, n_prompts: int, n_present: int, chosen: Sequence[str] = WAYS) -> list[dict[str, Any]]:
        phrases = PHRASES[:n_prompts]
        thresholds = self.thresholds(phrases, n_present)
        work = {"ours": self.ours, "processor": self.by_processor, "datapoint": self.by_datapoint}
        lines, rates, cpu = [], {}, {}
        for way in (way for way in WAYS if way in chosen):
            spent = timed(partial(work[way], phrases, thresholds), self.device)
            rates[way], cpu[way] = len(self.images) / spent.seconds, spent.cpu_seconds / len(self.images)
            line = {"prompts": n_prompts, "present": n_present, "way": way, "images_per_s": round(rates[way], 3)}
            lines.append(line | {"cpu_s": round(cpu[way], 2), "instances": spent.n_found, "peak_mb": spent.peak_mb})
        if "ours" not in chosen:
            return lines
        with FlopCounterMode(display=False) as counter:
            self.ours(phrases, thresholds)
        tflop = counter.get_total_flops() / 1e12 / len(self.images)
        lines[0] |= {f"over_{way}": round(rates["ours"] / rates[way], 2) for way in rates if way != "ours"}
        lines[0] |= {f"cpu_over_{way}": round(cpu[way] / cpu["ours"], 2) for way in cpu if way != "ours"}
        lines[0]["tflop_per_image"] = round(tflop, 3)
        if self.device.type == "cuda":
            lines[0]["matmul_share"] = round(tflop * rates["ours"] / matmul_tflops(self.device, self.dtype), 3)
        return lines

    def thresholds(self, phrases: Sequence[str], n_present: int) -> npt.NDArray[np.float64]:
        """Return (images, prompts) thresholds that keep so many instances of the best prompts, and none of the others.

        They lie halfway between the tenth and the eleventh score.
        """
        pairs = [Pair(image=image, text=text, threshold=-1.0) for image in range(len(self.images)) for text in phrases]
        scores = np.array([np.sort(result.scores)[::-1] for result in self.engine.segment(self.pixels(), pairs)])
        scores = scores.reshape(len(self.images), len(phrases), -1)
        middle = (scores[..., KEPT - 1] + scores[..., KEPT]) / 2
        best = np.argsort(-scores[..., 0], axis=1)[:, :n_present]
        thresholds = np.full(middle.shape, NEVER)
        np.put_along_axis(thresholds, best, np.take_along_axis(middle, best, axis=1), axis=1)
        return thresholds

    def pixels(self) -> torch.Tensor:
        return torch.stack([resize(rgb, self.architecture.resolution) for rgb in self.images])

    def ours(self, phrases: Sequence[str], thresholds: npt.NDArray[np.float64]) -> int:
        pairs = [
            Pair(image=image, text=text, threshold=float(thresholds[image, index]))
            for image in range(len(self.images))
            for index, text in enumerate(phrases)
        ]
        results = self.engine.segment(self.pixels(), pairs)
        return sum(len(logits_to_rles(result.mask_logits, SIZE_HW)) for result in results)

    def by_processor(self, phrases: Sequence[str], thresholds: npt.NDArray[np.float64]) -> int:
        n_found = 0
        for index, rgb in enumerate(self.images):
            state = self.processor.set_image(Image.fromarray(rgb))
            for text, threshold in zip(phrases, thresholds[index], strict=True):
                self.processor.confidence_threshold = float(threshold)
                state = self.processor.set_text_prompt(text, state)
                n_found += len([encode(mask[0]) for mask in state["masks"].cpu().numpy()])
        return n_found

    @torch.inference_mode()
    def by_datapoint(self, phrases: Sequence[str], thresholds: npt.NDArray[np.float64]) -> int:
        n_found = 0
        for index, rgb in enumerate(self.images):
            pixels = normalize(resize(rgb, self.architecture.resolution)[None].to(self.device))
            image = self.model.backbone.forward_image(pixels)
            for start in range(0, len(phrases), TOGETHER):
                some = list(phrases[start : start + TOGETHER])
                limits = torch.from_numpy(thresholds[index, start : start + TOGETHER]).to(self.device)
                n_found += self._one_datapoint(image, some, limits)
        return n_found

    def _one_datapoint(self, image: dict[str, Any], phrases: list[str], limits: torch.Tensor) -> int:
        text = self.model.backbone.forward_text(phrases, device=self.device)
        n = len(phrases)
        stage = find_stage(torch.zeros(n, dtype=torch.long, device=self.device), torch.arange(n, device=self.device))
        no_boxes = Prompt(
            box_embeddings=torch.zeros(0, n, 4, device=self.device),
            box_mask=torch.zeros(n, 0, dtype=torch.bool, device=self.device),
        )
        out = self.model.forward_grounding(
            backbone_out={**image, **text}, find_input=stage, find_target=None, geometric_prompt=no_boxes
        )
        scores = out["pred_logits"].sigmoid().squeeze(-1) * out["presence_logit_dec"].sigmoid()
        kept = out["pred_masks"][scores > limits[:, None]]
        n_found = 0
        for some in kept.split(8):
            masks = interpolate(some[:, None], SIZE_HW, mode="bilinear", align_corners=False)[:, 0] > 0
            n_found += len([encode(mask) for mask in masks.cpu().numpy()])
        return n_found


def noise_image(seed: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 45, 3), dtype=np.uint8))
    return np.array(coarse.resize((SIZE_HW[1], SIZE_HW[0]), Image.Resampling.BICUBIC))


@dataclass(frozen=True, kw_only=True)
class Spent:
    """The cost of a run; the peak is the device's memory, or the process's since it began."""

    seconds: float
    cpu_seconds: float
    n_found: int
    peak_mb: int


def timed(work: Callable[[], int], device: torch.device) -> Spent:
    """Return the cost of the second run."""
    work()
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    started, cpu_started = time.monotonic(), time.process_time()
    n_found = work()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
    return Spent(
        seconds=time.monotonic() - started,
        cpu_seconds=time.process_time() - cpu_started,
        n_found=n_found,
        peak_mb=torch.cuda.max_memory_allocated(device) // 2**20 if on_cuda else peak_mb,
    )


def matmul_tflops(device: torch.device, dtype: torch.dtype, side: int = 8192) -> float:
    """Return what a large matrix product reaches."""
    a = torch.randn(side, side, device=device, dtype=dtype)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize(device)
    started = time.monotonic()
    for _ in range(10):
        a @ a
    torch.cuda.synchronize(device)
    return 10 * 2 * side**3 / (time.monotonic() - started) / 1e12


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
