"""What is different on CUDA: copies that nobody waits for, and compiled stages, the large ones as CUDA graphs.

The lines that run on CUDA alone are those behind the conditions below. They have not been run yet; tests run them on
tensors that claim to be on CUDA. Elsewhere in this package, only the rotary embedding is chosen by the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

Tensors = dict[str, torch.Tensor]
Stage = Callable[..., Tensors]
GPU_SHARE = 0.7  # of the memory that the weights leave free; the rest is for what the estimates leave out
CPU_MEMORY_MB = 200
MAX_SHAPES = 64  # of one stage, more than an engine makes; torch's own limit is 8


def memory_mb(device: torch.device, *, share: float = 1.0) -> int:
    """Return what an engine may use beside its weights: a share of most that a GPU has free, or little of a CPU's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * GPU_SHARE * share / 1e6)
    return CPU_MEMORY_MB


def on_device(values: torch.Tensor | Sequence[int] | Sequence[float], device: torch.device) -> torch.Tensor:
    """Put a tensor, or numbers, on a device: on a GPU from pinned memory, in order with its work, and nobody waits."""
    tensor = values if isinstance(values, torch.Tensor) else torch.tensor(values)
    if device.type == "cuda":
        pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
        return pinned.to(device, non_blocking=True)
    return tensor.to(device)


def stacked(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack tensors of the host; where there is a GPU, in memory that it copies from by itself."""
    first = tensors[0]
    shape = len(tensors), *first.shape
    return torch.stack(list(tensors), out=torch.empty(shape, dtype=first.dtype, pin_memory=torch.cuda.is_available()))


@dataclass(frozen=True, eq=False)
class HostTensor:
    """A tensor in the host's memory, or on its way there."""

    _tensor: torch.Tensor
    _arrived: "torch.cuda.Event | None" = None

    def get(self) -> torch.Tensor:
        """Return the tensor, once it is there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensor

    @property
    def nbytes(self) -> int:
        """Return what it weighs, there or not."""
        return self._tensor.nbytes

    def split(self, sizes: Sequence[int]) -> list["HostTensor"]:
        """Return parts of so many rows each."""
        return [HostTensor(part, self._arrived) for part in torch.split(self._tensor, list(sizes))]


def to_host(tensor: torch.Tensor) -> HostTensor:
    """Send a tensor to the host: from a GPU beside the work that follows, into memory that is used again."""
    if tensor.device.type != "cuda":
        return HostTensor(tensor.cpu())
    copies = _copy_stream(tensor.device)
    copies.wait_stream(torch.cuda.current_stream(tensor.device))
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)  # torch keeps such memory when it is freed
    arrived = torch.cuda.Event(blocking=True)
    with torch.cuda.stream(copies):
        host.copy_(tensor, non_blocking=True)
        arrived.record(copies)
    tensor.record_stream(copies)
    return HostTensor(host, arrived)


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def records(device: torch.device) -> bool:
    """Tell whether compiled stages are recorded there, as CUDA graphs."""
    return device.type == "cuda"


def stage(step: Stage, device: torch.device, *, recorded: bool) -> Stage:
    """Compile a step as one graph without a break.

    `recorded`: for every shape that it is called with, and on a GPU recorded as a CUDA graph, which costs the host one
    call whatever else it does. Its results lie where the next call writes its own, so they are copied; and it belongs
    to the thread that recorded it, so a compiled model is called from one thread. Otherwise: for any length of its
    tensors, without copies of what goes in and comes out.
    """
    torch._dynamo.config.recompile_limit = MAX_SHAPES  # of the process: torch before 2.14 takes it nowhere else
    mode = "reduce-overhead" if recorded and records(device) else None
    graph: Stage = torch.compile(step, fullgraph=True, dynamic=False, mode=mode)

    def run_any_length(*tensors: torch.Tensor, **choices: bool) -> Tensors:
        for tensor in tensors:
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return graph(*tensors, **choices)

    def run_recorded(*tensors: torch.Tensor, **choices: bool) -> Tensors:
        torch.compiler.cudagraph_mark_step_begin()
        return {name: tensor.clone() for name, tensor in graph(*tensors, **choices).items()}

    if not recorded:
        return run_any_length
    return run_recorded if records(device) else graph
