"""The first hour on a GPU in nine minutes: is it right, how fast is it, and what holds it up. A table and JSON.

Right: the demo model and the seeded full one give the same on the GPU as on the CPU, in float32; and in bfloat16, eager
and compiled, nearly the same as in float32. The exit code is 1 if not.
Fast: images a second at 1, 4, 16 and 80 prompts, `segment` alone and with masks as run lengths, against Meta's
processor and its batched call under Meta's own autocast; the share of what a large matrix product reaches; peak memory.
Held up: how busy the GPU was, what a core needs for an image before and after the model, and the kernels of attention.

For a bare machine: torch (2.11 or newer) and the few packages that `sam3` imports; neither Ray nor Hydra nor pyarrow.
What there was no time for is named as skipped. `--cpu` tries the script itself where there is no GPU, and says so.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from benchmarks.contest import CASES, WARM_UPS, Contest, Spent, device_name, matmul_tflops, seeded, timed
from benchmarks.flops import META, tflop_per_image
from benchmarks.kernels import attention_kernels, gpu_seconds, host_ms
from benchmarks.sameness import BOUNDS, Exam

from autolabel.sam3.architecture import ARCHITECTURES, TINY, Architecture, build_empty, place
from autolabel.sam3.checkpoint import load
from autolabel.sam3.device import memory_mb
from autolabel.sam3.engine import Engine, PairResult
from autolabel.sam3.precision import PRECISIONS, multiply_in, narrow
from autolabel.sam3.upstream import Sam3Image

DEMO = Path(__file__).parents[2] / "autolabel" / "demo" / "demo.safetensors"
N_SCENES, N_NOISE = 16, 1  # images that are compared
METAS_IMAGES = 4  # of the batch, so that 80 prompts one by one do not take all the time
CPU = torch.device("cpu")


@dataclass
class Report:
    """Lines as they come, within a time; a name for what there was no time for."""

    ends_at: float
    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **line: Any) -> None:
        self.lines.append(line)
        print(json.dumps(line), flush=True)

    def has_time(self, name: str, seconds: float) -> bool:
        """Tell whether about so many seconds are left; notes what is skipped if not."""
        if time.monotonic() + seconds < self.ends_at:
            return True
        self.add(part=name, skipped="no time left")
        return False


def run(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(prog="benchmark.py gpu")
    parser.add_argument("--out", type=Path, help="a file for all lines as JSON")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin nothing after so many")
    parser.add_argument("--prompts", type=int, nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--images", type=int, default=16, help="of a batch")
    parser.add_argument("--model", choices=list(ARCHITECTURES), default="full")
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    parser.add_argument("--cpu", action="store_true", help="try the script on a CPU")
    options = parser.parse_args(list(arguments))
    if not (options.cpu or torch.cuda.is_available()):
        parser.error("torch finds no GPU here; --cpu tries the script without one")
    device = CPU if options.cpu else torch.device("cuda")
    report = Report(ends_at=time.monotonic() + 60 * options.minutes)
    architecture = ARCHITECTURES[options.model]
    report.add(part="machine", **machine(device))
    check(report, device, architecture, compiled=not options.eager)
    measure(report, device, architecture, options.prompts, options.images, compiled=not options.eager)
    print(table(report.lines))
    if options.out:
        options.out.write_text(json.dumps(report.lines, indent=1))
    return int(any(line.get("agrees") is False for line in report.lines))


def machine(device: torch.device) -> dict[str, Any]:
    figures: dict[str, Any] = {"device": device_name(device), "torch": torch.__version__, "cores": os.cpu_count()}
    if device.type == "cpu":
        return figures | {"note": "a CPU: the script is tried, its figures say nothing of a GPU"}
    properties = torch.cuda.get_device_properties(device)
    figures |= {"memory_gb": round(properties.total_memory / 1e9, 1), "cuda": torch.version.cuda}
    for name, dtype in PRECISIONS.items():
        multiply_in(torch.bfloat16)  # float32 in TF32, as beside narrow layers
        figures[f"matmul_tflops_{name}"] = round(matmul_tflops(device, dtype, 8192))
    return figures | {"python": platform.python_version()}


def engine_of(
    model: Sam3Image, a: Architecture, device: torch.device, dtype: torch.dtype, *, compiled: bool = False
) -> Engine:
    """Return one that plans with what is free now; multiplication is set for it, in the whole process."""
    multiply_in(dtype)
    model = narrow(model, dtype)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return Engine(model, a, device=device, memory_mb=memory_mb(device), compiled=compiled)


def check(report: Report, device: torch.device, architecture: Architecture, *, compiled: bool) -> None:
    """Compare the device with the CPU, and on the demo model what is narrow and compiled with what is neither."""
    if report.has_time("the full model is the same", 60):
        exam, side = Exam.noise(N_NOISE), architecture.resolution
        here, there = (
            exam.results(engine_of(seeded(architecture, each), architecture, each, torch.float32), side)
            for each in (device, CPU)
        )
        figures = exam.differences(here, there).line(BOUNDS["float32"])
        report.add(part="same", what="seeded model, float32, here and on the CPU", **figures)
    if not report.has_time("the demo model is the same", 60 if compiled else 10):
        return
    exam, side = Exam.drawn(N_SCENES), TINY.resolution

    def demo(where: torch.device, dtype: torch.dtype, *, compiled: bool = False) -> list[PairResult]:
        return exam.results(engine_of(load(DEMO, TINY, device=where), TINY, where, dtype, compiled=compiled), side)

    here = demo(device, torch.float32)
    figures = exam.differences(here, demo(CPU, torch.float32)).line(BOUNDS["float32"])
    report.add(part="same", what="demo model, float32, here and on the CPU", **figures)
    for is_compiled in (False, True) if compiled else (False,):
        narrowed = demo(device, torch.bfloat16, compiled=is_compiled)
        what = f"demo model, bfloat16{', compiled' if is_compiled else ''}, and float32"
        report.add(part="same", what=what, **exam.differences(narrowed, here).line(BOUNDS["bfloat16"]))


def measure(
    report: Report, device: torch.device, a: Architecture, prompts: Sequence[int], n_images: int, *, compiled: bool
) -> None:
    """Time all ways in bfloat16, ours eager first: whatever happens to the rest, that is known."""
    dtype = torch.bfloat16
    contest = Contest(a, device, dtype=dtype, n_images=n_images)
    eager = engine_of(seeded(a, device), a, device, dtype)
    peak = matmul_tflops(device, dtype, 8192 if device.type == "cuda" else 512)
    counted = place(build_empty(a), a, device=META)
    thresholds = {n: contest.thresholds(eager, n) for n in prompts}
    tflop = {n: tflop_per_image(counted, a, n, CASES[n]) for n in prompts}
    del counted

    def one(label: str, way: str, engine: Engine | None, n: int) -> None:
        some = n_images if engine else min(METAS_IMAGES, n_images)
        work = contest.work(way, engine, thresholds[n], some)
        spent = timed(work, device, warm_ups=WARM_UPS if engine else 1)
        line = {"prompts": n, "present": CASES[n], "way": label, **speed(spent, some)}
        if way == "segment":
            line["matmul_share"] = round(tflop[n] * some / spent.seconds / peak, 3)
            busy = gpu_seconds(work, device)
            line["gpu_busy"] = None if busy is None else round(busy / spent.seconds, 3)
        report.add(part="speed", **line)

    for n in prompts:
        if report.has_time(f"eager, {n} prompts", 20):
            one("segment, eager", "segment", eager, n)
            one("with masks, eager", "ours", eager, n)
    for n in prompts:
        for way in ("processor", "datapoint"):
            if report.has_time(f"{way}, {n} prompts", 30):
                one(f"Meta's {way}", way, None, n)
    report.add(part="host", **host_ms(contest.images[0], a))
    if report.has_time("kernels of attention", 15):
        for line in attention_kernels(a, device):
            report.add(part="attention", **line)
    if not compiled:
        return
    recorded = engine_of(seeded(a, device), a, device, dtype, compiled=True)
    for n in prompts:
        if report.has_time(f"compiled, {n} prompts", 150):
            one("segment, compiled", "segment", recorded, n)
            one("with masks, compiled", "ours", recorded, n)


def speed(spent: Spent, n_images: int) -> dict[str, Any]:
    return {
        "images_per_s": round(n_images / spent.seconds, 2),
        "cpu_s": round(spent.cpu_seconds / n_images, 4),
        "instances_per_image": round(spent.n_instances / n_images, 1),
        "peak_mb": spent.peak_mb,
        "warm_up_s": round(spent.warm_up_s, 1),
    }


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the speeds, a column for each number of prompts; then what did not agree or was skipped."""
    measured = [line for line in lines if line["part"] == "speed"]
    prompts = sorted({line["prompts"] for line in measured})
    figures = {(line["way"], line["prompts"]): line for line in measured}
    rows = [["images/s (share of a matrix product)", *(f"{n} prompts" for n in prompts)]]
    for way in dict.fromkeys(line["way"] for line in measured):
        rows.append([way, *(cell(figures.get((way, n))) for n in prompts)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    text = ["", *(" | ".join(each.ljust(width) for each, width in zip(row, widths, strict=True)) for row in rows)]
    text += [f"DIFFERS: {line['what']}" for line in lines if line.get("agrees") is False]
    text += [f"skipped, {line['skipped']}: {line['part']}" for line in lines if "skipped" in line]
    return "\n".join(text)


def cell(line: dict[str, Any] | None) -> str:
    if line is None:
        return "-"
    share = f" ({100 * line['matmul_share']:.0f}%)" if "matmul_share" in line else ""
    return f"{line['images_per_s']:g}{share}"
