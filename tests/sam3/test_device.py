"""Copies and compiled stages: on this machine as they are, and the CUDA branches with CUDA's calls written down."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

from autolabel.sam3 import device
from autolabel.sam3.device import HostTensor, on_device, stacked, stage, to_host

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def test_actors_that_share_a_gpu_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000_000_000, 80_000_000_000))
    assert device.memory_mb(CUDA) == 7_000
    assert device.memory_mb(CUDA, share=0.5) == 3_500
    assert device.memory_mb(CPU) == device.CPU_MEMORY_MB


def doubled(tensor: torch.Tensor, *, twice: bool = False) -> dict[str, torch.Tensor]:
    return {"out": tensor * (4 if twice else 2)}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What CUDA was asked for, in order."""
    asked: list[str] = []

    class Stream:
        def __init__(self, of: object = None) -> None:
            self.name = "work" if of is None else "copies"

        def wait_stream(self, other: "Stream") -> None:
            asked.append(f"{self.name} wait for {other.name}")

    class Event:
        def __init__(self, *, blocking: bool) -> None:
            assert blocking  # a waiting thread gives up its core

        def record(self, stream: Stream) -> None:
            asked.append(f"event on {stream.name}")

        def synchronize(self) -> None:
            asked.append("waited")

    copy = torch.Tensor.copy_

    def copied(self: torch.Tensor, other: torch.Tensor, *, non_blocking: bool) -> torch.Tensor:
        asked.append(f"copied{' without waiting' if non_blocking else ''}")
        return copy(self, other)

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda of: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.Tensor, "copy_", copied)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda self, stream: asked.append(f"memory is kept for {stream.name}")
    )
    device._copy_stream.cache_clear()
    return asked


class TestCopies:
    def test_on_a_cpu(self) -> None:
        logits = torch.arange(12.0).view(4, 3)
        assert torch.equal(on_device([1, 2], CPU), torch.tensor([1, 2]))
        assert torch.equal(to_host(logits).get(), logits)
        first, second = to_host(logits).split([1, 3])
        assert torch.equal(first.get(), logits[:1])
        assert torch.equal(second.get(), logits[1:])
        assert torch.equal(stacked([logits, -logits]), torch.stack([logits, -logits]))

    def test_to_a_gpu_goes_by_pinned_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pinned: list[tuple[int, ...]] = []

        def pin(self: torch.Tensor) -> torch.Tensor:
            pinned.append(self.shape)
            return self

        monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: bool(pinned))
        monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
        with FakeTensorMode():
            for _ in range(2):  # what is pinned already is not copied once more
                assert on_device(torch.zeros(3, 5), CUDA).device == CUDA
        assert pinned == [(3, 5)]

    def test_from_a_gpu_is_waited_for_when_it_is_read(self, calls: list[str]) -> None:
        with FakeTensorMode():
            host = to_host(torch.empty(4, 3, device=CUDA))
            assert calls == [
                "copies wait for work",
                "copied without waiting",
                "event on copies",
                "memory is kept for copies",
            ]
            first, second = host.split([1, 3])
            assert len(calls) == 4
            assert first.get().shape == (1, 3)
            assert second.get().device == CPU
        assert calls[4:] == ["waited", "waited"]

    def test_a_batch_is_stacked_in_pinned_memory_where_there_is_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        empty, asked = torch.empty, []

        def noted(*shape: Any, pin_memory: bool = False, **kwargs: Any) -> torch.Tensor:
            asked.append(pin_memory)
            return empty(*shape, **kwargs)

        monkeypatch.setattr(torch, "empty", noted)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        pixels = [torch.full((3, 2, 2), n, dtype=torch.uint8) for n in range(3)]
        assert torch.equal(stacked(pixels), torch.stack(pixels))
        assert asked == [True]

    def test_a_host_tensor_is_a_tensor_that_is_there(self) -> None:
        assert torch.equal(HostTensor(torch.ones(2)).get(), torch.ones(2))


class TestStage:
    @pytest.fixture
    def compiled(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """What torch.compile was asked for; the step itself instead of what it would make."""
        asked: dict[str, Any] = {}

        def compile_(step: Callable[..., Any], **kwargs: Any) -> Callable[..., Any]:
            asked.update(kwargs)
            result = torch.zeros(3)

            def graph(tensor: torch.Tensor, **choices: bool) -> dict[str, torch.Tensor]:
                result.copy_(step(tensor, **choices)["out"])  # in the same place every time, as a CUDA graph does
                return {"out": result}

            return graph

        monkeypatch.setattr(torch, "compile", compile_)
        return asked

    def test_recorded_on_cuda_its_results_are_the_callers_own(
        self, compiled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun: list[None] = []
        monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(None))
        run = stage(doubled, CUDA, recorded=True)
        first, second = run(torch.ones(3))["out"], run(torch.ones(3), twice=True)["out"]
        assert compiled["mode"] == "reduce-overhead"
        assert (compiled["fullgraph"], compiled["dynamic"]) == (True, False)
        assert (first[0].item(), second[0].item(), len(begun)) == (2, 4, 2)

    @pytest.mark.parametrize("where", [CPU, CUDA], ids=str)
    def test_not_recorded_it_takes_any_length(self, where: torch.device, compiled: dict[str, Any]) -> None:
        run = stage(doubled, where, recorded=False)
        tensor = torch.ones(3)
        assert run(tensor)["out"] is run(tensor)["out"]  # nothing is copied
        assert compiled["mode"] is None
        assert tensor._dynamo_weak_dynamic_indices == {0}  # type: ignore[attr-defined]

    def test_on_a_cpu_nothing_is_recorded(self, compiled: dict[str, Any]) -> None:
        run = stage(doubled, CPU, recorded=True)
        assert run(torch.ones(3))["out"] is run(torch.ones(3))["out"]
        assert compiled["mode"] is None
