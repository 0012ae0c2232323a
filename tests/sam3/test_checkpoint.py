"""Only the right weights are loaded; everything else is one CheckpointError that says what is wrong."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from autolabel.errors import CheckpointError
from autolabel.sam3.architecture import FULL, TINY, build, build_empty, seed_weights
from autolabel.sam3.checkpoint import TOKEN_IDS, TOKEN_TABLE, check, known_tokens, load, save
from autolabel.sam3.upstream import Sam3Image
from tests.support.weight_layouts import State, released

ONE = "dot_prod_scoring.hs_proj.weight"


@pytest.fixture
def state(tiny: Sam3Image) -> State:
    """Copies: a test may change them."""
    return {name: tensor.clone() for name, tensor in tiny.state_dict().items()}


def equal(model: Sam3Image, state: State) -> bool:
    loaded = model.state_dict()
    return loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)


class TestGood:
    def test_safetensors_come_back(self, tiny: Sam3Image, state: State, tmp_path: Path) -> None:
        save(tiny, tmp_path / "tiny.safetensors")
        assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]
        check(tmp_path / "tiny.safetensors", TINY)
        model = load(tmp_path / "tiny.safetensors", TINY, device="cpu")
        assert equal(model, state)
        assert not model.training

    def test_a_loaded_model_answers_as_the_saved_one(self, tiny: Sam3Image, tmp_path: Path) -> None:
        """Bit for bit, though one was initialised and the other never had memory before the file was read."""
        save(tiny, tmp_path / "tiny.safetensors")
        model = load(tmp_path / "tiny.safetensors", TINY, device="cpu")
        pixels = torch.randn(1, 3, TINY.resolution, TINY.resolution)
        with torch.inference_mode():
            outs = []
            for each in (tiny, model):
                backbone = each.backbone.forward_image(pixels)
                backbone |= each.backbone.forward_text(["red car"], device="cpu")
                stage = meta_stage()
                outs.append(each.forward_grounding(backbone, stage, None, each._get_dummy_prompt()))
        for name in ("pred_logits", "pred_boxes", "pred_masks", "presence_logit_dec"):
            assert torch.equal(outs[0][name], outs[1][name])

    @pytest.mark.parametrize("nested", [False, True])
    def test_metas_layout(self, nested: bool, state: State, tmp_path: Path) -> None:
        weights = released(state)
        torch.save({"model": weights, "epoch": 3} if nested else weights, tmp_path / "sam3.pt")
        check(tmp_path / "sam3.pt", TINY)
        assert equal(load(tmp_path / "sam3.pt", TINY, device="cpu"), state)

    def test_metas_layout_in_safetensors(self, state: State, tmp_path: Path) -> None:
        save_file(released(state), tmp_path / "sam3.safetensors")
        assert equal(load(tmp_path / "sam3.safetensors", TINY, device="cpu"), state)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_widened(self, dtype: torch.dtype, state: State, tmp_path: Path) -> None:
        half = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state.items()}
        save_file(half, tmp_path / "half.safetensors")
        model = load(tmp_path / "half.safetensors", TINY, device="cpu")
        assert equal(model, {name: tensor.to(state[name].dtype) for name, tensor in half.items()})
        assert model.dot_prod_scoring.hs_proj.weight.dtype == torch.float32

    @pytest.mark.parametrize("name", ["tiny.pt", "tiny.safetensors"])
    def test_a_model_outlives_its_file(self, name: str, tiny: Sam3Image, state: State, tmp_path: Path) -> None:
        path = tmp_path / name
        save(tiny, path) if name.endswith("s") else torch.save(state, path)
        model = load(path, TINY, device="cpu")
        with path.open("r+b") as file:  # in place, as a careless copy does
            file.write(b"\xff" * path.stat().st_size)
        assert equal(model, state)

    def test_weights_can_be_trained(self, tiny: Sam3Image, tmp_path: Path) -> None:
        save(tiny, tmp_path / "tiny.safetensors")
        model = load(tmp_path / "tiny.safetensors", TINY, device="cpu")
        assert all(parameter.requires_grad for parameter in model.parameters())


class TestPartOfTheTokenTable:
    """Rows of some tokens, and one for all the others."""

    IDS = (5, 320, 49407)

    @pytest.fixture
    def few_words(self) -> Sam3Image:
        model = build(TINY)
        seed_weights(model, 3)
        with torch.no_grad():
            table = model.get_parameter(TOKEN_TABLE)
            others = torch.ones(len(table), dtype=torch.bool)
            others[list(self.IDS)] = False
            table[others] = table[0].clone()
        return model

    def test_comes_back_whole(self, few_words: Sam3Image, tmp_path: Path) -> None:
        path = tmp_path / "few.safetensors"
        save(few_words, path, token_ids=[49407, 5, 320], metadata={"seed": "3"})
        with safe_open(path, "pt") as file:
            assert file.get_slice(TOKEN_TABLE).get_shape() == [len(self.IDS) + 1, TINY.text_width]
            assert file.metadata() == {"seed": "3"}
        check(path, TINY)
        assert equal(load(path, TINY, device="cpu"), few_words.state_dict())

    def test_in_half_precision(self, few_words: Sam3Image, tmp_path: Path) -> None:
        path = tmp_path / "few.safetensors"
        save(few_words, path, token_ids=self.IDS, dtype=torch.float16)
        assert path.stat().st_size < 5_000_000
        loaded = load(path, TINY, device="cpu").state_dict()
        for name, tensor in few_words.state_dict().items():
            assert loaded[name].dtype == tensor.dtype
            assert torch.equal(loaded[name], tensor.half().float() if tensor.is_floating_point() else tensor)

    def test_rows_that_differ_are_not_thrown_away(self, tiny: Sam3Image, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="not equal"):
            save(tiny, tmp_path / "few.safetensors", token_ids=self.IDS)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("ids", "reason"),
        [
            ([5, 320], "shape"),
            ([[5], [320], [49407]], "shape"),
            ([5, 5, 320], "distinct"),
            ([5, 320, 49408], "distinct"),
            ([-1, 5, 320], "distinct"),
            ([5.0, 6.0, 7.0], "distinct"),
        ],
    )
    def test_rows_of_no_tokens_are_refused(
        self, ids: list[Any], reason: str, few_words: Sam3Image, tmp_path: Path
    ) -> None:
        path = tmp_path / "few.safetensors"
        save(few_words, path, token_ids=self.IDS)
        with safe_open(path, "pt") as file:
            entries = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        save_file(entries | {TOKEN_IDS: torch.tensor(ids)}, path)
        with pytest.raises(CheckpointError, match=reason):
            load(path, TINY, device="cpu")

    @pytest.mark.parametrize("wrapper", ["", "module."])
    def test_says_which_tokens_it_tells_apart(self, wrapper: str, few_words: Sam3Image, tmp_path: Path) -> None:
        path = tmp_path / "few.safetensors"
        save(few_words, path, token_ids=self.IDS)
        with safe_open(path, "pt") as file:
            entries = {f"{wrapper}{name}": file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        save_file(entries, path)
        assert known_tokens(path) == frozenset(self.IDS)
        save(few_words, path)
        assert known_tokens(path) is None

    def test_ids_without_a_table_are_unexpected(self, state: State, tmp_path: Path) -> None:
        del state[TOKEN_TABLE]
        save_file(state | {TOKEN_IDS: torch.tensor([5])}, tmp_path / "few.safetensors")
        with pytest.raises(CheckpointError, match=r"missing 1 .*unexpected 1"):
            check(tmp_path / "few.safetensors", TINY)


class Malicious:
    """Unpickled without care, it creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


class TestBad:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "the file is empty"),
            (b"<!DOCTYPE html><html>Sign in</html>", "like a web page"),
            (b"\n<html>", "like a web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "starts with b'version h'"),
            (b"\x80\x02}q\x00.", "neither a safetensors file nor"),
            (b"PK\x03\x04 and no more", "damaged or truncated"),
            (b"\xff\xff\xff\xff\xff\xff\xff\x00{}", "damaged or truncated"),
            (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "missing"),
        ],
    )
    def test_no_checkpoint(self, content: bytes, reason: str, tmp_path: Path) -> None:
        path = tmp_path / "weights"
        path.write_bytes(content)
        refused(path, reason)

    def test_missing_file(self, tmp_path: Path) -> None:
        refused(tmp_path / "nothing.pt", "there is no such file")

    def test_folder(self, tmp_path: Path) -> None:
        refused(tmp_path, "cannot be read: Is a directory")

    @pytest.mark.parametrize("suffix", ["pt", "safetensors"])
    @pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
    def test_truncated(self, share: float, suffix: str, state: State, tmp_path: Path) -> None:
        path = tmp_path / f"tiny.{suffix}"
        torch.save(state, path) if suffix == "pt" else save_file(state, path)
        with path.open("r+b") as file:
            file.truncate(int(path.stat().st_size * share))
        refused(path, "damaged or truncated")

    def test_changed_header(self, state: State, tmp_path: Path) -> None:
        path = tmp_path / "tiny.safetensors"
        save_file(state, path)
        with path.open("r+b") as file:
            file.seek(40)
            file.write(b"\x00\xff\x00\xff")
        refused(path, "damaged or truncated")

    @pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
    def test_changed_bytes_never_raise_anything_else(self, tmp_path: Path) -> None:
        rng = torch.Generator().manual_seed(0)
        path = tmp_path / "small.pt"
        torch.save({"a": torch.randn(30, 30), "b": torch.randn(3)}, path)
        good = path.read_bytes()
        for _ in range(300):
            changed = bytearray(good)
            for _ in range(5):
                at, value = torch.randint(0, min(900, len(good)), (2,), generator=rng).tolist()
                changed[at] = value % 256
            path.write_bytes(changed)
            refused(path, None)

    @pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"model": {ONE: evil}}, lambda evil: {ONE: evil}])
    def test_a_malicious_pickle_is_not_executed(self, wrap: Callable[[object], object], tmp_path: Path) -> None:
        mark = tmp_path / "executed"
        path = tmp_path / "evil.pt"
        torch.save(wrap(Malicious(mark)), path)
        refused(path, "nothing in it was executed")
        with path.open("wb") as file:  # and as a bare pickle
            pickle.dump(wrap(Malicious(mark)), file)
        refused(path, "neither a safetensors file nor")
        assert not mark.exists()

    @pytest.mark.parametrize("content", [[1, 2], {"model": 3}, {1: torch.ones(2)}, torch.ones(2)], ids=repr)
    def test_no_state_dict(self, content: object, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "odd.pt")
        refused(tmp_path / "odd.pt", "holds no state dict|are no tensors")

    def test_another_architecture_is_named(self, tiny: Sam3Image, tmp_path: Path) -> None:
        save(tiny, tmp_path / "tiny.safetensors")
        with pytest.raises(CheckpointError, match="this is a checkpoint of the architecture 'tiny', not of the one"):
            check(tmp_path / "tiny.safetensors", FULL)

    def test_a_missing_weight(self, state: State, tmp_path: Path) -> None:
        del state[ONE]
        save_file(state, tmp_path / "tiny.safetensors")
        refused(tmp_path / "tiny.safetensors", rf"missing 1 \({ONE}\) of {len(state) + 1}$")

    def test_an_unexpected_weight(self, state: State, tmp_path: Path) -> None:
        save_file({**state, "vision_encoder.layers.0.weight": torch.ones(2)}, tmp_path / "tiny.safetensors")
        refused(tmp_path / "tiny.safetensors", r"unexpected 1 \(vision_encoder\.layers\.0\.weight\)$")

    def test_another_shape(self, state: State, tmp_path: Path) -> None:
        state[ONE] = torch.ones(3, 5)
        save_file(state, tmp_path / "tiny.safetensors")
        refused(
            tmp_path / "tiny.safetensors", rf"another shape 1 \({ONE}\); the first is \(3, 5\) instead of \(64, 64\)$"
        )

    @pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
    def test_another_kind_of_number(self, dtype: torch.dtype, state: State, tmp_path: Path) -> None:
        state[ONE] = state[ONE].to(dtype)
        save_file(state, tmp_path / "tiny.safetensors")
        refused(tmp_path / "tiny.safetensors", rf"another kind of number 1 \({ONE}\)$")

    def test_all_problems_are_told_with_the_first_names(self, state: State, tmp_path: Path) -> None:
        gone = [name for name in state if name.startswith("transformer.encoder")]
        for name in gone:
            del state[name]
        save_file({**state, "b": torch.ones(1), "a": torch.ones(1)}, tmp_path / "tiny.safetensors")
        refused(
            tmp_path / "tiny.safetensors",
            rf"missing {len(gone)} \(transformer\.encoder\..*, \.\.\.\) of \d+; unexpected 2 \(a, b\)$",
        )

    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
    def test_weights_that_are_no_numbers(self, value: float, state: State, tmp_path: Path) -> None:
        state[ONE][3, 4] = value
        save_file(state, tmp_path / "tiny.safetensors")
        with pytest.raises(CheckpointError, match=rf"1 \({ONE}\) hold NaN"):
            load(tmp_path / "tiny.safetensors", TINY, device="cpu")


def test_nothing_is_left_to_chance(tmp_path: Path) -> None:
    """Two loads under different random states give the same model, and no tensor without memory."""
    model = build(TINY)
    seed_weights(model, 5)
    save(model, tmp_path / "tiny.safetensors")
    loaded = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        loaded.append(load(tmp_path / "tiny.safetensors", TINY, device="cpu"))
    ones, others = (dict([*each.named_parameters(), *each.named_buffers()]) for each in loaded)
    assert len(ones) == len(build_empty(TINY).state_dict()) + 1  # and the causal mask
    assert all(torch.equal(ones[name], others[name]) and not ones[name].is_meta for name in ones)


def refused(path: Path, reason: str | None) -> None:
    """By check and by load alike, in a message that begins with the path."""
    for attempt in (lambda: check(path, TINY), lambda: load(path, TINY, device="cpu")):
        with pytest.raises(CheckpointError, match=reason) as caught:
            attempt()
        assert str(caught.value).startswith(f"{path}: ")


def meta_stage() -> object:
    from autolabel.sam3.upstream import find_stage

    zero = torch.zeros(1, dtype=torch.long)
    return find_stage(zero, zero)
