"""What is different on CUDA: copies that nobody waits for, and stages compiled into CUDA graphs.

The lines that run on CUDA alone are those behind the conditions below; they have not been run yet. Nothing else in this
package asks which device it is on.
"""

from collections.abc import Callable, Sequence

import torch

Tensors = dict[str, torch.Tensor]
Stage = Callable[..., Tensors]
MAX_SHAPES = 64  # of one stage, more than an engine makes; torch's own limit is 8


def on_device(values: torch.Tensor | Sequence[int] | Sequence[float], device: torch.device) -> torch.Tensor:
    """A tensor, or numbers, on a device. To a GPU from pinned memory, in order with its work: nobody waits."""
    tensor = values if isinstance(values, torch.Tensor) else torch.tensor(values)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def stage(step: Stage, device: torch.device) -> Stage:
    """A step compiled as one graph for every shape that it is called with.

    On a GPU each is recorded as a CUDA graph. Its results lie where the next call writes its own, so they are copied;
    and it belongs to the thread that recorded it, so a compiled model is called from one thread.
    """
    graph: Stage = torch.compile(  # type: ignore[call-overload]  # whose overloads lack recompile_limit
        step,
        fullgraph=True,
        dynamic=False,
        mode="reduce-overhead" if device.type == "cuda" else None,
        recompile_limit=MAX_SHAPES,
    )
    if device.type != "cuda":
        return graph

    def run(*tensors: torch.Tensor, **choices: bool) -> Tensors:
        torch.compiler.cudagraph_mark_step_begin()
        return {name: tensor.clone() for name, tensor in graph(*tensors, **choices).items()}

    return run
