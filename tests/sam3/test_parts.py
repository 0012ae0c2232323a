"""The head for points and boxes from files of weights: all of it or none, and nothing of what a job does not ask."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autolabel.config import ModelConfig
from autolabel.errors import CheckpointError
from autolabel.sam3.architecture import DETECTOR_ALONE, FULL, INTERACTIVE_ALONE, TINY, Part, build_empty, parts_of
from autolabel.sam3.checkpoint import TOKEN_TABLE, check, load, save
from autolabel.sam3.interactive import InteractiveHead
from autolabel.sam3.layouts import interactive_head
from autolabel.sam3.upstream import Sam3Image
from autolabel.segmentation.model import load_engine
from tests.sam3 import meta_builder
from tests.sam3.objects import PIXELS, queries, seeded
from tests.support import weight_layouts as layouts
from tests.support.weight_layouts import State, write_holes

BOTH = frozenset(Part)
FILES: dict[str, tuple[Callable[[State], State], Callable[[State], State]]] = {
    "sam3.pt": (layouts.released, layouts.head_released),
    "SAM 3.1": (layouts.multiplex, layouts.head_multiplex),
    "SAM 3.1 of ComfyUI": (layouts.comfyui, lambda s: {n: t.half() for n, t in layouts.head_multiplex(s).items()}),
    "transformers, video": (layouts.transformers_video, layouts.head_of_transformers_video),
    "with an interactive predictor": (layouts.real_rotary, layouts.head_of_predictor),
}


@pytest.fixture(scope="module")
def both() -> Sam3Image:
    return seeded(both=True)


@pytest.fixture(scope="module")
def state(both: Sam3Image) -> State:
    return dict(both.state_dict())


def written(kind: str, state: State) -> State:
    """A file of this kind: the detector's tensors, and then the head's."""
    of_detector, of_head = FILES[kind]
    return of_detector({n: t for n, t in state.items() if not n.startswith("interactive.")}) | of_head(state)


@pytest.mark.parametrize("parts", [INTERACTIVE_ALONE, DETECTOR_ALONE, BOTH], ids=["head", "detector", "both"])
@pytest.mark.parametrize("kind", FILES)
def test_every_layout_is_read_to_the_last_tensor(
    kind: str, parts: frozenset[Part], state: State, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in written(kind, state).items()}, path)
    check(path, TINY, parts=parts)
    model = load(path, TINY, device="cpu", parts=parts)
    assert parts_of(model) == parts
    loaded = model.state_dict()
    head = [name for name in loaded if name.startswith("interactive.")]
    assert len(head) == (167 if Part.INTERACTIVE in parts else 0)
    for name in [*head, "backbone.vision_backbone.trunk.blocks.3.mlp.fc1.weight"]:
        expected = state[name].half().float() if "ComfyUI" in kind else state[name]
        assert torch.equal(loaded[name], expected), name
    if Part.INTERACTIVE in parts:
        itself = not model.interactive.sam_mask_decoder.iou_prediction_head.sigmoid_output
        assert itself == kind.startswith("SAM 3.1")  # which predicts the IoU, and not its logit


def test_what_is_not_asked_is_not_loaded(state: State, tmp_path: Path) -> None:
    """No text, no fusion encoder, no DETR: the ViT and the head, whatever else the file has, broken or not."""
    path = tmp_path / "weights.safetensors"
    broken = {n: torch.full_like(t, torch.nan) if "transformer.encoder" in n else t for n, t in state.items()}
    save_file(written("sam3.pt", broken), path)
    loaded = load(path, TINY, device="cpu", parts=INTERACTIVE_ALONE).state_dict()
    assert {name.partition(".")[0] for name in loaded} == {"backbone", "interactive"}
    assert all(name.startswith(("interactive.", "backbone.vision_backbone.trunk.")) for name in loaded)
    with pytest.raises(CheckpointError, match="hold NaN"):
        load(path, TINY, device="cpu")


def test_this_projects_own_files_have_it_too(both: Sam3Image, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save(both, path)
    for parts in (INTERACTIVE_ALONE, BOTH):
        model = load(path, TINY, device="cpu", parts=parts)
        assert all(torch.equal(tensor, both.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_part_of_the_token_table_is_left_out_with_the_text(both: Sam3Image, tmp_path: Path) -> None:
    few = seeded(both=True)
    with torch.no_grad():
        few.get_parameter(TOKEN_TABLE)[:] = 1.0
    path = tmp_path / "few.safetensors"
    save(few, path, token_ids=[5, 320])
    for parts in (INTERACTIVE_ALONE, DETECTOR_ALONE, BOTH):
        assert parts_of(load(path, TINY, device="cpu", parts=parts)) == parts


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sam3.pt", "SAM 3.1", "with an interactive predictor"])
def test_every_tensor_of_the_head_must_be_there(kind: str, state: State, tmp_path: Path) -> None:
    """Each one alone is missed by its name where the head is asked for, and never where it is not."""
    file, path = written(kind, state), tmp_path / "weights.safetensors"
    head = {there: here for there, tensor in file.items() for here in interactive_head({there: tensor})}
    assert len(head) == 167
    for there, here in head.items():
        write_holes(path, {name: tensor for name, tensor in file.items() if name != there})
        with pytest.raises(CheckpointError, match=rf"missing 1 \(interactive\.{re.escape(here)}\)"):
            check(path, TINY, parts=INTERACTIVE_ALONE)
    check(path, TINY)


REFUSED: dict[str, tuple[Callable[[State], State], str]] = {
    "no head": (
        lambda state: {n: t for n, t in state.items() if not n.startswith("interactive.")},
        r"no head for points and boxes: it holds a detector alone.* take a whole file of SAM 3, model=sam3 or",
    ),
    "Sam3Model of transformers": (
        lambda state: layouts.transformers({n: t for n, t in state.items() if not n.startswith("interactive.")}),
        "no head for points and boxes",
    ),
    "one too many": (
        lambda state: written("sam3.pt", state) | {"tracker.sam_mask_decoder.mask_tokens_more.weight": torch.ones(2)},
        r"unexpected 1 \(interactive\.sam_mask_decoder\.mask_tokens_more\.weight\)",
    ),
    "misshapen": (
        lambda state: written("sam3.pt", state) | {"tracker.sam_mask_decoder.iou_token.weight": torch.ones(2)},
        r"another shape 1 \(interactive\.sam_mask_decoder\.iou_token\.weight\)",
    ),
    "whole numbers": (
        lambda state: (
            written("sam3.pt", state) | {"tracker.no_mem_embed": torch.ones(1, 1, TINY.width, dtype=torch.int64)}
        ),
        r"another kind of number 1 \(interactive\.no_mem_embed\)",
    ),
    "the head of SAM 3.1 by the name of its other decoder": (
        lambda state: {
            name.replace("interactive_sam_mask_decoder", "sam_mask_decoder"): tensor
            for name, tensor in written("SAM 3.1", state).items()
        },
        r"missing 131 \(interactive\.sam_mask_decoder\.",
    ),
    "a tracker alone": (
        lambda state: {n: t for n, t in written("sam3.pt", state).items() if n.startswith("tracker.")},
        "a tracker without the detector .*take the whole",
    ),
    "another ViT": (
        lambda state: (
            {n: t for n, t in written("sam3.pt", state).items() if ".trunk." not in n}
            | {"detector.backbone.vision_backbone.trunk.model.stages.0.weight": torch.ones(2)}
        ),
        "another image backbone than SAM 3",
    ),
    "a stranger": (
        lambda state: written("sam3.pt", state) | {"detector.depth_head.weight": torch.ones(2)},
        r"unexpected 1 \(depth_head\.weight\)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused_with_its_cause(kind: str, state: State, tmp_path: Path) -> None:
    make, reason = REFUSED[kind]
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in make(state).items()}, path)
    for attempt in (
        lambda: check(path, TINY, parts=INTERACTIVE_ALONE),
        lambda: load(path, TINY, device="cpu", parts=INTERACTIVE_ALONE),
    ):
        with pytest.raises(CheckpointError, match=reason) as caught:
            attempt()
        assert str(caught.value).startswith(f"{path}: ")
        assert len(str(caught.value)) < 600


@pytest.fixture(scope="module")
def head() -> State:
    """Of the full size, without memory."""
    return layouts.head_of(dict(build_empty(FULL, parts=INTERACTIVE_ALONE).state_dict()))


class TestFullSize:
    def test_has_the_names_and_shapes_of_metas_video_model(self, head: State) -> None:
        metas = interactive_head(meta_builder.released_state())
        assert len(metas) == 18 + 17 + 131 + 1
        assert {n: (t.shape, t.dtype) for n, t in head.items()} == {n: (t.shape, t.dtype) for n, t in metas.items()}

    def test_has_those_of_transformers(self, head: State) -> None:
        there = layouts.transformers_head()
        assert len(there) == 164  # of which one has the four kinds of points
        assert {n: t.shape for n, t in head.items()} == {n: t.shape for n, t in interactive_head(there).items()}

    def test_without_the_detector_half_of_the_weights_are_not_loaded(self) -> None:
        n_alone, n_both = (
            sum(each.numel() for each in build_empty(FULL, parts=parts).parameters())
            for parts in (INTERACTIVE_ALONE, BOTH)
        )
        assert n_alone / 1e6 == pytest.approx(457, abs=1)
        assert n_both / 1e6 == pytest.approx(852, abs=1)


class TestEngineOfAJob:
    @pytest.mark.parametrize("seeded_weights", [True, False])
    def test_has_the_parts_that_are_asked_for(
        self, seeded_weights: bool, both: Sam3Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")  # which it sets where nobody has
        save(both, tmp_path / "own.safetensors")
        config = ModelConfig(seed=0) if seeded_weights else ModelConfig(checkpoint=str(tmp_path / "own.safetensors"))
        engine = load_engine(config, parts=INTERACTIVE_ALONE, n_gpus=0, n_threads=1, memory_mb=None, sha256=None)
        assert len(engine.segment_objects(PIXELS, queries(0, 5))) == 5
        assert not hasattr(engine, "_forward")

    def test_can_be_narrow(self) -> None:
        engine = load_engine(
            ModelConfig(seed=0, precision="bfloat16"),
            parts=INTERACTIVE_ALONE,
            n_gpus=0,
            n_threads=1,
            memory_mb=None,
            sha256=None,
        )
        plain = load_engine(
            ModelConfig(seed=0), parts=INTERACTIVE_ALONE, n_gpus=0, n_threads=1, memory_mb=None, sha256=None
        )
        some = queries(0, 10)
        for one, other in zip(*(each.segment_objects(PIXELS, some) for each in (engine, plain)), strict=True):
            assert one.score == pytest.approx(other.score, abs=0.02)
            assert one.mask_logits.dtype == torch.float32
            assert 0 < (one.mask_logits - other.mask_logits).abs().mean() < 0.1


def test_the_head_is_a_module_of_its_own(both: Sam3Image) -> None:
    assert type(both.interactive) is InteractiveHead
    assert parts_of(both) == BOTH
