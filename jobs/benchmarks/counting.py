"""What a computation asks of a device, counted on tensors without memory: operations, bytes moved, kernels launched.

Bytes are what each kernel reads and writes once, no cache in between: an upper bound, and a good guide to what eager
execution costs. A view launches nothing. Attention counts as one fused kernel, as it is on a GPU.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
FREE = (aten._unsafe_view, aten.detach, aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided)


class Counting:
    """Counts while it is entered."""

    def __init__(self) -> None:
        self.flop = self.bytes = self.launches = 0
        self._inner = ExitStack()

    def __enter__(self) -> "Counting":
        # Where attention is looked up by the model, by Meta's modules and by torch's own.
        self._inner.enter_context(mock.patch("torch.nn.functional.scaled_dot_product_attention", self._attention))
        self._inner.enter_context(_Kernels(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._inner.close()

    def _attention(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Count attention as one kernel that writes (B, L, H, d); without a device, torch composes it of products."""
        batch, heads, length, _ = query.shape
        with _disable_current_modes():
            out = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)
        self.add(4 * query.numel() * key.shape[-2], query, key, value, args, kwargs, out)
        return out

    def add(self, flop: int, *tensors: Any) -> None:
        self.flop += flop
        self.bytes += sum(map(bytes_of, tensors_in(tensors)))
        self.launches += 1


class _Kernels(TorchDispatchMode):
    def __init__(self, counts: Counting) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        is_view = any(each.alias_info and not each.alias_info.is_write for each in func._schema.returns)
        if not is_view and func.overloadpacket not in FREE:
            count = flop_registry.get(func.overloadpacket)
            self._counts.add(count(*args, **kwargs, out_val=out) if count else 0, args, kwargs, out)
        return out


def tensors_in(values: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))


def bytes_of(tensor: torch.Tensor) -> int:
    """Return what reading it moves: elements that an expanded dimension repeats once."""
    n = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        n *= size if stride else 1
    return n * tensor.element_size()
