"""A GPU that is not there: tensors say that they lie on it, and their numbers are computed on the CPU.

A network that mixes tensors of the GPU and of the CPU fails on a GPU alone, and hardly any machine of tests has one.
`pretended()` finds such mixtures anywhere: a tensor that is made on "cuda", or moved there, is a wrapper around a CPU
tensor. Every operation passes `_computed`, which refuses what CUDA refuses, computes on the wrapped tensors, and wraps
what lands on the GPU. So a method's masks are those of the CPU, bit for bit, or its code treats a GPU in another way.

What it cannot show: CUDA's own kernels, memory, streams and speed (tests/test_gpu.py), and gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)

INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
"""`x[places]` and `x[places] = y`: a tensor of the GPU takes places of the CPU, and not the other way round."""

MIXED = {*INDEXED, "aten::copy_", "aten::_to_copy", "aten::_pack_padded_sequence"}
"""Operations that take tensors of both devices."""


class OnGpu(Tensor):
    """A tensor that says that it lies on the GPU.

    Attributes:
        held: Its numbers, on the CPU.
    """

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        strides = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device=GPU, **strides)
        made.held = held
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnGpu({self.held!r})"

    def tolist(self) -> Any:
        return self.held.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    @classmethod
    def __torch_dispatch__(cls, operation: Any, _: Any, given: Any = (), named: Any = None) -> Any:
        return _computed(operation, given, named or {})


class _EveryOperation(TorchDispatchMode):
    """Catches the operations that no wrapper takes part in, too: those that make or move tensors."""

    def __torch_dispatch__(self, operation: Any, _: Any, given: Any = (), named: Any = None) -> Any:
        return _computed(operation, given, named or {})


def _computed(operation: Any, given: Any, named: Any) -> Any:
    tensors = [one for one in tree_leaves((given, named)) if isinstance(one, Tensor)]
    wrapped = [one for one in tensors if isinstance(one, OnGpu)]
    name = operation._schema.name
    _check(name, tensors, wrapped)
    operation = _INSTEAD.get(name, operation)
    on_cpu = {**named, "device": torch.device("cpu")} if named.get("device") is not None else named
    found = operation(*tree_map(_unwrapped, given), **tree_map(_unwrapped, on_cpu))
    lands = bool(wrapped)
    if named.get("device") is not None:
        lands = named["device"].type == "cuda"
    elif name in MIXED:
        lands = isinstance(tensors[0], OnGpu)
    if not lands:
        return found
    # An operation in place returns its argument: the wrapper that is known already must come out again.
    known = {id(one.held): one for one in wrapped}
    if name == "aten::_pack_padded_sequence":
        return _on_gpu(found[0], known), found[1]  # The sizes of its batches stay on the CPU.
    return tree_map(lambda one: _on_gpu(one, known), found)


def _check(name: str, tensors: list[Tensor], wrapped: list[OnGpu]) -> None:
    """Refuse tensors of both devices. A number (a tensor without dimensions) is taken from either, as by CUDA."""
    others = [one for one in tensors if not isinstance(one, OnGpu) and one.dim()]
    indexed = name in INDEXED and not isinstance(tensors[0], OnGpu)
    if wrapped and others and (indexed or name not in MIXED):
        shapes = [[tuple(one.shape) for one in some] for some in (wrapped, others)]
        raise RuntimeError(f"{name}: tensors on the GPU {shapes[0]} and on the CPU {shapes[1]}")


def _unwrapped(one: Any) -> Any:
    return one.held if isinstance(one, OnGpu) else one


def _on_gpu(one: Any, known: dict[int, OnGpu]) -> Any:
    if not isinstance(one, Tensor) or isinstance(one, OnGpu):
        return one
    return known[id(one)] if id(one) in known else OnGpu(one)


def _batch_norm(*given: Any) -> tuple[Tensor, ...]:
    """With a fourth tensor, which only gradients need."""
    return (*torch.native_batch_norm(*given), torch.empty(0))


def _lstm_cell(
    of_input: Tensor, of_hidden: Tensor, cell: Tensor, input_bias: Tensor, hidden_bias: Tensor
) -> tuple[Tensor, ...]:
    """Hochreiter and Schmidhuber's cell, in the order of torch's documentation: input, forget, new, output."""
    gates = of_input + input_bias + of_hidden + hidden_bias
    enter, keep, new, leave = gates.chunk(4, dim=1)
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(enter) * torch.tanh(new)
    return torch.sigmoid(leave) * torch.tanh(cell), cell, gates


_INSTEAD = {"aten::cudnn_batch_norm": _batch_norm, "aten::_thnn_fused_lstm_cell": _lstm_cell}
"""Operations that only CUDA has -> the same on the CPU."""


def _moved(module: nn.Module, move: Any, recurse: bool = True) -> nn.Module:
    """`Module._apply`, which else swaps the insides of tensors: a wrapper has none to swap."""
    for child in module.children() if recurse else ():
        _moved(child, move)
    for key, own in module._parameters.items():
        if own is not None:
            found = move(own.detach())
            module._parameters[key] = found if isinstance(found, OnGpu) else nn.Parameter(found, own.requires_grad)
    for key, own in module._buffers.items():
        module._buffers[key] = own if own is None else move(own)
    return module


class _Stream:
    """Work is done at once, so that nobody waits for it."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def wait_stream(self, _: Any) -> None: ...

    def synchronize(self) -> None: ...


@contextmanager
def pretended() -> Iterator[None]:
    """Inside, torch sees a GPU."""
    torch._C._ensureCUDADeviceGuardSet()
    with ExitStack() as stack:
        for name, instead in {
            "torch.cuda._lazy_init": lambda: None,
            "torch.cuda.is_available": lambda: True,
            "torch.cuda.Stream": _Stream,
            "torch.cuda.current_stream": _Stream,
            "torch.cuda.stream": lambda _: nullcontext(),
            "torch.nn.Module._apply": _moved,
            # Views of wrappers cannot be made in inference mode; `no_grad` below computes the same.
            "torch.inference_mode.__enter__": lambda _: None,
            "torch.inference_mode.__exit__": lambda *_: None,
        }.items():
            stack.enter_context(patch(name, instead))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # It has whole networks as one operation.
        stack.enter_context(torch.no_grad())
        stack.enter_context(_EveryOperation())
        torch._C._set_only_lift_cpu_tensors(
            True
        )  # `torch.tensor(list, device=...)` is moved by an operation of its own.
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        yield
