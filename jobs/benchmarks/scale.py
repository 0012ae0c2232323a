"""The bookkeeping of ten million images: each step in a process of its own, seconds and peak memory.

plan    from a listing of as many objects, as S3 pages give it, to the sealed plan
resume  what a second run decides from: the plan and the names of the finished units
status  what `autolabel status` reads
verify  every row and mask, by a process for each core
export  `coco`, in files of a million annotations

The rows are those of a model that costs nothing: ellipses, the same in every unit, under the ids and names of the plan.
"""

import argparse
import dataclasses
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.synthetic import ONTOLOGY, UNIT_SIZE, row

from autolabel import plan
from autolabel.config import OutputConfig
from autolabel.config.compose import compose_config
from autolabel.exports import export
from autolabel.inputs.listing import Listing, list_files
from autolabel.labels.types import ImageLabels
from autolabel.labels.units import LABELS_FOLDER, done_units, file_metadata, read_unit, unit_uri, write_unit
from autolabel.output import run_record
from autolabel.output.job_output import open_output
from autolabel.output.settings import label_settings
from autolabel.output.status import status
from autolabel.output.verify import verify
from autolabel.storage import Listed, open_storage
from autolabel.storage.local import LocalStorage

ROOT = "s3://a-bucket-of-photos/2026/camera-07"
N_FOUND = 2  # in an image
N_MISSING = 100  # units that the second run finds missing
STEPS = ("plan", "resume", "status", "verify", "export")


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
            n_units = -(-options.images // UNIT_SIZE)
            if step == "resume":
                write_units(Path(folder), range(n_units - N_MISSING))
            if step == "verify":
                write_units(Path(folder), range(n_units - N_MISSING, n_units))
            subprocess.run([*command, f"--folder={folder}"], check=True)  # noqa: S603  # our own


def measured(step: str, folder: Path, n_images: int) -> dict[str, object]:
    works = {"plan": write_plan, "resume": decide, "status": ask, "verify": verify_all, "export": export_coco}
    started = time.monotonic()
    outcome = works[step](folder, n_images)
    return {
        "case": "scale",
        "step": step,
        "images": n_images,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(sum(os.times()[:4]), 1),
        "peak_mb": peak_mb(),
        "worker_peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "told": outcome,
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
    config = compose_config("label", [f"input.uri={ROOT}", f"output.uri='{uri}'", f"output.unit_size={UNIT_SIZE}"])
    settings = label_settings(config, ONTOLOGY, input_uri=ROOT, weights="none", exemplars_sha256=None)
    run_record.create_or_match(storage, uri, settings)
    listing: Listing = list_files(ROOT, Endless(n_images), ["jpg"])
    plan.seal(storage, uri, plan.encode(listing, unit_size=UNIT_SIZE))
    return f"{(folder / plan.PLAN_NAME).stat().st_size / 1e6:.0f} MB"


def write_units(folder: Path, units: range) -> None:
    """Write the units' files: rows that were made once, under the ids and names of each unit's images."""
    output = open_output(OutputConfig(uri=str(folder)))
    storage, uri = output.storage, output.uri
    metadata = file_metadata(output.record.fingerprint, ONTOLOGY)
    rng = np.random.default_rng(0)
    rows = [row(rng, N_FOUND, output.record.settings.rules) for _ in range(UNIT_SIZE)]
    write_unit(storage, f"{uri}/model", 0, rows, metadata)
    model = read_unit(storage, f"{uri}/model", 0)
    (folder / LABELS_FOLDER).mkdir(exist_ok=True)
    for unit in units:
        images = output.plan.images_of(unit)
        ids, uris = [image.image_id for image in images], [image.uri for image in images]
        if len(images) < UNIT_SIZE:
            few = [replace(*changes) for changes in zip(rows, ids, uris, strict=False)]
            write_unit(storage, uri, unit, few, metadata)
            continue
        about = {**model.schema.metadata, b"autolabel.unit": str(unit).encode()}
        table = model.set_column(0, model.field(0), pa.array(ids)).set_column(1, model.field(1), pa.array(uris))
        pq.write_table(table.replace_schema_metadata(about), unit_uri(uri, unit), compression="zstd")


def replace(image: ImageLabels, image_id: int, uri: str) -> ImageLabels:
    return dataclasses.replace(image, image_id=image_id, uri=uri)


def decide(folder: Path, n_images: int) -> str:
    sealed = plan.Plan(open_storage(str(folder), {}), str(folder))
    missing = set(range(sealed.n_units)) - done_units(open_storage(str(folder), {}), str(folder))
    assert len(missing) == N_MISSING
    assert len(sealed.images_of(max(missing))) == n_images - (sealed.n_units - 1) * UNIT_SIZE
    return f"{len(missing)} of {sealed.n_units} units are missing"


def ask(folder: Path, n_images: int) -> str:
    return str(status(compose_config("status", [f"output.uri='{folder}'"]))).splitlines()[0].split(": ")[1]


def verify_all(folder: Path, n_images: int) -> str:
    verdict = verify(compose_config("verify", [f"output.uri='{folder}'"]))
    assert verdict.clean, str(verdict)
    assert verdict.statuses.total() == n_images
    return str(verdict)


def export_coco(folder: Path, n_images: int) -> str:
    closing_text = export(compose_config("export", [f"output.uri='{folder}'"]))
    written = [path.stat().st_size for path in (folder / "coco").iterdir()]
    assert sum(int(n) for n in re.findall(r": (\d+) images, ", closing_text)) == n_images
    return f"{len(written)} files, {sum(written) / 1e9:.1f} GB"


def peak_mb() -> int:
    """Return the peak memory of this process since it began; ru_maxrss of a child would begin at its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
