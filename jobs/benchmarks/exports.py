"""Exports of a million instances: what `autolabel export` takes, its start included, and the most memory it held.

Where the cores are contested, its CPU seconds say more than the seconds.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.synthetic import write_output

N_FOUND = 20  # in an image; about 12 of them are instances, the others candidates

COMMAND = """
import sys
from autolabel.cli.commands import main
code = main(["export", *sys.argv[1:]])
with open("/proc/self/status") as file:
    print(next(line.split()[1] for line in file if line.startswith("VmHWM")))
sys.exit(code)
"""


def run(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py exports")
    parser.add_argument("--images", type=int, default=85_000)
    parser.add_argument("--formats", nargs="+", default=["coco"])
    options = parser.parse_args(list(arguments))
    with tempfile.TemporaryDirectory() as folder:
        n_instances, _ = write_output(Path(folder), n_images=options.images, n_found=N_FOUND)
        for name in options.formats:
            load, started, cpu_before_s = os.getloadavg()[0], time.monotonic(), cpu_of_children_s()
            command = [sys.executable, "-c", COMMAND, f"output.uri='{folder}/labels'", f"format={name}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # our own
            line = {
                "case": "exports",
                "format": name,
                "images": options.images,
                "instances": n_instances,
                "seconds": round(time.monotonic() - started, 1),
                "cpu_seconds": round(cpu_of_children_s() - cpu_before_s, 1),
                "peak_mb": int(done.stdout.splitlines()[-1]) // 1024,
                "load_before": round(load, 1),
            }
            print(json.dumps(line), flush=True)


def cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
