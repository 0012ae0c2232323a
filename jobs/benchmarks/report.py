"""`autolabel report` of many images: its seconds, and the memory of its processes.

The images are links to a few equal files, of which the report reads as many as its gallery shows. Its process says the
most memory that it had (VmHWM); `worker_peak_mb` is that of the largest of the processes that it started.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.photos import jpeg
from benchmarks.synthetic import SIZE_HW, write_output
from PIL import Image

N_FOUND = 16  # in each image, ten of them above the threshold
LINKS = 10_000  # of one file; file systems allow some tens of thousands
MEASURED = """
import json, resource, sys, time
from autolabel.config.compose import compose_config
from autolabel.report import report
if __name__ == "__main__":
    started = time.monotonic()
    report(compose_config("report", sys.argv[1:]))
    seconds = time.monotonic() - started
    peak_kb = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu_s = own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime
    times = {"seconds": round(seconds, 1), "cpu_seconds": round(cpu_s, 1)}
    print(json.dumps(times | {"peak_mb": peak_kb // 1024, "worker_peak_mb": workers.ru_maxrss // 1024}))
"""


def run(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py report")
    parser.add_argument("--images", type=int, default=100_000)
    options = parser.parse_args(list(arguments))
    with tempfile.TemporaryDirectory() as folder:
        data = photo()
        names = write_images(Path(folder) / "images", data, options.images)
        sha256 = hashlib.sha256(data).hexdigest()
        n, _ = write_output(Path(folder), n_images=options.images, n_found=N_FOUND, names=names, sha256=sha256)
        script = Path(folder) / "measured.py"  # a file, which the processes that it starts import
        script.write_text(MEASURED)
        figures = {"case": "report", "images": options.images, "instances": n, "load": round(os.getloadavg()[0], 2)}
        command = [sys.executable, str(script), f"output.uri='{folder}/labels'"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603  # our own
        written = [path.stat().st_size for path in Path(folder, "labels", "report").rglob("*.*")]
        size = {"files": len(written), "mb": round(sum(written) / 1e6, 1)}
        print(json.dumps(figures | json.loads(done.stdout) | size), flush=True)


def photo() -> bytes:
    """Return a JPEG of the size of the synthetic output's images."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(jpeg(0))) as image:
        image.resize(SIZE_HW[::-1]).save(file, "JPEG", quality=88)
    return file.getvalue()


def write_images(folder: Path, data: bytes, n_images: int) -> Iterator[str]:
    """Write so many files, all of the same bytes; return their names."""
    folder.mkdir()
    names = [f"{index:07d}.jpg" for index in range(n_images)]
    for index, name in enumerate(names):
        if index % LINKS == 0:
            (folder / name).write_bytes(data)
        else:
            os.link(folder / names[index - index % LINKS], folder / name)
    return iter(names)
