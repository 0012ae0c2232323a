"""A unit from the plan to its file, with an engine that can be held up."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autolabel.labels.units import done_units, open_unit, read_summary, write_unit
from autolabel.pipeline import load, stream
from autolabel.pipeline.timing import StageSeconds
from autolabel.sam3.device import HostTensor
from autolabel.sam3.engine import Pair, PairResult
from autolabel.segmentation.concepts import ConceptQuestions
from autolabel.segmentation.questions import Found
from autolabel.storage.local import LocalStorage
from tests.support.deadly import deadly_images, make_deadly
from tests.support.engines import FoundEverywhere, FoundNowhere, labeler
from tests.support.planned import planned_job, prepared
from tests.support.scenes import write_scenes


def test_synonyms_thresholds_and_caps_make_the_rows(tmp_path: Path) -> None:
    job, storage = prepared(tmp_path, "batch.images=2", "keep_threshold=0.4")
    engine = FoundEverywhere()
    report = labeler(job, engine).label_unit(0)
    assert [len(pairs) for pairs in engine.asked] == [6, 3]  # two images by three phrases, then the last image
    assert [pair.threshold for pair in engine.asked[0][:3]] == [0.4, 0.4, 0.4]
    rows = open_unit(storage, job.output_uri, 0).read().to_pylist()
    for row in rows:
        # six masks of a car are two objects: the twin halves by NMS, the synonym's by NMS; of a sign the best alone
        found = [(i["category_id"], i["phrase"], round(i["score"], 2)) for i in row["instances"]]
        assert found == [(1, "car", 0.9), (2, "sign", 0.9), (1, "car", 0.7)]
        assert [prompt["n_instances"] for prompt in row["prompts"]] == [2, 0, 1]
        others = [(i["category_id"], i["phrase"], round(i["score"], 2)) for i in row["candidates"]]
        assert others == [
            *((1, "van", 0.9), (1, "car", 0.85), (1, "van", 0.85), (2, "sign", 0.85)),  # twins, and the cap of a sign
            *((1, "van", 0.7), (2, "sign", 0.7)),  # a synonym's twin, and below the threshold
        ]
    assert report.summary.instances_of == {1: 6, 2: 3}
    assert report.summary == read_summary(storage, job.output_uri, 0)


def test_a_unit_that_is_there_is_left_alone(tmp_path: Path) -> None:
    job, _ = prepared(tmp_path)
    engine = FoundEverywhere()
    one = labeler(job, engine)
    first = one.label_unit(1)
    n_asked = len(engine.asked)
    again = one.label_unit(1)
    assert len(engine.asked) == n_asked
    assert again.summary == first.summary
    assert again.stages == StageSeconds()
    assert first.summary.rejected_by == {"truncated": 1}


@pytest.mark.long
def test_in_quarantine_the_image_that_kills_is_rejected_and_the_others_are_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, storage = prepared(tmp_path)
    plainly = labeler(job, FoundEverywhere())
    plainly.label_unit(0)
    expected = open_unit(storage, job.output_uri, 0).read().to_pylist()
    (tmp_path / "out" / "labels" / "00000000.parquet").unlink()
    deaths = deadly_images(tmp_path, monkeypatch)
    make_deadly(tmp_path / "in" / Path(expected[1]["uri"]).name)
    report = labeler(job, FoundEverywhere()).label_unit(0, isolate_decoding=True)
    rows = open_unit(storage, job.output_uri, 0).read().to_pylist()
    assert report.summary.rejected_by == {"decoder_died": 1}
    assert report.stages.decode > 0
    assert rows[1]["reject_detail"] == "its decoding ended the process"
    assert [rows[0], rows[2]] == [expected[0], expected[2]]
    assert len(deaths.read_text().splitlines()) == 1


def test_seconds_are_of_the_stage_that_spent_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, _ = prepared(tmp_path, "batch.images=2")
    job = replace(job, n_cpus=1.0)  # images wait for the decoder, which is no decoding

    def slow(owner: object, name: str, seconds: float) -> None:
        work = getattr(owner, name)

        def slowly(*args: object, **kwargs: object) -> object:
            time.sleep(seconds)
            return work(*args, **kwargs)

        monkeypatch.setattr(owner, name, slowly)

    slow(LocalStorage, "read", 0.3)
    slow(load, "decode", 0.35)
    slow(FoundEverywhere, "segment", 0.6)
    slow(ConceptQuestions, "found", 0.45)
    slow(LocalStorage, "create_once", 1.5)
    stages = labeler(job, FoundEverywhere()).label_unit(0).stages
    slept = StageSeconds(fetch=3 * 0.3, decode=3 * 0.35, segment=2 * 0.6, finish=3 * 0.45, write=1.5)  # two batches
    for stage, least in asdict(slept).items():
        assert least <= asdict(stages)[stage] < 2 * least, (stage, stages)


def test_the_next_unit_begins_before_the_last_one_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, storage = prepared(tmp_path)
    engine, may_write, writing = FoundEverywhere(), threading.Event(), threading.Event()
    one = labeler(job, engine)

    def held_up(*arguments: object) -> bool:
        writing.set()
        assert may_write.wait(30)
        return write_unit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("autolabel.pipeline.unit.write_unit", held_up)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.label_unit, 0)
        assert writing.wait(30)
        engine.began.clear()
        second = pool.submit(one.label_unit, 1)
        assert engine.began.wait(30), "the model waits for a file to be written"
        assert done_units(storage, job.output_uri) == set()
        may_write.set()
        assert {first.result(30).unit, second.result(30).unit} == {0, 1}
    assert done_units(storage, job.output_uri) == {0, 1}


def test_the_model_waits_for_the_threads_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scenes(tmp_path / "in", count=40, seed=0)
    job, _ = planned_job(tmp_path, "batch.images=1")
    engine, may_finish = FoundNowhere(), threading.Event()

    found = ConceptQuestions.found

    def held_up(*arguments: Any) -> Found:
        assert may_finish.wait(30)
        return found(*arguments)

    monkeypatch.setattr(ConceptQuestions, "found", held_up)
    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(labeler(job, engine).label_unit, 0)
        while len(engine.asked) < stream.BATCHES_BEHIND + 1:
            time.sleep(0.01)
        time.sleep(0.5)  # long enough for the model to run away, were it let
        assert len(engine.asked) == stream.BATCHES_BEHIND + 1
        may_finish.set()
        assert report.result(60).summary.n_images == 41


def test_what_lies_behind_the_model_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred masks of each of 80 prompts weigh hundreds of megabytes an image."""
    write_scenes(tmp_path / "in", count=12, seed=0)
    job, _ = planned_job(tmp_path, "batch.images=1")
    may_finish, waiting = threading.Event(), threading.Event()

    class Heavy(FoundEverywhere):
        def _result(self, pair: Pair) -> PairResult:
            found = super()._result(pair)
            return replace(found, masks=HostTensor(torch.zeros(len(found.scores), 256, 256)))

    engine = Heavy()
    n_bytes = 3 * 3 * 256 * 256 * 4  # of an image: three masks of each of three prompts, in float32
    monkeypatch.setattr(stream, "BACKLOG_BYTES", 2 * n_bytes)
    acquire = stream.Backlog.acquire

    def noted(backlog: stream.Backlog, n: int) -> None:
        assert n == n_bytes
        if len(engine.asked) == 3:
            waiting.set()
        acquire(backlog, n)

    found = ConceptQuestions.found

    def held_up(*arguments: Any) -> Found:
        assert may_finish.wait(30)
        return found(*arguments)

    monkeypatch.setattr(stream.Backlog, "acquire", noted)
    monkeypatch.setattr(ConceptQuestions, "found", held_up)
    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(labeler(job, engine).label_unit, 0)
        assert waiting.wait(30)
        time.sleep(0.5)
        assert len(engine.asked) == 3, "two images of the three lie behind it; one more has no room"
        may_finish.set()
        assert report.result(60).summary.n_images == 13


MEASURE = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from tests.support.engines import FoundNowhere, labeler
from tests.support.planned import planned_job
job, _ = planned_job(Path(sys.argv[1]), "batch.prefetch_mb=32")
one = labeler(replace(job, n_cpus=2.0), FoundNowhere())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = one.label_unit(0)
print(report.summary.n_images, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.long
def test_a_unit_of_camera_originals_does_not_fill_the_memory(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(noise).resize((4000, 3000)).save(tmp_path / "in" / "00.jpg", quality=98)
    n_bytes = (tmp_path / "in" / "00.jpg").stat().st_size
    for n in range(1, 64):
        os.link(tmp_path / "in" / "00.jpg", tmp_path / "in" / f"{n:02d}.jpg")
    assert n_bytes * 64 > 250e6, "the unit is too small to fill anything"
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    n_images, grown_mb = map(int, result.stdout.split())
    assert n_images == 64
    assert grown_mb < 32 + 2 * 200  # the budget, and on each core a photo of 12 megapixels with its copies
