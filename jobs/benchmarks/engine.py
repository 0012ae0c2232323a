"""The engine against what else runs SAM3, in the same process on the same weights and images: see contest.py.

`cpu_s` are the process's seconds on any core per image: where others use the cores too, a ratio of these says more than
one of images a second. `matmul_share` is the share of what a large matrix product reaches on this device, in the
precision of the run, that `segment` reaches by counted operations. On a GPU: `python jobs/benchmark.py gpu`.
"""

import argparse
import json
from collections.abc import Sequence

import torch
from benchmarks.contest import CASES, WARM_UPS, WAYS, Contest, device_name, matmul_tflops, seeded, timed
from benchmarks.flops import META, tflop_per_image

from autolabel.sam3.architecture import ARCHITECTURES, build_empty, place
from autolabel.sam3.device import memory_mb
from autolabel.sam3.engine import Engine
from autolabel.sam3.precision import PRECISIONS, multiply_in, narrow

MATMUL_SIDE = {"cuda": 8192, "cpu": 1024}


def run(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py engine")
    parser.add_argument("--model", choices=list(ARCHITECTURES), default="full")
    parser.add_argument("--prompts", type=int, nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--memory-mb", type=int, help="by default what a job takes")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32")
    parser.add_argument("--compile", action="store_true", help="ours")
    options = parser.parse_args(list(arguments))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    architecture, dtype = ARCHITECTURES[options.model], PRECISIONS[options.precision]
    multiply_in(dtype)
    contest = Contest(architecture, device, dtype=dtype, n_images=options.images)
    memory = options.memory_mb or memory_mb(device)

    def engine(*, compiled: bool) -> Engine:
        model = narrow(seeded(architecture, device), dtype)
        return Engine(model, architecture, device=device, memory_mb=memory, compiled=compiled)

    plain = engine(compiled=False)
    ours = engine(compiled=True) if options.compile else plain
    counted = place(build_empty(architecture), architecture, device=META)
    peak = matmul_tflops(device, dtype, MATMUL_SIDE[device.type])
    run_of = {"case": "engine", "model": options.model, "device": device_name(device), "precision": options.precision}
    for n_prompts in options.prompts:
        thresholds = contest.thresholds(plain, n_prompts)
        ours_per_s, ours_cpu_s = 0.0, 0.0
        for way in (way for way in WAYS if way in options.ways):
            work = contest.work(way, ours, thresholds, options.images)
            spent = timed(work, device, warm_ups=WARM_UPS if options.compile or device.type == "cuda" else 1)
            per_s, cpu_s = options.images / spent.seconds, spent.cpu_seconds / options.images
            line = {"prompts": n_prompts, "present": CASES[n_prompts], "way": way, "images_per_s": round(per_s, 3)}
            line |= {"cpu_s": round(cpu_s, 3), "instances": spent.n_instances, "peak_mb": spent.peak_mb}
            if way == "ours":
                ours_per_s, ours_cpu_s = per_s, cpu_s
            elif way == "segment":
                tflop = tflop_per_image(counted, architecture, n_prompts, CASES[n_prompts])
                line |= {"tflop_per_image": round(tflop, 4), "matmul_share": round(tflop * per_s / peak, 3)}
            elif ours_per_s:
                line |= {"ours_over": round(ours_per_s / per_s, 2), "cpu_ours_over": round(cpu_s / ours_cpu_s, 2)}
            print(json.dumps(run_of | {"compile": options.compile} | line), flush=True)
