"""bfloat16 where it is safe: nearly the same answers, and no weight that must stay wide made narrow."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from autolabel import demo
from autolabel.demo.scenes import draw_scene
from autolabel.sam3.architecture import FULL, TINY, build, build_empty, place, seed_weights
from autolabel.sam3.checkpoint import load
from autolabel.sam3.engine import Engine, Pair, PairResult
from autolabel.sam3.forward import EncodedPrompts, Forward
from autolabel.sam3.precision import PRECISIONS, multiply_in, narrow
from autolabel.sam3.preprocess import resize
from tests.sam3.agreement import Agreement

WEIGHTS = Path(demo.__file__).parent / "demo.safetensors"
PHRASES = ("red shape", "circle", "striped star", "blue square", "shape", "moon", "plain heart", "elephant")
SEEDS = 31, 41, 42, 43


def segment(dtype: torch.dtype, pixels: torch.Tensor, pairs: list[Pair]) -> list[PairResult]:
    model = narrow(load(WEIGHTS, TINY, device="cpu"), dtype)
    return Engine(model, TINY, device=torch.device("cpu"), memory_mb=200).segment(pixels, pairs)


@pytest.mark.parametrize("n_scenes", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_the_trained_model_finds_the_same_in_bfloat16(n_scenes: int) -> None:
    """Scenes of every seed; where the two differ, the model is in doubt about the object or its outline."""
    scenes = [draw_scene(seed, index) for seed in SEEDS for index in range(n_scenes)]
    pixels = torch.stack([resize(scene.rgb, TINY.resolution) for scene in scenes])
    pairs = [Pair(image=image, text=text, threshold=0.5) for image in range(len(scenes)) for text in PHRASES]
    pairs.append(Pair(image=0, text=None, boxes_cxcywh=((0.5, 0.5, 0.3, 0.3),), positive=(True,), threshold=0.5))
    wide, narrowed = (segment(dtype, pixels, pairs) for dtype in PRECISIONS.values())
    agreement = Agreement.of(wide, narrowed, [scenes[pair.image].ids.shape for pair in pairs])
    assert agreement.same_kept >= 0.99
    assert agreement.n_instances > 40 * n_scenes
    assert agreement.ious_from(0.99) >= 0.99
    assert max(abs(a.best_score - b.best_score) for a, b in zip(wide, narrowed, strict=True)) > 0  # it was narrower


class OperationsByType(TorchDispatchMode):
    """Counts floating-point operations by the type they are done in."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[torch.dtype]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **kwargs or {})
        if count := flop_registry.get(func.overloadpacket):
            self.counts[out.dtype] += count(*args, out_val=out)
        return out

    def attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Instead of torch's, which without a device is composed of float32 products."""
        self.counts[q.dtype] += 4 * q.numel() * k.shape[-2]
        return torch.empty_like(q)


@torch.no_grad()
@pytest.mark.parametrize(("n_prompts", "n_present"), [(1, 1), (16, 3)])
def test_nine_tenths_of_the_operations_at_full_size_are_narrow(
    n_prompts: int, n_present: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = torch.device("meta")
    forward = Forward(narrow(place(build_empty(FULL), FULL, device=meta), torch.bfloat16))
    operations = OperationsByType()
    monkeypatch.setattr("torch.nn.functional.scaled_dot_product_attention", operations.attention)
    with operations:
        features = forward.images(torch.empty(1, 3, FULL.resolution, FULL.resolution, device=meta))
        asked = EncodedPrompts(
            images=[0] * n_prompts,
            tokens=torch.empty(n_prompts, 6, FULL.width, device=meta),
            padding=torch.empty(n_prompts, 6, dtype=torch.bool, device=meta),
        )
        index = torch.empty(n_present, dtype=torch.long, device=meta)
        found = forward.find(features, asked)
        forward.masks(features, asked, found, pairs=range(n_present), queries=(index, index), n_kept=[1] * n_present)
    assert operations.counts.keys() == {torch.float32, torch.bfloat16}
    assert operations.counts.total() == pytest.approx({1: 6.01e12, 16: 9.86e12}[n_prompts], rel=0.01)
    assert operations.counts[torch.bfloat16] > 0.88 * operations.counts.total(), operations.counts


@pytest.fixture(scope="module")
def narrowed() -> torch.nn.Module:
    model = build(TINY)
    seed_weights(model, 1)
    stored: torch.nn.Module = narrow(model, torch.bfloat16)
    return stored


def test_what_must_be_exact_stays_wide(narrowed: torch.nn.Module) -> None:
    wide = {name for name, parameter in narrowed.named_parameters() if parameter.dtype == torch.float32}
    for part in ("transformer.decoder.", "geometry_encoder.", "dot_prod_scoring.", "segmentation_head."):
        assert {name for name, _ in narrowed.named_parameters() if name.startswith(part)} <= wide
    assert {name for name, _ in narrowed.named_parameters() if "norm" in name} <= wide


def test_float32_is_tf32_beside_bfloat16_alone() -> None:
    flags: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [flag.allow_tf32 for flag in flags]
    try:
        for name, allowed in (("bfloat16", True), ("float32", False)):
            multiply_in(PRECISIONS[name])
            assert [flag.allow_tf32 for flag in flags] == [allowed, allowed]
    finally:
        for flag, allowed in zip(flags, before, strict=True):
            flag.allow_tf32 = allowed


def test_complex_buffers_keep_both_parts(narrowed: torch.nn.Module) -> None:
    buffers = [buffer for buffer in narrowed.buffers() if buffer.is_complex()]
    assert buffers
    assert all(buffer.dtype == torch.complex64 and buffer.imag.abs().max() > 0 for buffer in buffers)
