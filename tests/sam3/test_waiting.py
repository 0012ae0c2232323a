"""Nothing in a stage waits for its device: no value is read from it, and no shape depends on one."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from autolabel.sam3 import engine, forward
from autolabel.sam3.architecture import TINY
from autolabel.sam3.device import HostTensor, on_device
from autolabel.sam3.engine import Engine
from autolabel.sam3.forward import Forward
from autolabel.sam3.interactive import ObjectForward
from autolabel.sam3.preprocess import resize
from autolabel.sam3.sizes import pair_bytes
from autolabel.sam3.upstream import Sam3Image
from tests.sam3.objects import queries, seeded
from tests.sam3.pairs import ALL_PAIRS, IMAGES

aten = torch.ops.aten
WAITS = {
    aten._local_scalar_dense: "a value is read",
    aten.nonzero: "a shape depends on values",
    aten.masked_select: "a shape depends on values",
    aten.unique_dim: "a shape depends on values",
    aten.equal: "a value is read",
    aten.lift_fresh: "numbers are copied from the host, in order, by torch.tensor",
}
STAGES = (
    *((Forward, name) for name in ("images", "boxes", "find", "masks")),
    *((ObjectForward, name) for name in ("images", "objects")),
)


class NoWaiting(TorchDispatchMode):
    """Refuses what would make the host wait for a GPU; on a CPU nothing else shows it."""

    n_seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        NoWaiting.n_seen += 1
        if reason := WAITS.get(func.overloadpacket):
            raise AssertionError(f"{func}: {reason}")
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_):
            chosen = [index for index in args[1] if index is not None]
            assert all(index.dtype not in (torch.bool, torch.uint8) for index in chosen), f"{func} by a mask"
        return func(*args, **kwargs or {})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[type, str], int]:
    """The stages under guard, and how often each ran. What `on_device` sends is sent without waiting."""
    seen = dict.fromkeys(STAGES, 0)

    def guard(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            seen[owner, name] += 1
            with NoWaiting():
                return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    def sent(*args: Any) -> torch.Tensor:
        with _disable_current_modes():
            return on_device(*args)

    for owner, name in STAGES:
        guard(owner, name)
    monkeypatch.setattr(forward, "on_device", sent)
    return seen


def test_no_stage_waits(calls: dict[tuple[type, str], int]) -> None:
    pixels = torch.stack([resize(rgb, TINY.resolution) for rgb in IMAGES])
    engine = Engine(seeded(both=True), TINY, device=torch.device("cpu"), memory_mb=200)
    results = engine.segment(pixels, ALL_PAIRS)
    assert sum(len(result.scores) for result in results) > 100
    asked = queries(0, 30)
    assert len(engine.segment_objects(pixels, asked)) == len(asked)
    assert all(calls.values()), calls
    assert NoWaiting.n_seen > 1000


def test_the_engine_waits_once_for_each_pass_over_pairs(tiny: Sam3Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """For scores, which say of which pairs there are masks to make; masks are sent, and whoever needs them waits."""
    fetched: list[torch.Size] = []
    passes: list[int] = []
    cpu, find = torch.Tensor.cpu, Forward.find

    def noted(tensor: torch.Tensor) -> torch.Tensor:
        fetched.append(tensor.shape)
        return cpu(tensor)

    def counted(self: Forward, *arguments: Any) -> Any:
        decoded = find(self, *arguments)
        passes.append(len(decoded.scores))
        return decoded

    monkeypatch.setattr(torch.Tensor, "cpu", noted)
    monkeypatch.setattr(Forward, "find", counted)
    monkeypatch.setattr(engine, "to_host", HostTensor)  # is sent, and not waited for: test_device.py
    pixels = torch.stack([resize(rgb, TINY.resolution) for rgb in IMAGES])
    two_at_once_mb = -(-2 * pair_bytes(TINY) // 1_000_000)
    results = Engine(tiny, TINY, device=torch.device("cpu"), memory_mb=two_at_once_mb).segment(pixels, ALL_PAIRS)
    assert sum(len(result.scores) for result in results) > 100
    assert len(passes) > 2
    assert len(fetched) == len(passes)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.max().item(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: bool(x.any()),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.tensor([1, 2], device=x.device),
    ],
)
def test_the_guard_sees_what_waits(wait: Any) -> None:
    with pytest.raises((AssertionError, RuntimeError)), NoWaiting():
        wait(torch.arange(3.0))
