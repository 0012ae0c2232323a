"""The same model as Meta's own builder makes, at any size, built with and without memory."""

import subprocess
import sys

import pytest
import torch

from autolabel.sam3.architecture import ARCHITECTURES, FULL, TINY, Architecture, build, build_empty, place, seed_weights
from autolabel.sam3.upstream import Sam3Image
from tests.sam3 import meta_builder


def test_full_size_is_metas_model() -> None:
    ours, metas = build_empty(FULL).state_dict(), meta_builder.image_state()
    assert len(metas) == 1134
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in ours.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in metas.items()
    }
    assert not any(name.startswith("inst_interactive_predictor") for name in ours)


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_sizes_fit_together(architecture: Architecture) -> None:
    assert architecture.resolution % architecture.patch_px == 0
    assert architecture.vit_width // architecture.vit_heads % 4 == 0
    assert architecture.width % 8 == 0
    assert architecture.max_tokens == architecture.context - 2


def test_tiny_is_tiny(tiny: Sam3Image) -> None:
    n_table = tiny.backbone.language_backbone.encoder.token_embedding.weight.numel()
    assert sum(parameter.numel() for parameter in tiny.parameters()) - n_table < 2_000_000


def test_a_build_without_memory_becomes_the_same_model(tiny: Sam3Image) -> None:
    empty = build_empty(TINY)
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    empty.load_state_dict(tiny.state_dict(), strict=True, assign=True)
    model = place(empty, TINY, device="cpu")
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert not model.training
    pixels = torch.randn(2, 3, TINY.resolution, TINY.resolution)
    with torch.inference_mode():
        for one, other in zip(
            tiny.backbone.forward_image(pixels)["backbone_fpn"],
            model.backbone.forward_image(pixels)["backbone_fpn"],
            strict=True,
        ):
            assert torch.equal(one, other)
        texts = [m.backbone.forward_text(["red car"], device="cpu")["language_features"] for m in (tiny, model)]
        assert torch.equal(*texts)


def test_placing_again_drops_what_was_cached_elsewhere() -> None:
    model = build(TINY)
    positions = model.backbone.vision_backbone.position_encoding
    positions(torch.zeros(1, 1, 4, 4))
    assert positions.cache
    place(model, TINY, device="cpu")
    assert not positions.cache


class TestSeededWeights:
    def test_depend_on_the_seed_alone(self) -> None:
        torch.manual_seed(1)
        one = build(TINY)
        torch.manual_seed(2)
        other = build(TINY)
        before = torch.get_rng_state()
        seed_weights(one, 7)
        seed_weights(other, 7)
        assert torch.equal(torch.get_rng_state(), before)
        states = one.state_dict(), other.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        seed_weights(other, 8)
        assert not torch.equal(states[0]["dot_prod_scoring.hs_proj.weight"], other.dot_prod_scoring.hs_proj.weight)

    def test_reach_every_parameter(self) -> None:
        model = build(TINY)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(torch.nan)
        seed_weights(model, 0)
        for name, parameter in model.named_parameters():
            assert torch.isfinite(parameter).all(), name
            assert parameter.abs().amax() > 1e-4, name


IMPORT = "import autolabel.sam3.architecture"
IMPORT_BESIDE_A_NEW_GPU = """
import sys
import types
import torch
torch.cuda.is_available = lambda: sys._getframe(1).f_globals["__name__"] == "sam3.model_builder"
torch.cuda.get_device_properties = lambda _: types.SimpleNamespace(major=9)
assert torch.backends.cuda.matmul.allow_tf32 is False
import autolabel.sam3.architecture
assert torch.backends.cuda.matmul.allow_tf32 is False
import sam3.model_builder
sam3.model_builder._setup_tf32()
assert torch.backends.cuda.matmul.allow_tf32 is True  # so it would have been
"""


@pytest.mark.long
@pytest.mark.parametrize("code", [IMPORT, IMPORT_BESIDE_A_NEW_GPU], ids=["plain", "new GPU"])
def test_importing_warns_of_nothing_and_changes_no_precision(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
