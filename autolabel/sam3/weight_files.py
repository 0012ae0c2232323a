"""Tensors by their names from a file of weights, safetensors or torch.save's, told apart by content.

Nothing in a file is executed, and no tensor is read before it is used: they are mapped from disk, or, where only the
header is asked for, without memory at all.
"""

import pickle
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from autolabel.errors import CheckpointError

SHOWN = 3  # names in a message
NESTED = ("model", "state_dict")  # where trainers put the weights, beside their optimizer's state

DTYPES = {  # by their names in safetensors; none of the others can be a weight
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "C64": torch.complex64,
}

# What torch's reader raises on damaged bytes, beside RuntimeError: it is an unpickler and fails as unpicklers do.
DAMAGED_PICKLE = (RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError, struct.error)


def read(path: Path, *, header_only: bool) -> dict[str, torch.Tensor]:
    """Read the tensors of a file by its names for them; on the meta device, or mapped, if `header_only`.

    Raises:
        CheckpointError: the file cannot be read, or holds something else than tensors with names.
    """
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
        return _torch_entries(path)
    if start.endswith(b"{") and len(start) == 9:  # after 8 bytes of header length
        return _safetensors_entries(path, header_only=header_only)
    raise CheckpointError(
        f"{path}: neither a safetensors file nor one of torch.save; it starts with {start!r}"
        + (", like a web page that was saved in its place" if start.lstrip().startswith(b"<") else "")
    )


def some(names: Iterable[str]) -> str:
    """Return a count and the first few names."""
    ordered = sorted(names)
    more = ", ..." if len(ordered) > SHOWN else ""
    return f"{len(ordered)} ({', '.join(ordered[:SHOWN])}{more})"


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
    """Map tensors from disk: none is read until it is used."""
    try:
        entries: Any = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors, or is damaged; nothing in it was executed. Save its state dict alone, "
            "best as safetensors"
        ) from error
    except (OSError, *DAMAGED_PICKLE) as error:
        raise CheckpointError(f"{path}: damaged or truncated: {error}") from error
    if isinstance(entries, dict):
        entries = next((entries[name] for name in NESTED if isinstance(entries.get(name), dict)), entries)
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise CheckpointError(f"{path}: holds no state dict")
    if strangers := [name for name, value in entries.items() if not isinstance(value, torch.Tensor)]:
        raise CheckpointError(f"{path}: {some(strangers)} are no tensors")
    return entries
