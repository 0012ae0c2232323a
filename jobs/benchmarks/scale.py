"""The bookkeeping of ten million images: each step in a process of its own, seconds and peak memory.

plan    from a listing of as many objects, as S3 pages give it, to the sealed plan
resume  what a second run decides from: the plan and the names of the finished units
status  what `autolabel status` reads
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from autolabel import labels, plan, run_record
from autolabel.composition import compose_config
from autolabel.config import OutputConfig
from autolabel.output import open_output
from autolabel.sources import Listing, list_files
from autolabel.storage import Listed, open_storage
from autolabel.storage.local import LocalStorage

UNIT_SIZE = 256
ROOT = "s3://a-bucket-of-photos/2026/camera-07"
STEPS = ("plan", "resume", "status")


def run(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="benchmark.py scale")
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--step", choices=STEPS, help="this one alone, in this process, in --folder")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args(list(arguments))
    if options.step:
        print(json.dumps(measured(options.step, options.folder, options.images)), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        for step in STEPS:
            command = [sys.executable, sys.argv[0], "scale", f"--images={options.images}", f"--step={step}"]
            subprocess.run([*command, f"--folder={folder}"], check=True)  # noqa: S603  # our own
            if step == "plan":
                write_units(Path(folder))


def measured(step: str, folder: Path, n_images: int) -> dict[str, object]:
    work = {"plan": write_plan, "resume": decide, "status": ask}[step]
    before = peak_mb()
    started = time.monotonic()
    told = work(folder, n_images)
    seconds = round(time.monotonic() - started, 1)
    return {"case": "scale", "step": step, "images": n_images, "seconds": seconds, "peak_mb": peak_mb()} | {
        "imports_mb": before,
        "told": told,
    }


class Endless(LocalStorage):
    """Lists objects that nobody made."""

    def __init__(self, n_images: int) -> None:
        super().__init__("file", {})
        self.n_images = n_images

    def list(self, uri: str) -> Iterator[Listed]:
        for index in range(self.n_images):
            etag = f"{index * 2654435761 % 2**64:032x}"
            yield Listed(f"{uri}/{index // 10_000:06d}/frame-{index:010d}.jpg", 400_000 + index % 1000, etag, 1.7e9)


def write_plan(folder: Path, n_images: int) -> str:
    uri = str(folder)
    storage = open_storage(uri, {})
    config = compose_config("label", [f"input.uri={ROOT}", f"output.uri='{uri}'", "prompts=[car]"])
    settings = run_record.label_settings(config, one_category(), input_uri=ROOT, weights="none", exemplars_sha256=None)
    run_record.claim(storage, uri, settings)
    listing: Listing = list_files(ROOT, Endless(n_images), ["jpg"])
    plan.seal(storage, uri, plan.encode(listing, {}, UNIT_SIZE))
    return f"{(folder / plan.PLAN_NAME).stat().st_size / 1e6:.0f} MB"


def one_category() -> run_record.Ontology:
    return run_record.read_categories(["car"], place="", count_tokens=lambda phrases: [1] * len(phrases), max_tokens=1)


def write_units(folder: Path) -> None:
    """All but the last hundred are done; they are links to one file."""
    output = open_output(OutputConfig(uri=str(folder)))
    storage, uri = output.storage, output.uri
    rows = [
        labels.ImageLabels(image_id=image.image_id, uri=image.uri, size_hw=(4, 6), orientation=1, sha256="0" * 64)
        for image in output.plan.unit(0)
    ]
    labels.write_unit(storage, uri, 0, rows, labels.file_metadata(output.record.fingerprint, output.record.ontology))
    for unit in range(1, output.plan.n_units - 100):
        os.link(labels.unit_uri(uri, 0), labels.unit_uri(uri, unit))


def decide(folder: Path, n_images: int) -> str:
    sealed = plan.Plan(open_storage(str(folder), {}), str(folder))
    missing = set(range(sealed.n_units)) - labels.done_units(open_storage(str(folder), {}), str(folder))
    assert len(missing) == 100
    assert len(sealed.unit(max(missing))) == n_images - (sealed.n_units - 1) * UNIT_SIZE
    return f"{len(missing)} of {sealed.n_units} units are missing"


def ask(folder: Path, n_images: int) -> str:
    from autolabel.status import status

    return str(status(compose_config("status", [f"output.uri='{folder}'"]))).splitlines()[0].split(": ")[1]


def peak_mb() -> int:
    """Of this process since it began; ru_maxrss of a child would begin at its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
