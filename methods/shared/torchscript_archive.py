"""Reads the tensors of a TorchScript archive, the format of OpenAI's CLIP weights, without running it.

`torch.jit.load` runs what an archive holds: its `__setstate__` methods are programs, which may write files. This reader
makes mappings of modules, tensors of tensors, and an empty `Part` of everything else.
Format: https://github.com/pytorch/pytorch/blob/v1.7.1/torch/csrc/jit/docs/serialization.md
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Part:
    """Stands for a module, or for anything else that an archive names; `state` has a module's attributes."""

    state: Any = None

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Unpickler(pickle.Unpickler):
    """Builds tensors and plain containers from an archive's `data.pkl`; calls nothing that the archive names."""

    def __init__(self, archive: zipfile.ZipFile, pickled: str) -> None:
        super().__init__(archive.open(pickled))
        self.archive, self.folder = archive, pickled.removesuffix(".pkl")
        self.read: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Our replacement for a class or a function that the archive names."""
        # Only the rebuilding of tensors, OrderedDict and the types of storages keep their meaning. Every other name
        # becomes a Part, whose constructor ignores its arguments.
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return strided
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        return STORAGES.get(name, Part) if module == "torch" else Part

    def persistent_load(self, pid: Any) -> Tensor:
        """The storage behind a tensor; several tensors may share one."""
        # ("storage", its type, the name of its file in the archive, the device it was on, its length)
        _, dtype, key, *_ = pid
        if key not in self.read:
            stored = bytearray(self.archive.read(f"{self.folder}/{key}"))
            self.read[key] = torch.frombuffer(stored, dtype=dtype) if stored else torch.empty(0, dtype=dtype)
        return self.read[key]


def strided(values: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A view of a storage; torch refuses one that reaches beyond the storage."""
    return values.as_strided(size, stride, offset)


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive and not one of torch.save's."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The parameters and buffers of an archive's modules, by their names in a state_dict.

    Raises:
        Exception: Whatever a damaged archive makes zipfile, pickle or torch raise.
    """
    with zipfile.ZipFile(path) as archive:
        (pickled,) = (name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        return dict(_tensors(Unpickler(archive, pickled).load(), ""))


def _tensors(found: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(found, Part) or not isinstance(found.state, dict):
        return
    for name, value in found.state.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        else:
            yield from _tensors(value, f"{prefix}{name}.")
