"""Three ways through SAM3 on the same weights and images, and what a run of one takes.

processor  Meta's `Sam3Processor`: an image's features once, then prompt by prompt.
datapoint  Meta's batched call, one image at a time with up to 16 prompts: what Roboflow's inference does. Phrases are
           encoded with every call, and masks are upsampled to the image's size.
ours       `Engine.segment` over a batch of images, and masks as run lengths; `segment` is the first alone.

Weights are seeded. Thresholds are set per prompt so that as many prompts as are said are present, each with ten
instances. Where ours is narrow, Meta's are under Meta's own autocast. Imports neither Ray nor Hydra nor pyarrow.
"""

import resource
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn.functional import interpolate

from autolabel.masks.rle import encode
from autolabel.sam3.architecture import Architecture, build, seed_weights
from autolabel.sam3.engine import Engine, Pair
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.preprocess import normalize, resize
from autolabel.sam3.upstream import Prompt, Sam3Image, find_stage

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="CUDA is not available or torch_xla is imported")
    from sam3.model.sam3_image_processor import Sam3Processor

CASES = {1: 1, 4: 3, 16: 3, 80: 5}  # prompts, of which present
WAYS = ("ours", "segment", "processor", "datapoint")
SEED = 10
KEPT = 10  # instances of a present prompt
TOGETHER = 16  # prompts of one datapoint
PAIRS_TOGETHER = 16  # when thresholds are found
SIZE_HW = (1200, 1800)
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black", "small", "large")
NOUNS = ("car", "person", "dog", "bicycle", "tree", "house", "sign", "bird")
PHRASES = [f"{color} {noun}" for noun in NOUNS for color in COLORS]
NEVER = 1.1
WARM_UPS = 3  # graph trees warm up, record and replay
LEAST_S, MOST_RUNS = 2.0, 5

Thresholds = npt.NDArray[np.float64]


def seeded(architecture: Architecture, device: torch.device) -> Sam3Image:
    """Build a model of Meta's modules, whose weights depend on nothing."""
    model = build(architecture, device=device)
    seed_weights(model, SEED)
    return model


class Contest:
    """Some images, and ways to find instances in them."""

    def __init__(self, architecture: Architecture, device: torch.device, *, dtype: torch.dtype, n_images: int) -> None:
        """Take the type of Meta's ways' autocast; float32: without."""
        self.architecture, self.device, self.dtype = architecture, device, dtype
        self.images = [noise_image(seed) for seed in range(n_images)]
        self.metas = seeded(architecture, device)
        self.processor = Sam3Processor(self.metas, resolution=architecture.resolution, device=str(device))
        self.pixels = torch.stack([resize(rgb, architecture.resolution) for rgb in self.images])

    @torch.inference_mode()
    def thresholds(self, engine: Engine, n_prompts: int) -> Thresholds:
        """Return (images, prompts): between the tenth and eleventh score of the best prompts, never for others.

        By the scores of an engine that is not compiled, without the masks that go with all of them.
        """
        scores = np.empty((len(self.images), n_prompts, self.architecture.queries), np.float32)
        for index, image in enumerate(self.pixels):
            features = engine._forward.images(normalize(image[None].to(self.device)))
            for start in range(0, n_prompts, PAIRS_TOGETHER):
                phrases = PHRASES[start : min(start + PAIRS_TOGETHER, n_prompts)]
                pairs = [Pair(image=0, text=text, threshold=0.5) for text in phrases]
                decoded = engine._forward.find(features, engine._encoded_prompts(features, pairs))
                in_order, _ = decoded.scores.cpu().sort(dim=1, descending=True)
                scores[index, start : start + len(phrases)] = in_order.numpy()
        middle = (scores[..., KEPT - 1] + scores[..., KEPT]) / 2
        best = np.argsort(-scores[..., 0], axis=1)[:, : CASES[n_prompts]]
        chosen = np.full(middle.shape, NEVER)
        np.put_along_axis(chosen, best, np.take_along_axis(middle, best, axis=1), axis=1)
        return chosen

    def work(self, way: str, engine: Engine | None, thresholds: Thresholds, n_images: int) -> Callable[[], int]:
        """Return one run of a way over the first images, which gives the number of instances."""
        thresholds = thresholds[:n_images]
        if way in ("ours", "segment"):
            assert engine is not None
            return partial(self._segment if way == "segment" else self._ours, engine, thresholds)
        return partial(self._by_processor if way == "processor" else self._by_datapoint, thresholds)

    def _pairs(self, thresholds: Thresholds) -> list[Pair]:
        return [
            Pair(image=image, text=PHRASES[prompt], threshold=float(threshold))
            for (image, prompt), threshold in np.ndenumerate(thresholds)
        ]

    def _segment(self, engine: Engine, thresholds: Thresholds) -> int:
        results = engine.segment(self.pixels[: len(thresholds)], self._pairs(thresholds))
        return sum(len(result.mask_logits) for result in results)

    def _ours(self, engine: Engine, thresholds: Thresholds) -> int:
        pixels = torch.stack([resize(rgb, self.architecture.resolution) for rgb in self.images[: len(thresholds)]])
        results = engine.segment(pixels, self._pairs(thresholds))
        return sum(len(logits_to_rles(result.mask_logits, SIZE_HW)) for result in results)

    def _by_processor(self, thresholds: Thresholds) -> int:
        n_instances = 0
        with self._autocast():
            for rgb, of_image in zip(self.images, thresholds, strict=False):
                state = self.processor.set_image(Image.fromarray(rgb))
                for text, threshold in zip(PHRASES, of_image, strict=False):
                    self.processor.confidence_threshold = float(threshold)
                    state = self.processor.set_text_prompt(text, state)
                    n_instances += len([encode(mask[0]) for mask in state["masks"].cpu().numpy()])
        return n_instances

    @torch.inference_mode()
    def _by_datapoint(self, thresholds: Thresholds) -> int:
        n_instances = 0
        with self._autocast():
            for rgb, of_image in zip(self.images, thresholds, strict=False):
                pixels = normalize(resize(rgb, self.architecture.resolution)[None].to(self.device))
                image = self.metas.backbone.forward_image(pixels)
                for start in range(0, len(of_image), TOGETHER):
                    limits = torch.from_numpy(of_image[start : start + TOGETHER]).to(self.device)
                    n_instances += self._one_datapoint(image, PHRASES[start : start + len(limits)], limits)
        return n_instances

    def _one_datapoint(self, image: dict[str, Any], phrases: Sequence[str], limits: torch.Tensor) -> int:
        text = self.metas.backbone.forward_text(list(phrases), device=self.device)
        n = len(phrases)
        stage = find_stage(torch.zeros(n, dtype=torch.long, device=self.device), torch.arange(n, device=self.device))
        no_boxes = Prompt(
            box_embeddings=torch.zeros(0, n, 4, device=self.device),
            box_mask=torch.zeros(n, 0, dtype=torch.bool, device=self.device),
        )
        out = self.metas.forward_grounding(
            backbone_out={**image, **text}, find_input=stage, find_target=None, geometric_prompt=no_boxes
        )
        scores = out["pred_logits"].sigmoid().squeeze(-1) * out["presence_logit_dec"].sigmoid()
        kept = out["pred_masks"][scores > limits[:, None]]
        n_instances = 0
        for some in kept.split(8):
            masks = interpolate(some[:, None].float(), SIZE_HW, mode="bilinear", align_corners=False)[:, 0] > 0
            n_instances += len([encode(mask) for mask in masks.cpu().numpy()])
        return n_instances

    def _autocast(self) -> AbstractContextManager[object]:
        narrow = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype) if narrow else nullcontext()


def noise_image(seed: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 45, 3), dtype=np.uint8))
    return np.array(coarse.resize((SIZE_HW[1], SIZE_HW[0]), Image.Resampling.BICUBIC))


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Costs of a run; the peak is the GPU's memory beside all weights, or the process's since it began."""

    seconds: float
    cpu_seconds: float
    n_instances: int
    peak_mb: int
    warm_up_s: float


def timed(work: Callable[[], int], device: torch.device, *, warm_ups: int) -> Spent:
    """Time the median of a few runs, after others that are not counted."""
    began = time.monotonic()
    for _ in range(warm_ups):
        work()
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device) if on_cuda else 0
    warm_up_s = time.monotonic() - began
    seconds: list[float] = []
    cpu_began = time.process_time()
    n_instances = 0
    while not seconds or (sum(seconds) < LEAST_S and len(seconds) < MOST_RUNS):
        started = time.monotonic()
        n_instances = work()
        seconds.append(time.monotonic() - started)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
    return Spent(
        seconds=statistics.median(seconds),
        cpu_seconds=(time.process_time() - cpu_began) / len(seconds),
        n_instances=n_instances,
        peak_mb=(torch.cuda.max_memory_allocated(device) - held) // 2**20 if on_cuda else peak_mb,
        warm_up_s=warm_up_s,
    )


def matmul_tflops(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Measure what a large matrix product reaches."""
    a = torch.randn(side, side, device=device, dtype=dtype)

    def products() -> int:
        for _ in range(10):
            a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 0

    return 10 * 2 * side**3 / timed(products, device, warm_ups=1).seconds / 1e12


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
