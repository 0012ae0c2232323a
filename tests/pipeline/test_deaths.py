"""A process that its device or its memory ends costs itself, and never the job while another one works."""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray import cloudpickle

from autolabel.config.compose import compose_config
from autolabel.errors import DeviceUnusable, JobFailed
from autolabel.pipeline import actors, heartbeat, job
from autolabel.pipeline.actors import Hidden, load_job_engine
from autolabel.pipeline.heartbeat import DEATHS_TO_PARK, Heartbeat
from autolabel.pipeline.job import label
from autolabel.sam3.engine import Engine, Pair, PairResult
from autolabel.segmentation.concepts import ConceptQuestions
from tests.support.free_model import BRIGHT, DARK, FreeEngine, FreeModel, nothing
from tests.support.jobs import rows_of, run_verify
from tests.support.planned import prepared

pytestmark = pytest.mark.usefixtures("cluster")

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import it


@dataclass(frozen=True)
class BadDevice:
    """Loads a model; the first actor to do so has a device that fails, in whatever process, as it `fails`."""

    folder: Path
    fails: Callable[[], Any]
    everywhere: bool = False
    as_it_loads: bool = False

    def __call__(self, told: object) -> Engine:
        mine = ray.get_runtime_context().get_actor_id()
        try:
            with (self.folder / "bad").open("x") as file:
                file.write(str(mine))
        except FileExistsError:
            pass
        if not self.everywhere and (self.folder / "bad").read_text() != mine:
            return FreeEngine(lambda: time.sleep(0.2))  # so that it does not do all before the other is up
        if self.as_it_loads:
            self.die()
        return FreeEngine(self.die)

    def die(self) -> None:
        with (self.folder / "deaths").open("a") as file:
            file.write(f"{os.getpid()}\n")
        self.fails()

    @property
    def n_deaths(self) -> int:
        return len((self.folder / "deaths").read_text().split()) if (self.folder / "deaths").exists() else 0


def ecc() -> None:
    raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered", 214)


def no_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def cudnn() -> None:
    raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    """A job of twelve units, with room for two actors."""
    (tmp_path / "in").mkdir()
    for n in range(36):
        (tmp_path / "in" / f"{n:02d}.png").write_bytes(BRIGHT if n % 3 else DARK)
    places = [f"input.uri={tmp_path}/in", f"output.uri={tmp_path}/out", "output.unit_size=3", "prompts=[disc]"]
    return [*places, "cluster.cpus_per_actor=1", "cluster.min_actors=2", "cluster.max_actors=2"]


@pytest.mark.parametrize(
    ("fails", "as_it_loads"),
    [(ecc, False), (cudnn, False), (no_memory, True)],
    ids=["an error of CUDA", "an error of cuDNN", "no memory for the model"],
)
def test_a_device_that_fails_costs_its_process_and_never_the_job(
    fails: Callable[[], Any], as_it_loads: bool, settings: list[str], tmp_path: Path
) -> None:
    bad = BadDevice(tmp_path, fails, as_it_loads=as_it_loads)
    label(compose_config("label", settings), load=bad)
    assert bad.n_deaths >= DEATHS_TO_PARK, "the fault did not fire"
    assert bad.n_deaths <= 2 * DEATHS_TO_PARK  # two units were in hand, each of which may have met it
    assert run_verify(tmp_path / "out").clean
    assert len(rows_of(tmp_path / "out")) == 36


def test_where_every_process_fails_the_job_ends_with_what_the_last_one_said(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = BadDevice(tmp_path, ecc, everywhere=True, as_it_loads=True)
    with pytest.raises(JobFailed, match=r"CUDA error: uncorrectable ECC error"):
        label(compose_config("label", settings), load=bad)
    assert bad.n_deaths >= DEATHS_TO_PARK
    assert not list((tmp_path / "out" / "labels").glob("*")) if (tmp_path / "out" / "labels").exists() else True


def test_a_gpu_that_was_given_and_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    planned, _ = prepared(tmp_path)
    with pytest.raises(DeviceUnusable, match=r"1 GPUs were given to this process, and torch cannot use them: .+ \("):
        load_job_engine(replace(planned, n_gpus=1.0))


def test_memory_that_runs_out_behind_the_model_is_tried_again(settings: list[str], tmp_path: Path) -> None:
    label(compose_config("label", settings), load=FinishingFailsOnce(tmp_path))
    assert (tmp_path / "failed").read_text(), "the fault did not fire"
    assert run_verify(tmp_path / "out").clean


@dataclass(frozen=True)
class FinishingFailsOnce:
    folder: Path

    def __call__(self, told: object) -> Engine:
        found = ConceptQuestions.found

        def fail_once(*arguments: Any) -> Any:
            try:
                with (self.folder / "failed").open("x") as file:
                    file.write(str(os.getpid()))
            except FileExistsError:
                return found(*arguments)
            raise MemoryError

        setattr(ConceptQuestions, "found", fail_once)  # noqa: B010 - mypy takes no assignment
        return FreeEngine(nothing)


def test_the_death_of_the_heartbeat_costs_nothing(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck: list[Heartbeat] = []

    class Struck(Heartbeat):
        def __init__(self) -> None:
            super().__init__()
            threading.Thread(target=self.strike, daemon=True).start()

        def strike(self) -> None:
            while not self.pulse().units_in_hand:
                time.sleep(0.2)
            ray.kill(self._actor, no_restart=False)
            struck.append(self)

    monkeypatch.setattr(job, "Heartbeat", Struck)
    monkeypatch.setattr(heartbeat, "ACTOR_WAITS_S", 5.0)
    label(compose_config("label", settings), load=FreeModel(lambda: time.sleep(1.0)))
    assert struck, "the fault did not fire while actors were at work"
    assert struck[0].pulse().n_actors > 0, "it does not count again"
    assert run_verify(tmp_path / "out").clean


def test_ray_prints_nothing_of_what_actors_are_told(tmp_path: Path) -> None:
    from ray.data._internal.metadata_exporter import sanitize_for_struct

    planned, _ = prepared(tmp_path)
    told = replace(planned, input_options={"secret": "do not tell"}, output_options={"key": "do not tell"})
    assert "do not tell" in str(sanitize_for_struct(told)), "Ray's way of telling is another one"
    hidden = Hidden(told, FreeModel())
    assert "do not tell" not in str(sanitize_for_struct((hidden,), 10_000)) + repr(hidden)
    assert hidden.reveal()[0] == told


class Never(Engine):
    def __init__(self) -> None:
        pass

    def segment(self, pixels: torch.Tensor, pairs: Sequence[Pair]) -> list[PairResult]:
        raise AssertionError("a parked actor was asked")


def test_a_parked_actor_gives_back_what_it_was_handed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    planned, _ = prepared(tmp_path)
    looks: list[bool] = []

    class Parked(Heartbeat):
        def __init__(self) -> None:
            pass

        def start(self) -> bool:
            return True

        def others_at_work(self) -> bool:
            looks.append(len(looks) < 3)
            return looks[-1]

    monkeypatch.setattr(actors, "PARKED_FOR_S", 0.0)
    monkeypatch.setattr(actors, "PARKED_LOOKS_EVERY_S", 0.01)
    actor = actors.UnitActor(Hidden(planned, lambda told: Never()), Parked())
    assert actor._answer(7) == actors.GivenBack(unit=7)
    assert looks == [True, True, True, False], "while others are at work, it keeps the unit"
