"""Given objects, everything and tiles under the faults that concepts are drilled with: nothing is lost or doubled."""

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.config.compose import compose_config
from autolabel.demo.scenes import draw_scene
from autolabel.output import run_record
from autolabel.output.settings import label_settings
from autolabel.pipeline.actors import load_job_engine
from autolabel.pipeline.messages import LabelJob
from autolabel.pipeline.request import read_request
from autolabel.pipeline.unit import UnitLabeler
from autolabel.plan import Plan, encode, seal
from autolabel.storage import open_storage
from tests.support.faults import Command, HeldEngine, Place, reading, strike
from tests.support.jobs import assert_same_labels, rows_of, run_verify
from tests.support.ledger import Ledger
from tests.support.scenes import write_scenes

N_IMAGES, UNIT_SIZE, OBJECTS_PER_IMAGE, SEED = 8, 2, 5, 6
SEEDED = ["model.checkpoint=null", "model.seed=3", f"output.unit_size={UNIT_SIZE}", "batch.images=2"]
KINDS = {
    "objects": ["objects.uri={photos}/boxes.json"],
    "everything": ["everything={points_per_side:4,iou:0,stability:0,crop_layers:1}"],
    "tiles": ["tiles={size_px:200,overlap_px:50,whole:true}", "prompts=[red circle, triangle]"],
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("visual") / "photos"
    names = write_scenes(folder, count=N_IMAGES - 1, seed=SEED)
    (folder / "boxes.json").write_text(json.dumps(boxes(names)))
    return folder


def boxes(names: list[str]) -> dict[str, Any]:
    """Return boxes on each image, and on the first a click, and an object of two parts."""
    rng = np.random.default_rng(0)
    images, annotations = [], list[dict[str, Any]]()
    for image_id, name in enumerate(names, start=1):
        height, width = draw_scene(SEED, image_id - 1).ids.shape  # of the truncated one, too, which nobody gets to see
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for _ in range(OBJECTS_PER_IMAGE):
            left, top = rng.uniform(0, 0.5, 2) * (width, height)
            bbox = [left, top, *(rng.uniform(0.2, 0.4, 2) * (width, height))]
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "category_id": 7, "bbox": bbox})
    annotations[0] |= {"bbox": None, "points": [[40, 40]]}
    annotations[1]["object_id"] = annotations[2]["object_id"] = "two parts"
    return {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": "thing"}]}


def settings_of(kind: str, photos: Path) -> list[str]:
    return [*SEEDED, *(setting.replace("{photos}", str(photos)) for setting in KINDS[kind])]


def assert_same_rows(output: Path, undisturbed: Path) -> None:
    found, expected = rows_of(output), rows_of(undisturbed)
    assert len(found) == N_IMAGES
    assert sum(len(row["instances"]) + len(row["candidates"]) for row in expected) >= N_IMAGES, "nothing was found"
    for row, other in zip(found, expected, strict=True):
        assert_same_labels(row, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_driver_and_a_killed_actor(
    kind: str, nodes: Any, photos: Path, tmp_path: Path, ledger: Ledger
) -> None:
    def command(output: Path) -> list[str]:
        cluster = [f"cluster.address={nodes.address}", "cluster.cpus_per_actor=1", "cluster.max_actors=1"]
        return ["label", f"input.uri={photos}", f"output.uri={output}", *settings_of(kind, photos), *cluster]

    undisturbed, output, log = tmp_path / "undisturbed", tmp_path / "labels", tmp_path / "log"
    assert Command(command(undisturbed), log=log).wait() == 0, log.read_text()

    with reading(output):
        (tmp_path / "driver").mkdir()
        written = Place(tmp_path / "driver", "written")
        driver = Command(command(output), log=log, engine=HeldEngine(written))
        driver.wait_until_held(written)
        assert driver.process.pid is not None
        strike(driver.process.pid, signal.SIGKILL)
        assert driver.wait(30) == -signal.SIGKILL
        assert run_verify(output).n_missing > 0, "the strike came too late"

        (tmp_path / "actor").mkdir()
        segmenting = Place(tmp_path / "actor", "segmenting")
        again = Command(command(output), log=log, engine=HeldEngine(segmenting))
        struck = again.wait_until_held(segmenting)
        strike(struck, signal.SIGKILL)
        assert again.wait() == 0, log.read_text()
    of_unit = Counter(unit for _, _, unit in segmenting.attempts())
    assert max(of_unit.values()) == 2, "no unit was begun again"
    ledger.add("visual prompts and tiles lose nothing", f"{kind}, KILL", run_verify(output), n_fired=2)
    assert_same_rows(output, undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_memory_that_runs_out(kind: str, photos: Path, tmp_path: Path, ledger: Ledger) -> None:
    """Batches do not fit, and one image does not fit even alone: it is rejected, and the others are as ever."""
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "labels"
    label_here(kind, photos, undisturbed, lambda engine: None)
    fired, victims = Counter[str](), list[torch.Tensor]()

    def short_of_memory(engine: Any) -> None:
        for name in ("segment", "segment_objects", "segment_grid"):
            setattr(engine, name, failing(getattr(engine, name), fired, victims))

    label_here(kind, photos, output, short_of_memory)
    assert fired["batch"] > 0
    assert fired["image"] > 0
    rows = rows_of(output)
    (rejected,) = (row for row in rows if row["reject_code"] == "out_of_memory")
    for row, other in zip(rows, rows_of(undisturbed), strict=True):
        if row is not rejected:
            assert row["status"] == other["status"]
            assert areas(row) == pytest.approx(areas(other), rel=0.02, abs=5)  # what shares a batch moves a few pixels
    ledger.add("visual prompts and tiles lose nothing", f"{kind}, memory", run_verify(output), n_fired=fired.total())


def areas(row: dict[str, Any]) -> list[int]:
    return sorted(one["area"] for one in (*row["instances"], *row["candidates"]))


def failing(segment: Callable[..., Any], fired: Counter[str], victims: list[torch.Tensor]) -> Callable[..., Any]:
    """Return a question with no room for two images, nor ever for the first that comes alone."""

    def asked(pixels: torch.Tensor, *arguments: Any) -> Any:
        if len(pixels) > 1:
            fired["batch"] += 1
            raise torch.OutOfMemoryError
        if not victims:
            victims.append(pixels)
        if torch.equal(pixels, victims[0]):
            fired["image"] += 1
            raise torch.OutOfMemoryError
        return segment(pixels, *arguments)

    return asked


def label_here(kind: str, photos: Path, output: Path, prepare: Callable[[Any], None]) -> None:
    """Label in this process, as an actor does."""
    places = [f"input.uri={photos}", f"output.uri={output}"]
    config = compose_config("label", [*places, *settings_of(kind, photos)])
    request = read_request(config, list_input=True)
    assert request.listing is not None
    storage, uri = open_storage(config.output.uri, {}), config.output.uri
    objects_sha256 = "of a test" if request.objects else None
    settings = label_settings(
        config, request.ontology, input_uri=config.input.uri, weights="seed 3", objects_sha256=objects_sha256
    )
    record = run_record.create_or_match(storage, uri, settings)
    seal(storage, uri, encode(request.listing, unit_size=config.output.unit_size, objects=request.objects))
    job = LabelJob.of(config, output_uri=uri, record=record, checkpoint_sha256=None)
    engine = load_job_engine(job)
    prepare(engine)
    labeler = UnitLabeler(job, engine)
    for unit in range(Plan(storage, uri).n_units):
        labeler.label_unit(unit)
