"""What is settled when a model is loaded: on which device, compiled or not, with which threads."""

import os
import shutil

import pytest
import torch

from autolabel.config import ModelConfig
from autolabel.errors import BadInput
from autolabel.segmentation.model import is_compiled, load_engine

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.mark.parametrize(
    ("asked", "device", "compiled"),
    [(None, CUDA, True), (None, CPU, False), (True, CPU, True), (True, CUDA, True), (False, CUDA, False)],
)
def test_a_model_is_compiled_on_gpus_or_as_asked(
    asked: bool | None, device: torch.device, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert is_compiled(asked, device) is compiled


def test_without_a_compiler_it_is_not_and_that_is_said(no_compiler: None, caplog: pytest.LogCaptureFixture) -> None:
    assert not is_compiled(None, CUDA)
    assert "there is no C compiler on" in caplog.text
    assert "install gcc, or model.compile=false" in caplog.text
    assert not is_compiled(False, CUDA)


def test_a_compiled_model_that_is_asked_for_needs_a_compiler(no_compiler: None) -> None:
    with pytest.raises(BadInput, match=r"model\.compile: there is no C compiler on .*; install gcc"):
        is_compiled(True, CUDA)


def test_the_compiler_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "/opt/cc" else None)
    monkeypatch.setenv("CC", "/opt/cc")
    assert is_compiled(True, CUDA)


def test_compiling_takes_no_more_processes_than_the_actor_has_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for n_threads, n_processes in ((3, "3"), (64, "8")):
        monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS", raising=False)
        load_engine(ModelConfig(seed=0), n_gpus=0, n_threads=n_threads, memory_mb=None, sha256=None)
        assert os.environ["TORCHINDUCTOR_COMPILE_THREADS"] == n_processes
