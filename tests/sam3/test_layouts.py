"""Every file of SAM3's weights that people have is loaded, or refused with its cause and what to do."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from autolabel.errors import CheckpointError
from autolabel.sam3 import checkpoint, weight_files
from autolabel.sam3.architecture import FULL, TINY, build, build_empty, seed_weights
from autolabel.sam3.checkpoint import check, load
from autolabel.sam3.engine import PairResult
from autolabel.sam3.layouts import ROTARY, UNREAD, interactive_head, may_be_absent
from autolabel.sam3.preprocess import resize
from autolabel.sam3.transformers_names import POSITIONS, from_transformers, to_transformers
from autolabel.sam3.upstream import Sam3Image
from tests.sam3 import meta_builder
from tests.sam3.pairs import ALL_PAIRS, IMAGES, engine
from tests.sam3.scenes import SEED
from tests.support import weight_layouts as layouts
from tests.support.weight_layouts import State, prefixed, write_holes

LAYOUTS: dict[str, Callable[[State], State]] = {
    "sam3.pt": layouts.released,
    "SAM 3.1": layouts.multiplex,
    "SAM 3.1 of ComfyUI": layouts.comfyui,
    "transformers": layouts.transformers,
    "transformers, video": layouts.transformers_video,
    "Meta's older files": layouts.older,
    "with an interactive predictor": layouts.with_predictor,
    "real rotary tables": layouts.real_rotary,
    "DDP": lambda state: prefixed(state, "module."),
    "torch.compile": lambda state: prefixed(state, "_orig_mod."),
    "Lightning over DDP": lambda state: prefixed(layouts.transformers(state), "model.module."),
}


@pytest.fixture
def state(tiny: Sam3Image) -> State:
    """Copies: a test may change them."""
    return {name: tensor.clone() for name, tensor in tiny.state_dict().items()}


def read_as(state: State, *, half: bool, transformers: bool) -> State:
    """What a model has after such a file: unread tensors that it lacks are zero, as is the row of the class token."""
    weights = {}
    for name, tensor in state.items():
        weights[name] = tensor.half().float() if half and tensor.is_floating_point() else tensor
        if transformers and name == POSITIONS:
            weights[name] = torch.cat([torch.zeros_like(tensor[:, :1]), tensor[:, 1:]], dim=1)
    return weights


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_layout_is_read_to_the_last_tensor(kind: str, state: State, tmp_path: Path) -> None:
    file = LAYOUTS[kind](state)
    save_file(file, tmp_path / "weights.safetensors")
    check(tmp_path / "weights.safetensors", TINY)
    loaded = load(tmp_path / "weights.safetensors", TINY, device="cpu").state_dict()
    expected = read_as(state, half=kind == "SAM 3.1 of ComfyUI", transformers=any("detr_encoder" in n for n in file))
    assert loaded.keys() == expected.keys()
    for name, tensor in loaded.items():
        there = torch.equal(tensor, expected[name])
        assert there or (UNREAD.match(name) and not tensor.any()), name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"model": weights, "optimizer": {"state": {}}, "epoch": 3, "loss": {}, "best_meter_values": {}},
        lambda weights: {"state_dict": prefixed(weights, "model."), "epoch": 3, "pytorch-lightning_version": "2.5"},
        lambda weights: {"model": prefixed(weights, "module."), "scaler": {"scale": 1.0}},
    ],
    ids=["sam3.train", "Lightning", "own loop under DDP"],
)
def test_what_trainers_write_is_opened(wrap: Callable[[State], Any], state: State, tmp_path: Path) -> None:
    torch.save(wrap(state), tmp_path / "checkpoint.pt")
    check(tmp_path / "checkpoint.pt", TINY)
    loaded = load(tmp_path / "checkpoint.pt", TINY, device="cpu").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (
            lambda weights: {"model": without(weights, "segmentation_head."), "optimizer": {}, "epoch": 3},
            "trained without masks .*train it with masks",
        ),
        (
            lambda weights: {"state_dict": prefixed(without(weights, "segmentation_head."), "model."), "epoch": 3},
            "trained without masks .*train it with masks",
        ),
        (
            lambda weights: {"model": weights, "best_meter_values": {"AP": np.float64(0.5)}},
            "nothing in it was executed. Save its state dict alone",
        ),
    ],
    ids=["sam3.train, without masks", "Lightning, without masks", "with numpy numbers"],
)
def test_what_trainers_write_is_refused_with_its_cause(
    wrap: Callable[[State], Any], reason: str, state: State, tmp_path: Path
) -> None:
    torch.save(wrap(state), tmp_path / "checkpoint.pt")
    for attempt in (check, partial(load, device="cpu")):
        with pytest.raises(CheckpointError, match=reason):
            attempt(tmp_path / "checkpoint.pt", TINY)


@pytest.fixture(scope="module")
def full() -> State:
    """Names and shapes, without memory."""
    return dict(build_empty(FULL).state_dict())


class TestFullSize:
    """Files of every name and shape with holes for weights, of which none is read."""

    @pytest.fixture(autouse=True)
    def headers_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weight_files, "safe_open", HeaderOnly)

    def test_metas_video_model_has_exactly_these_names(self, tmp_path: Path) -> None:
        released = meta_builder.released_state()
        assert len(released) == 1465
        write_holes(tmp_path / "sam3.safetensors", released)
        check(tmp_path / "sam3.safetensors", FULL)
        with pytest.raises(CheckpointError, match="this is a checkpoint of the architecture 'full'"):
            check(tmp_path / "sam3.safetensors", TINY)

    @pytest.mark.parametrize(
        ("kind", "n_tensors", "detector"),
        [
            ("SAM 3.1", 1166, "detector."),
            ("SAM 3.1 of ComfyUI", 1133, "detector."),
            ("transformers", 1468, ""),
            ("transformers, video", 1468, "detector_model."),
        ],
    )
    def test_layouts_have_as_many_tensors_as_their_files(
        self, kind: str, n_tensors: int, detector: str, full: State, tmp_path: Path
    ) -> None:
        file = LAYOUTS[kind](full)
        assert sum(name.startswith(detector) for name in file) == n_tensors
        write_holes(tmp_path / "weights.safetensors", file)
        check(tmp_path / "weights.safetensors", FULL)

    def test_transformers_names_are_a_one_to_one_map(self, full: State) -> None:
        there = {name: to_transformers(name, tensor) for name, tensor in full.items()}
        assert sum(map(bool, there.values())) == 1096
        assert len({name for parts in there.values() for name in parts}) == sum(map(len, there.values())) == 1468
        for name, parts in there.items():
            assert not parts or from_transformers(name, list(parts.values())).shape == full[name].shape

    def test_what_may_be_absent_is_known_by_name(self, full: State) -> None:
        assert sum(bool(UNREAD.match(name)) for name in full) == 17
        assert sum(bool(ROTARY.match(name)) for name in full) == 32
        unknown = dict.fromkeys(["x.backbone.vision_backbone.convs.3.conv_1x1.bias", "geometry_encoder.norm.weight"])
        assert not any(map(may_be_absent, unknown))

    def test_the_interactive_head_is_found_in_every_generation(self) -> None:
        released = meta_builder.released_state()
        head = interactive_head(released)
        assert len(head) == 18 + 17 + 131 + 1
        assert {name.partition(".")[0] for name in head} == {
            "sam2_convs",
            "sam_prompt_encoder",
            "sam_mask_decoder",
            "no_mem_embed",
        }
        below = {f"inst_interactive_predictor.model.{name.removeprefix('tracker.')}": name for name in released}
        with_predictor = {name: released[there] for name, there in below.items() if there.startswith("tracker.")} | {
            n.removeprefix("detector."): t for n, t in released.items() if n.startswith("detector.")
        }
        assert interactive_head(with_predictor) == head
        assert interactive_head(as_3_1(released)) == head
        assert interactive_head({"backbone.vision_backbone.convs.0.conv_1x1.bias": torch.ones(1)}) == {}


def as_3_1(released: State) -> State:
    """The interactive head as SAM 3.1 has it, beside the decoder of its tracker by the names that SAM 3's head has."""
    renamed = {
        "detector.backbone.vision_backbone.sam2_convs.": "detector.backbone.vision_backbone.interactive_convs.",
        "tracker.sam_prompt_encoder.": "tracker.model.interactive_sam_prompt_encoder.",
        "tracker.sam_mask_decoder.": "tracker.model.interactive_sam_mask_decoder.",
        "tracker.no_mem_embed": "tracker.model.interactivity_no_mem_embed",
    }
    file: State = {"tracker.model.sam_mask_decoder.iou_token.weight": torch.ones(16, 4)}
    for name, tensor in released.items():
        for here, there in renamed.items():
            if name.startswith(here) and ".sam2_convs.3." not in name:
                file[name.replace(here, there)] = tensor
    return file


class HeaderOnly:
    """A safetensors file of which no tensor may be read."""

    def __init__(self, path: Path, framework: str) -> None:
        self._file: Any = safe_open(path, framework)

    def __enter__(self) -> "HeaderOnly":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to close."""

    def keys(self) -> list[str]:
        return list(self._file.keys())

    def get_slice(self, name: str) -> object:
        return self._file.get_slice(name)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.stack([resize(rgb, TINY.resolution) for rgb in IMAGES])


def equal_bit_for_bit(some: list[PairResult], others: list[PairResult]) -> bool:
    return all(
        one.presence == other.presence
        and one.best_score == other.best_score
        and (one.scores == other.scores).all()
        and (one.boxes_xyxy == other.boxes_xyxy).all()
        and torch.equal(one.mask_logits, other.mask_logits)
        for one, other in zip(some, others, strict=True)
    )


def test_what_may_be_absent_is_never_read(tiny: Sam3Image, pixels: torch.Tensor) -> None:
    """Set to NaN, it leaves every result of text, of boxes, and of both as it is; a tensor that is read does not."""
    expected = engine(tiny, 1000).segment(pixels, ALL_PAIRS)
    assert sum(len(result.scores) for result in expected) > 100
    model = build(TINY)
    seed_weights(model, SEED)
    changed = [name for name, _ in model.named_parameters() if UNREAD.match(name)]
    assert len(changed) == 17
    with torch.no_grad():
        for name in changed:
            model.get_parameter(name).fill_(torch.nan)
        model.get_parameter(POSITIONS)[:, 0].fill_(torch.nan)
    assert equal_bit_for_bit(engine(model, 1000).segment(pixels, ALL_PAIRS), expected)
    with torch.no_grad():
        model.get_parameter("geometry_encoder.label_embed.weight")[0].fill_(torch.nan)  # of negative boxes
    assert not equal_bit_for_bit(engine(model, 1000).segment(pixels, ALL_PAIRS), expected)


def test_a_model_of_transformers_names_answers_as_the_one_of_metas(
    tiny: Sam3Image, state: State, pixels: torch.Tensor, tmp_path: Path
) -> None:
    save_file(layouts.transformers_video(state), tmp_path / "model.safetensors")
    model = load(tmp_path / "model.safetensors", TINY, device="cpu")
    assert equal_bit_for_bit(*(engine(each, 1000).segment(pixels, ALL_PAIRS) for each in (model, tiny)))


def without(state: State, *beginnings: str) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith(beginnings)}


TEXT, TRUNK = "backbone.language_backbone.encoder.", "backbone.vision_backbone.trunk."
ONE = torch.ones(2)

REFUSED: dict[str, tuple[Callable[[State], State], str]] = {
    "PEFT's adapter": (
        lambda _: {"base_model.model.detr_encoder.layers.0.self_attn.q_proj.lora_A.weight": ONE},
        "holds a LoRA adapter, .*: merge it into the model",
    ),
    "SAM3_LoRA's adapter": (
        lambda _: {"transformer.encoder.layers.0.linear1.lora.lora_A": ONE},
        "holds a LoRA adapter, .*: merge it into the model",
    ),
    "a model with an adapter in it": (
        lambda state: state | {"transformer.encoder.layers.0.linear1.lora.lora_B": ONE},
        "holds a LoRA adapter, .*: merge it into the model",
    ),
    "trained without masks": (
        lambda state: without(state, "segmentation_head."),
        "trained without masks .*train it with masks",
    ),
    "trained without masks, released layout": (
        lambda state: layouts.released(without(state, "segmentation_head.")),
        "trained without masks .*train it with masks",
    ),
    "trained without masks, transformers": (
        lambda state: without(layouts.transformers(state), "mask_decoder."),
        "trained without masks .*train it with masks",
    ),
    "another text encoder": (
        lambda state: layouts.released(without(state, TEXT) | {f"{TEXT}text_encoder.layers.0.weight": ONE}),
        "another text encoder than SAM 3, as SAM3-LiteText .*take SAM 3's weights",
    ),
    "LiteText of transformers": (
        lambda state: without(layouts.transformers(state), "text_encoder.") | {"text_encoder.layers.0.weight": ONE},
        "another text encoder than SAM 3, as SAM3-LiteText .*take SAM 3's weights",
    ),
    "another backbone": (
        lambda state: layouts.released(without(state, TRUNK) | {f"{TRUNK}model.stages.0.weight": ONE}),
        "another image backbone than SAM 3, as EfficientSAM3 .*take SAM 3's weights",
    ),
    "both other encoders": (
        lambda state: without(state, TRUNK, TEXT) | {f"{TRUNK}model.stages.0.weight": ONE},
        "another text encoder than SAM 3",
    ),
    "SAM 1": (
        lambda _: {"image_encoder.pos_embed": ONE, "prompt_encoder.no_mask_embed.weight": ONE.clone()},
        "weights of SAM 1 or SAM 2, which know no concepts; take SAM 3's",
    ),
    "SAM 2": (
        lambda _: {"image_encoder.trunk.pos_embed": ONE, "memory_encoder.out_proj.weight": ONE.clone()},
        "weights of SAM 1 or SAM 2, which know no concepts; take SAM 3's",
    ),
    "a tracker alone": (lambda _: {"tracker.maskmem_tpos_enc": ONE}, "a tracker without the detector .*take the whole"),
    "a tensor twice": (
        lambda state: layouts.released(state) | {"transformer.decoder.norm.weight": ONE},
        r"unexpected 1 \(detector\.transformer\.decoder\.norm\.weight\)",
    ),
    "SAM 3.1 without one of what is read": (
        lambda state: without(layouts.multiplex(state), "detector.backbone.vision_backbone.convs.0.conv_1x1.bias"),
        r"missing 1 \(backbone\.vision_backbone\.convs\.0\.conv_1x1\.bias\)",
    ),
    "transformers, a third missing": (
        lambda state: without(layouts.transformers(state), "detr_encoder.layers.0.self_attn.q_proj.bias"),
        r"missing 1 \(detr_encoder\.layers\.0\.self_attn\.q_proj\.bias\)",
    ),
    "transformers, one too many": (
        lambda state: layouts.transformers(state) | {"detr_encoder.layers.9.norm.bias": ONE},
        r"unexpected 1 \(detr_encoder\.layers\.9\.norm\.bias\)",
    ),
    "transformers, misshapen": (
        lambda state: layouts.transformers(state) | {"text_encoder.text_projection.weight": ONE},
        r"another shape 1 \(text_encoder\.text_projection\.weight\)",
    ),
    "transformers with Meta's tables": (
        lambda state: layouts.transformers(state) | {n: t for n, t in state.items() if ROTARY.match(n)},
        "unexpected 4 ",
    ),
    "an unread tensor misshapen": (
        lambda state: state | {"geometry_encoder.points_direct_project.bias": ONE},
        r"another shape 1 \(geometry_encoder\.points_direct_project\.bias\)",
    ),
    "a rotary table of another resolution": (
        lambda state: state | {f"{TRUNK}blocks.1.attn.freqs_cis": torch.ones(9, 16, dtype=torch.complex64)},
        r"another shape 1 \(backbone\.vision_backbone\.trunk\.blocks\.1\.attn\.freqs_cis\)",
    ),
    "quantised": (
        lambda state: state | {"dot_prod_scoring.hs_proj.weight": torch.ones(64, 64, dtype=torch.int8)},
        r"another kind of number 1 \(dot_prod_scoring\.hs_proj\.weight\)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused_with_its_cause(kind: str, state: State, tmp_path: Path) -> None:
    make, reason = REFUSED[kind]
    path = tmp_path / "weights.safetensors"
    save_file(make(state), path)
    for attempt in (lambda: check(path, TINY), lambda: load(path, TINY, device="cpu")):
        with pytest.raises(CheckpointError, match=reason) as caught:
            attempt()
        assert str(caught.value).startswith(f"{path}: ")
        assert len(str(caught.value)) < 600


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sam3.pt", "SAM 3.1", "transformers"])
def test_every_tensor_that_is_read_must_be_there(
    kind: str, tiny: Sam3Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each one alone is missed by its name, and no other is."""
    monkeypatch.setattr(
        checkpoint, "ARCHITECTURES", {"tiny": TINY}
    )  # comparing with the full one takes the time of four
    state, layout, path = dict(tiny.state_dict()), LAYOUTS[kind], tmp_path / "weights.safetensors"
    unread = {there for name, tensor in state.items() if may_be_absent(name) for there in layout({name: tensor})}
    file = layout(state)
    others = {name for name in file if re.search("tracker|sam2_convs|interactive_convs|propagation_convs", name)}
    for name in file:
        write_holes(path, {other: tensor for other, tensor in file.items() if other != name})
        if name in unread | others:
            check(path, TINY)
            continue
        with pytest.raises(CheckpointError, match=rf"missing 1 \({re.escape(name.removeprefix('detector.'))}\)"):
            check(path, TINY)
    assert len(file.keys() - unread - others) > 250
