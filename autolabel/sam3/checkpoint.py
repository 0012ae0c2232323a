"""Weights of a SAM3, checked to the last tensor before anything runs with them.

Meta's own loader ignores what does not fit, so that a wrong file gives a model of random weights. Here a file fits
its architecture exactly or is refused with the cause. Which files that are: README.md beside this one; `layouts` says
by name what they may have besides, and what they may lack. The same goes for the parts of a model that are asked for:
the detector, the head for points and boxes, or both, each with the ViT; what a file has of the other is not read.

- Half-precision weights are widened to the architecture's own type.
- What nothing reads is zero where a file lacks it, and the rotary tables are computed.
- The token table may be there in part: beside it, `TOKEN_IDS` names the tokens that its rows are of, and one more row,
  the last, is that of every other token.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file

from autolabel.errors import CheckpointError
from autolabel.sam3.architecture import ARCHITECTURES, DETECTOR_ALONE, Architecture, Part, build_empty, place
from autolabel.sam3.layouts import (
    Entries,
    Layout,
    image_model,
    interactive_head,
    layout_of,
    may_be_absent,
    predicts_iou_itself,
    saved_name,
    unwrapped,
)
from autolabel.sam3.refusals import cause
from autolabel.sam3.upstream import Sam3Image
from autolabel.sam3.weight_files import read, some

__all__ = ["check", "known_tokens", "load", "save"]

TOKEN_TABLE = "backbone.language_backbone.encoder.token_embedding.weight"  # noqa: S105  # no password
HEAD = "interactive."  # before the names of the head for points and boxes
TOKEN_IDS = "backbone.language_backbone.encoder.token_embedding.ids"  # noqa: S105


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The tensors of a file that fits an architecture, by the file's names."""

    entries: Entries
    layout: Layout
    predicts_iou_itself: bool  # the head for points and boxes, and not the logit of it

    def of(self, name: str, expected: torch.Tensor) -> torch.Tensor | None:
        """Return the model's tensor of this name, if the file has it."""
        parts = [self.entries[there] for there in self.layout.split(name, expected) if there in self.entries]
        return self.layout.join(name, parts) if parts else None


def check(path: Path, architecture: Architecture, *, parts: Set[Part] = DETECTOR_ALONE) -> None:
    """Compare a checkpoint's names, shapes and kinds of number with an architecture's, reading no weights.

    Raises:
        CheckpointError: the file is not a checkpoint, not one of this architecture, or lacks one of the parts.
    """
    _fitting(path, architecture, parts, header_only=True)


def known_tokens(path: Path) -> frozenset[int] | None:
    """Return the tokens that a checkpoint tells apart, all others being one and the same to it; None: every token.

    Raises:
        CheckpointError: the file is not a checkpoint.
    """
    if TOKEN_IDS not in image_model(unwrapped(read(path, header_only=True))):
        return None
    return frozenset(image_model(unwrapped(read(path, header_only=False)))[TOKEN_IDS].tolist())


def load(
    path: Path, architecture: Architecture, *, device: torch.device | str, parts: Set[Part] = DETECTOR_ALONE
) -> Sam3Image:
    """Load parts of a checkpoint into a model in eval mode on the device. Memory: one copy, beside the mapped file.

    Raises:
        CheckpointError: as `check`, or weights that are not finite numbers.
    """
    found = _fitting(path, architecture, parts, header_only=False)
    model = build_empty(architecture, parts=parts)
    weights = {}
    for name, expected in _signature(architecture, frozenset(parts)).items():
        tensor = found.of(name, expected)
        if tensor is None:
            tensor = _instead(name, model, expected)
        # A copy even on the CPU: what stays mapped to the file changes, or crashes, with the file.
        weights[name] = tensor.to(device=device, dtype=expected.dtype, copy=True)
    if bad := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(f"{path}: {some(bad)} hold NaN or infinite weights")
    model.load_state_dict(weights, strict=True, assign=True)
    if found.predicts_iou_itself and Part.INTERACTIVE in parts:
        model.interactive.sam_mask_decoder.iou_prediction_head.sigmoid_output = False
    return place(model, architecture, device=device)


def save(
    model: Sam3Image,
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    token_ids: Sequence[int] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model's weights as safetensors, with the keys that Meta's image model has, its predictor among them.

    Args:
        dtype: of the weights in the file; by default that of the model.
        token_ids: keep these tokens' rows of the table alone, where all other rows are equal.
        metadata: what the file's header says beside the names and shapes.

    Raises:
        ValueError: `token_ids` leaves out rows that are not equal.
    """
    weights = {
        saved_name(name): (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    if token_ids is not None:
        ids = torch.tensor(sorted(token_ids))
        table = weights[TOKEN_TABLE]
        others = torch.ones(len(table), dtype=torch.bool)
        others[ids] = False
        if not torch.equal(table[others], table[others][:1].expand(int(others.sum()), -1)):
            raise ValueError("the rows of the other tokens are not equal")
        weights |= {TOKEN_IDS: ids, TOKEN_TABLE: torch.cat([table[ids], table[others][:1]])}
    partial = path.with_name(f"{path.name}.partial")
    save_file(weights, partial, metadata=dict(metadata or {}))
    partial.replace(path)


def _with_whole_table(
    entries: dict[str, torch.Tensor], expected: Mapping[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """Return entries with every token's row, if the file holds some tokens' rows and one for all the others.

    Raises:
        CheckpointError: the rows are not of these tokens, or there are no such tokens.
    """
    if TOKEN_IDS not in entries or TOKEN_TABLE not in entries:
        return entries
    rows, n_tokens = entries[TOKEN_TABLE], len(expected[TOKEN_TABLE])
    ids = entries[TOKEN_IDS]
    if ids.ndim != 1 or rows.ndim != 2 or len(rows) != len(ids) + 1:
        raise CheckpointError(
            f"{path}: {TOKEN_TABLE} has the shape {tuple(rows.shape)} beside ids of the shape {tuple(ids.shape)}"
        )
    table = rows[-1:].expand(n_tokens, -1)
    if not ids.is_meta:
        if ids.is_floating_point() or ids.min() < 0 or ids.max() >= n_tokens or len(set(ids.tolist())) != len(ids):
            raise CheckpointError(f"{path}: {TOKEN_IDS} are not distinct tokens of the {n_tokens} there are")
        table = table.index_copy(0, ids.long(), rows[:-1])
    return {name: tensor for name, tensor in entries.items() if name != TOKEN_IDS} | {TOKEN_TABLE: table}


def _instead(name: str, model: Sam3Image, expected: torch.Tensor) -> torch.Tensor:
    """Return what a model has where a file may lack a tensor: the rotary table of an attention, or zeros."""
    owner, _, table = name.rpartition(".")
    if table != "freqs_cis":
        return torch.zeros(expected.shape, dtype=expected.dtype)
    attention = model.get_submodule(owner)
    attention._setup_rope_freqs()  # outside of the meta device that the model was built on
    computed: torch.Tensor = attention.get_buffer(table)
    return computed


def _fitting(path: Path, architecture: Architecture, parts: Set[Part], *, header_only: bool) -> Weights:
    """Read the weights of a file, if they are those of the architecture.

    Raises:
        CheckpointError: with the cause if the names tell, the architecture that it would fit, or all that differs.
    """
    everything = unwrapped(read(path, header_only=header_only))
    layout = layout_of(image_model(everything))
    signature = _signature(architecture, frozenset(parts))
    found = _of_parts(everything, architecture, parts, layout, path)
    problems = _differences(found, signature, layout)
    if not problems:
        return Weights(entries=found, layout=layout, predicts_iou_itself=predicts_iou_itself(everything))
    for name, other in ARCHITECTURES.items():
        if other != architecture and not _differences(found, _signature(other, frozenset(parts)), layout):
            raise CheckpointError(
                f"{path}: this is a checkpoint of the architecture {name!r}, not of the one asked for"
            )
    _, needed = _expected(signature, layout)
    if reason := cause(everything.keys(), found=found.keys(), needed=needed):
        raise CheckpointError(f"{path}: {reason}")
    raise CheckpointError(f"{path}: not a checkpoint of this architecture: {'; '.join(problems)}")


def _of_parts(everything: Entries, architecture: Architecture, parts: Set[Part], layout: Layout, path: Path) -> Entries:
    """Choose what a file holds of the parts, the head's tensors by the model's names; names of no part stay.

    Raises:
        CheckpointError: as `_with_whole_table`.
    """
    entries = image_model(everything)
    if Part.DETECTOR in parts:
        found = _with_whole_table(entries, _signature(architecture, DETECTOR_ALONE), path)
    else:
        of_detector, _ = _expected(_signature(architecture, DETECTOR_ALONE), layout)
        asked, _ = _expected(_signature(architecture, frozenset(parts)), layout)
        others = (of_detector.keys() | {TOKEN_IDS}) - asked.keys()
        found = {name: tensor for name, tensor in entries.items() if name not in others}
    if Part.INTERACTIVE in parts:
        found |= {HEAD + name: tensor for name, tensor in interactive_head(everything).items()}
    return found


def _expected(signature: Mapping[str, torch.Tensor], layout: Layout) -> tuple[Entries, set[str]]:
    """Return what a file of a layout may have of a model, and the names that it must have."""
    expected: Entries = {}
    needed: set[str] = set()
    for name, tensor in signature.items():
        there = layout.split(name, tensor)
        expected |= there
        if not may_be_absent(name):
            needed |= there.keys()
    return expected, needed


def _differences(found: Mapping[str, torch.Tensor], signature: Mapping[str, torch.Tensor], layout: Layout) -> list[str]:
    """Return what is wrong with a file's tensors, in the file's names."""
    expected, needed = _expected(signature, layout)
    problems = []
    if missing := needed - found.keys():
        problems.append(f"missing {some(missing)} of {len(expected)}")
    if unexpected := found.keys() - expected.keys():
        problems.append(f"unexpected {some(unexpected)}")
    common = [name for name in expected if name in found]
    if misshapen := [name for name in common if found[name].shape != expected[name].shape]:
        first = misshapen[0]
        shapes = f"{tuple(found[first].shape)} instead of {tuple(expected[first].shape)}"
        problems.append(f"of another shape {some(misshapen)}; the first is {shapes}")
    if mistyped := [name for name in common if _kind(found[name]) != _kind(expected[name])]:
        problems.append(f"of another kind of number {some(mistyped)}")
    return problems


def _kind(tensor: torch.Tensor) -> tuple[bool, bool]:
    """Tell real from complex, floating point or not: widening changes neither."""
    return tensor.is_complex(), tensor.is_floating_point()


@cache
def _signature(architecture: Architecture, parts: frozenset[Part]) -> Mapping[str, torch.Tensor]:
    """Return tensors without memory, of every name, shape and type that the state dict of these parts has."""
    state: dict[str, torch.Tensor] = build_empty(architecture, parts=parts).state_dict()
    return state
