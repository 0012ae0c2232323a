"""A million stored instances and candidates decided again: seconds, and the memory of all processes together."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from benchmarks.synthetic import write_output

N_IMAGES, N_FOUND = 50_000, 20
LIMITS = ("threshold=0.4", "nms.within=0.5")


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        n_stored = sum(write_output(Path(folder), n_images=N_IMAGES, n_found=N_FOUND))
        places = (f"output.uri='{folder}/labels'", f"refined.uri='{folder}/refined'")
        peak_mb = [0.0]
        started = time.monotonic()
        command = [sys.executable, "-m", "autolabel.cli", "refine", *places, *LIMITS]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own
            threading.Thread(target=watch, args=(process.pid, peak_mb), daemon=True).start()
            assert process.stdout is not None
            printed = process.stdout.read().splitlines()
        seconds = time.monotonic() - started
        assert process.returncode == 0, printed
    figures = {"stored": n_stored, "seconds": round(seconds, 1), "peak_mb": round(peak_mb[0]), "told": printed[0]}
    print(json.dumps({"case": "refine", **figures}), flush=True)


def watch(pid: int, peak_mb: list[float]) -> None:
    """Note the most that the process and its children hold together, as far as it is theirs alone."""
    while True:
        try:
            parent = psutil.Process(pid)
            held = sum(each.memory_full_info().uss for each in (parent, *parent.children(recursive=True)))
        except psutil.NoSuchProcess:
            if not psutil.pid_exists(pid):
                return
            continue
        peak_mb[0] = max(peak_mb[0], held / 1e6)
        time.sleep(0.2)
