"""What holds a GPU up: how long its kernels run, what the host does for an image, and which attention is fastest."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.contest import KEPT, SIZE_HW, timed
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from autolabel.sam3.architecture import Architecture
from autolabel.sam3.masks import logits_to_rles
from autolabel.sam3.preprocess import resize

BACKENDS = {
    "torch's choice": None,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
PAIRS, ROUNDS = 16, 10


def gpu_seconds(work: Callable[[], object], device: torch.device) -> float | None:
    """Return seconds in which kernels ran, in one run of the work; None where nothing can tell."""
    if device.type != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize(device)
    micros = sum(event.self_device_time_total for event in profile.key_averages())
    return micros / 1e6 if micros else None


def host_ms(rgb: npt.NDArray[np.uint8], a: Architecture) -> dict[str, float]:
    """Return milliseconds of one core for an image: decoded, resized, and the run lengths of ten masks."""
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=88)
    y, x = np.mgrid[: 4 * a.feature_side, : 4 * a.feature_side]
    radius = a.feature_side
    disc = torch.from_numpy((radius - np.hypot(y - 2 * radius, x - 2 * radius))[None].astype(np.float32))
    steps: dict[str, Callable[[], object]] = {
        "decode_ms": lambda: np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB")),
        "resize_ms": lambda: resize(rgb, a.resolution),
        "run_lengths_ms": lambda: logits_to_rles(disc.expand(KEPT, -1, -1), SIZE_HW),
    }
    return {name: round(1000 * cpu_seconds(step), 2) for name, step in steps.items()}


def cpu_seconds(step: Callable[[], object]) -> float:
    step()
    began = time.process_time()
    for _ in range(ROUNDS):
        step()
    return (time.process_time() - began) / ROUNDS


def attention_kernels(a: Architecture, device: torch.device) -> Iterator[dict[str, Any]]:
    """Yield milliseconds of the two attentions that cost most of a pair, by the kernels that torch has.

    Of the fusion encoder (s*s cells among themselves, bfloat16), and of the decoder (queries to cells, with the
    position bias, float32).
    """
    cells, head = a.feature_side**2, a.width // a.heads

    def random(length: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.randn(PAIRS, a.heads, length, head, device=device, dtype=dtype)

    within = [random(cells, torch.bfloat16) for _ in range(3)]
    across = [random(1 + a.queries, torch.float32), *(random(cells, torch.float32) for _ in range(2))]
    bias = torch.randn(PAIRS, a.heads, 1 + a.queries, cells, device=device)
    for name, inputs, mask in (("fusion encoder, self", within, None), ("decoder, cross", across, bias)):
        line: dict[str, Any] = {"of": name}
        for backend, chosen in BACKENDS.items():
            with sdpa_kernel(chosen) if chosen else nullcontext():
                line[backend] = milliseconds(inputs, mask, device)
        yield line


def milliseconds(inputs: list[torch.Tensor], mask: torch.Tensor | None, device: torch.device) -> float | str:
    """Return those for one pair, or why this kernel does not do it."""
    query, key, value = inputs

    def work() -> int:
        for _ in range(ROUNDS):
            scaled_dot_product_attention(query, key, value, attn_mask=mask)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 0

    try:
        return round(1000 * timed(work, device, warm_ups=1).seconds / ROUNDS / PAIRS, 4)
    except RuntimeError as error:
        return str(error).splitlines()[0][:80]
