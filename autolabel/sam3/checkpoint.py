"""Weights of a SAM3, checked to the last tensor before anything runs with them.

Meta's own loader ignores what does not fit, so that a wrong file gives a model of random weights. Here a file fits
its architecture exactly or is refused. Files are Meta's `sam3.pt` or safetensors, told apart by content:

- keys are those of the image model, alone or below `detector.`, in a `.pt` also within an entry `model`;
- `tracker.*` and the detector's `backbone.vision_backbone.sam2_convs.*` are left out on purpose: they are the video
  tracker and the features that only it and the interactive predictor read;
- half-precision weights are widened to the architecture's own type;
- the token table may be there in part: beside it, `TOKEN_IDS` names the tokens that its rows are of, and one more row,
  the last, is that of every other token.
"""

import pickle
import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from autolabel.errors import CheckpointError
from autolabel.sam3.architecture import ARCHITECTURES, Architecture, build_empty, place
from autolabel.sam3.download import Checkpoint, fetch
from autolabel.sam3.upstream import Sam3Image

__all__ = ["Checkpoint", "check", "fetch", "load", "save"]

DETECTOR = "detector."
NOT_OF_THE_IMAGE_MODEL = ("tracker.", "backbone.vision_backbone.sam2_convs.")
TOKEN_TABLE = "backbone.language_backbone.encoder.token_embedding.weight"  # noqa: S105  # no password
TOKEN_IDS = "backbone.language_backbone.encoder.token_embedding.ids"  # noqa: S105
SHOWN = 3  # names of each kind in a message

DTYPES = {  # by their names in safetensors; none of the others can be a weight
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "C64": torch.complex64,
}

# What torch's reader raises on damaged bytes, beside RuntimeError: it is an unpickler and fails as unpicklers do.
DAMAGED_PICKLE = (RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, struct.error)


def check(path: Path, architecture: Architecture) -> None:
    """Compare a checkpoint's names, shapes and kinds of number with an architecture's, reading no weights.

    Raises:
        CheckpointError: the file is not a checkpoint, or not one of this architecture.
    """
    _match(_with_whole_table(_entries(path, header_only=True), _signature(architecture), path), architecture, path)


def load(path: Path, architecture: Architecture, *, device: torch.device | str) -> Sam3Image:
    """The model with a checkpoint's weights, in eval mode on the device. Memory: one copy, beside the mapped file.

    Raises:
        CheckpointError: as `check`, or weights that are not finite numbers.
    """
    expected = _signature(architecture)
    weights = {}
    entries = _entries(path, header_only=False)
    for name, tensor in _match(_with_whole_table(entries, expected, path), architecture, path).items():
        # A copy even on the CPU: what stays mapped to the file changes, or crashes, with the file.
        weights[name] = tensor.to(device=device, dtype=expected[name].dtype, copy=True)
    if bad := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise CheckpointError(f"{path}: {_some(bad)} hold NaN or infinite weights")
    model = build_empty(architecture)
    model.load_state_dict(weights, strict=True, assign=True)
    return place(model, architecture, device=device)


def save(
    model: Sam3Image,
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    token_ids: Sequence[int] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model's weights as safetensors, with the keys that Meta's image model has.

    Args:
        dtype: of the weights in the file; by default that of the model.
        token_ids: keep these tokens' rows of the table alone, where all other rows are equal.
        metadata: what the file's header says beside the names and shapes.

    Raises:
        ValueError: `token_ids` leaves out rows that are not equal.
    """
    weights = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
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


def _entries(path: Path, *, header_only: bool) -> dict[str, torch.Tensor]:
    """The tensors of a file by the image model's names; on the meta device, or mapped from disk, if `header_only`."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    if not start:
        raise CheckpointError(f"{path}: the file is empty")
    if start.startswith(b"PK\x03\x04"):
        entries = _torch_entries(path)
    elif start.endswith(b"{") and len(start) == 9:  # after 8 bytes of header length
        entries = _safetensors_entries(path, header_only=header_only)
    else:
        raise CheckpointError(
            f"{path}: neither a safetensors file nor one of torch.save; it starts with {start!r}"
            + (", like a web page that was saved in its place" if start.lstrip().startswith(b"<") else "")
        )
    if any(name.startswith(DETECTOR) for name in entries):
        entries = {name.removeprefix(DETECTOR): value for name, value in entries.items()}
    return {name: value for name, value in entries.items() if not name.startswith(NOT_OF_THE_IMAGE_MODEL)}


def _safetensors_entries(path: Path, *, header_only: bool) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            if not header_only:
                return {name: file.get_tensor(name) for name in names}
            slices = {name: file.get_slice(name) for name in names}
            return {
                name: torch.empty(entry.get_shape(), dtype=DTYPES.get(entry.get_dtype(), torch.uint8), device="meta")
                for name, entry in slices.items()
            }
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged or truncated safetensors: {error}") from error


def _torch_entries(path: Path) -> dict[str, torch.Tensor]:
    """Mapped from disk: none is read until it is used."""
    try:
        entries: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors, or is damaged; nothing in it was executed. Save its state dict alone, "
            "best as safetensors"
        ) from error
    except (OSError, *DAMAGED_PICKLE) as error:
        raise CheckpointError(f"{path}: damaged or truncated: {error}") from error
    if isinstance(entries, dict) and isinstance(entries.get("model"), dict):
        entries = entries["model"]
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise CheckpointError(f"{path}: holds no state dict")
    if strangers := [name for name, value in entries.items() if not isinstance(value, torch.Tensor)]:
        raise CheckpointError(f"{path}: {_some(strangers)} are no tensors")
    return entries


def _with_whole_table(
    entries: dict[str, torch.Tensor], expected: Mapping[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """The entries with every token's row, if the file holds some tokens' rows and one for all the others.

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


def _match(found: dict[str, torch.Tensor], architecture: Architecture, path: Path) -> dict[str, torch.Tensor]:
    """`found`, if it is exactly what the architecture has.

    Raises:
        CheckpointError: with all that differs, or the architecture that it would fit.
    """
    problems = _differences(found, _signature(architecture))
    if not problems:
        return found
    for name, other in ARCHITECTURES.items():
        if other != architecture and not _differences(found, _signature(other)):
            raise CheckpointError(
                f"{path}: this is a checkpoint of the architecture {name!r}, not of the one asked for"
            )
    raise CheckpointError(f"{path}: not a checkpoint of this architecture: {'; '.join(problems)}")


def _differences(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> list[str]:
    problems = []
    if missing := expected.keys() - found.keys():
        problems.append(f"missing {_some(missing)} of {len(expected)}")
    if unexpected := found.keys() - expected.keys():
        problems.append(f"unexpected {_some(unexpected)}")
    common = [name for name in expected if name in found]
    if misshapen := [name for name in common if found[name].shape != expected[name].shape]:
        first = misshapen[0]
        shapes = f"{tuple(found[first].shape)} instead of {tuple(expected[first].shape)}"
        problems.append(f"of another shape {_some(misshapen)}; the first is {shapes}")
    if mistyped := [name for name in common if _kind(found[name]) != _kind(expected[name])]:
        problems.append(f"of another kind of number {_some(mistyped)}")
    return problems


def _kind(tensor: torch.Tensor) -> tuple[bool, bool]:
    """Real or complex, floating point or not: widening changes neither."""
    return tensor.is_complex(), tensor.is_floating_point()


@cache
def _signature(architecture: Architecture) -> Mapping[str, torch.Tensor]:
    """Tensors without memory, of every name, shape and type that an architecture's state dict has."""
    state: dict[str, torch.Tensor] = build_empty(architecture).state_dict()
    return state


def _some(names: Iterable[str]) -> str:
    """A count and the first few names."""
    ordered = sorted(names)
    more = ", ..." if len(ordered) > SHOWN else ""
    return f"{len(ordered)} ({', '.join(ordered[:SHOWN])}{more})"
