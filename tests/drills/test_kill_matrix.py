"""Every process of a job killed at every place of its path; the job, or the same command again, brings the same rows.

Images are fetched by threads of the actors here, so a fetch worker's death is an actor's, and that of the process that
decodes in quarantine is in test_dying_decoder.py.
"""

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autolabel.pipeline.cluster import UNITS_IN_HAND
from tests.support.faults import Command, HeldEngine, Place, reading, strike
from tests.support.jobs import assert_same_labels, rows_of, run_verify
from tests.support.ledger import LONG, Ledger
from tests.support.scenes import write_scenes

KILL, TERM = signal.SIGKILL, signal.SIGTERM
REPOSITORY = Path(__file__).parents[2]
N_IMAGES, UNIT_SIZE = 24, 2

IN_ACTORS = ("fetching", "segmenting", "writing", "written")
# `make test` strikes each process with each signal, and the driver at each place that is its own; `make drills`, all.
OF_DRIVER = [(phase, sent) for sent in (KILL, TERM) for phase in ("planning", *IN_ACTORS, "exporting")]
OF_ACTOR = OF_NODE = [(phase, sent) for sent in (KILL, TERM) for phase in IN_ACTORS]
if not LONG:
    OF_DRIVER = [("planning", KILL), ("written", KILL), ("exporting", KILL), ("segmenting", TERM)]
    OF_ACTOR = [("segmenting", KILL), ("writing", TERM)]
    OF_NODE = [("writing", KILL), ("fetching", TERM)]


def named(case: Any) -> str:
    return case.name if isinstance(case, signal.Signals) else str(case)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "photos"
    write_scenes(folder, count=N_IMAGES - 1, seed=5)
    return folder


@pytest.fixture(scope="module")
def undisturbed(nodes: Any, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a job that nothing happens to."""
    output = tmp_path_factory.mktemp("kills") / "undisturbed"
    assert Command(label(nodes, photos, output), log=output.with_suffix(".log")).wait() == 0
    return output


def label(nodes: Any, photos: Path, output: Path, *, actors: int = 1) -> list[str]:
    settings = [f"output.unit_size={UNIT_SIZE}", "prompts=[red circle, triangle]", "batch.images=2"]
    settings += ["cluster.cpus_per_actor=1", f"cluster.min_actors={actors}", f"cluster.max_actors={actors}"]
    return ["label", f"input.uri={photos}", f"output.uri={output}", f"cluster.address={nodes.address}", *settings]


def assert_same_rows(output: Path, undisturbed: Path) -> None:
    for found, expected in zip(rows_of(output), rows_of(undisturbed), strict=True):
        assert found["image_id"] == expected["image_id"]
        assert_same_labels(found, expected)


@pytest.mark.parametrize(("phase", "sent"), OF_DRIVER, ids=named)
def test_the_driver(
    phase: str, sent: signal.Signals, nodes: Any, photos: Path, undisturbed: Path, tmp_path: Path, ledger: Ledger
) -> None:
    output, log = tmp_path / "labels", tmp_path / "log"
    place = Place(tmp_path, phase)
    command = label(nodes, photos, output)
    if phase == "exporting":
        assert Command(command, log=log).wait() == 0
        command = ["export", f"output.uri={output}"]
    with reading(output):
        struck = Command(command, log=log, engine=HeldEngine(place))
        struck.wait_until_held(place)
        pid = struck.process.pid
        assert pid is not None
        struck_at = strike(pid, sent)
        code = struck.wait(30)
        detected_s = time.time() - struck_at
        assert code == (-KILL if sent == KILL else 1), log.read_text()
        if sent == TERM:
            assert detected_s < 25
            assert log.read_text().splitlines()[-1].startswith(f"autolabel {command[0]} ")
        if phase == "exporting":
            assert not list((output / "coco").glob("*.json")), "a torn export is seen"
        elif phase == "planning":
            assert not (output / "plan.parquet").exists()
        else:
            verdict = run_verify(output)
            assert verdict.n_missing > 0, "the strike came too late"
            assert not verdict.n_problems
            assert not verdict.n_duplicated
        assert Command(command, log=log).wait() == 0, log.read_text()
    ledger.add("a killed run goes on", f"driver, {sent.name}", run_verify(output), n_fired=1, detected_s=detected_s)
    assert_same_rows(output, undisturbed)
    if phase == "exporting":
        assert sorted(path.name for path in (output / "coco").glob("*.json")) == ["annotations.json", "results.json"]


@pytest.mark.parametrize(("phase", "sent"), OF_ACTOR, ids=named)
def test_an_actor(
    phase: str, sent: signal.Signals, nodes: Any, photos: Path, undisturbed: Path, tmp_path: Path, ledger: Ledger
) -> None:
    output, place = tmp_path / "labels", Place(tmp_path, phase)
    with reading(output):
        job = Command(label(nodes, photos, output), log=tmp_path / "log", engine=HeldEngine(place))
        struck_at = strike(job.wait_until_held(place), sent)
        if sent == TERM:  # Ray lets an actor finish what it has in hand
            place.released.touch()
        assert job.wait() == 0, job.log.read_text()
    again = repeated_s(place, struck_at)
    assert again or sent == TERM
    check(ledger, output, undisturbed, f"actor, {sent.name}", again)


@pytest.mark.parametrize(("phase", "sent"), OF_NODE, ids=named)
def test_a_node(
    phase: str, sent: signal.Signals, nodes: Any, photos: Path, undisturbed: Path, tmp_path: Path, ledger: Ledger
) -> None:
    output = tmp_path / "labels"
    node = nodes.add_node(num_cpus=1)
    try:
        place = Place(tmp_path, phase, node_id=node.node_id)
        with reading(output):
            job = Command(label(nodes, photos, output, actors=2), log=tmp_path / "log", engine=HeldEngine(place))
            job.wait_until_held(place)
            struck_at = strike(node.all_processes["raylet"][0].process.pid, sent)
            assert job.wait() == 0, job.log.read_text()
    finally:
        nodes.remove_node(node)
    again = repeated_s(place, struck_at)
    assert again
    check(ledger, output, undisturbed, f"node, {sent.name}", again)


def repeated_s(place: Place, struck_at: float) -> list[float]:
    """Seconds until each unit that was begun twice was begun again. No more than the dead had in hand, none thrice."""
    attempts = place.attempts()
    of_unit = Counter(unit for _, _, unit in attempts)
    assert len(of_unit) == N_IMAGES / UNIT_SIZE
    assert max(of_unit.values()) <= 2
    again = [max(at for at, _, unit in attempts if unit == twice) for twice, n in of_unit.items() if n == 2]
    assert len(again) <= UNITS_IN_HAND
    return [at - struck_at for at in again]


def check(ledger: Ledger, output: Path, undisturbed: Path, drill: str, again_s: list[float]) -> None:
    promise = "a lost worker costs what it had in hand"
    ledger.add(promise, drill, run_verify(output), n_fired=1, detected_s=min(again_s, default=None))
    assert_same_rows(output, undisturbed)
