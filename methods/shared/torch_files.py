"""Reads the files that torch writes as data: nothing in them is run, and none takes more memory than its length.

`load_torch` reads files of torch.save. Trainings also save their options and the best score beside the weights: objects
of the kinds in `PLAIN` are skipped, and any other kind is refused by its name. `read_torchscript` reads the tensors of
a TorchScript archive, the format of OpenAI's CLIP weights. `torch.jit.load` would run code of such an archive: its
`__setstate__` methods are programs, which may write files. This reader turns modules into mappings, tensors into
tensors, and everything else into an empty `Part`.
Format: https://github.com/pytorch/pytorch/blob/v1.7.1/torch/csrc/jit/docs/serialization.md
"""

from __future__ import annotations

import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PLAIN = (
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "_codecs.encode",
    "argparse.Namespace",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "datetime.datetime",
    "datetime.timedelta",
)
"""Objects that checkpoints often hold beside the weights, by their names in a pickle. Each becomes an empty `Part`."""

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


class ForeignObjectError(ValueError):
    """A file holds an object of a kind that is not read; the text has the kind's full name."""


class Part:
    """The replacement of a module, or of anything else that an archive names; `state` has a module's attributes."""

    state: Any = None

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


_INSTRUCTIONS = (
    "PROTO FRAME STOP MARK POP POP_MARK PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET "
    "NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINSTRING SHORT_BINSTRING EMPTY_LIST APPEND APPENDS "
    "TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT SETITEM SETITEMS GLOBAL STACK_GLOBAL "
    "REDUCE NEWOBJ BUILD BINPERSID"
)
"""The opcodes that TorchScript writes, and similar ones. Some others reserve as much memory as the file asks for."""

MODULES = 1_000_000
"""Attributes that are looked at; modules that hold one another in a circle, or doubly many times, have more."""


class Unpickler(pickle._Unpickler):
    """Builds tensors and plain containers from an archive's `data.pkl`; calls nothing that the archive names.

    Python's unpickler in its Python form: the one in C sizes its memory by numbers that the file claims, so that 200
    bytes could take gigabytes.
    """

    dispatch = {  # noqa: RUF012 - as in the class above
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _INSTRUCTIONS.split()
    }

    def __init__(self, archive: zipfile.ZipFile, pickled: str) -> None:
        self.archive, self.folder = archive, pickled.removesuffix(".pkl")
        self.read_storages: dict[str, Tensor] = {}
        super().__init__(io.BytesIO(archive.read(pickled)))

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
        if key not in self.read_storages:
            stored = bytearray(self.archive.read(f"{self.folder}/{key}"))
            self.read_storages[key] = torch.frombuffer(stored, dtype=dtype) if stored else torch.empty(0, dtype=dtype)
        return self.read_storages[key]


def strided(values: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A view of a storage; torch refuses one that reaches beyond the storage.

    Raises:
        ValueError: It shows an element more than once, so that a copy could be far larger than the file.
    """
    if math.prod(size) > values.numel():
        raise ValueError(f"found a tensor of shape {tuple(size)} over {values.numel()} stored values")
    return values.as_strided(size, stride, offset)


def check_stored(archive: zipfile.ZipFile) -> None:
    """Check that an archive has torch's form: whole files, one after the other, not compressed.

    A megabyte can be compressed to a kilobyte, and many files can share the same bytes; either would unpack to far more
    memory than the archive takes on the disk. TorchScript compresses its programs, which are not read here.

    Raises:
        ValueError: It has another form.
    """
    parts = [part for part in archive.infolist() if "/code/" not in part.filename]
    if any(part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size for part in parts):
        raise ValueError("a packed archive; wanted one as torch saves it, unpacked")
    claimed, size = sum(part.file_size for part in parts), Path(str(archive.filename)).stat().st_size
    if claimed > size:
        raise ValueError(f"files of {claimed} bytes in an archive of {size} bytes")


def load_torch(path: Path, skipped: Sequence[str] = ()) -> Any:
    """The content of a file of torch.save, on the CPU: tensors and plain containers; nothing in the file is run.

    Objects of the kinds in `PLAIN`, and in `skipped` by their full names, become a `Part`.

    Raises:
        ForeignObjectError: The file holds an object of another kind.
        ValueError: The file is damaged; the message is one line on what torch could not read.
        Exception: Others that zipfile, pickle or torch raise for a damaged file.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_stored(archive)
    try:
        # torch calls what it is allowed to; each allowed name leads to Part, so not even these objects are built.
        with torch.serialization.safe_globals([(Part, name) for name in (*PLAIN, *skipped)]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's text has six lines, in bold, about how to read the file without this protection.
        if named := re.search(r"GLOBAL ([\w.<>]+)", str(error)):
            raise ForeignObjectError(named[1]) from error
        reason = re.search(r"WeightsUnpickler error: *(.*)", str(error))
        raise ValueError(reason[1] if reason else str(error).strip().partition("\n")[0]) from error


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive and not one of torch.save."""
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
        check_stored(archive)
        (pickled,) = (name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        found = Unpickler(archive, pickled).load()
    return _tensors(found)


def _tensors(found: Any) -> dict[str, Tensor]:
    """The tensors in modules and in modules of modules, in the order in which the archive has them."""
    tensors: dict[str, Tensor] = {}
    waiting = [("", found)]
    # A list as a stack instead of recursion, whose limit a deeply nested file could exceed. The last pushed is taken
    # first, so children are pushed in reverse and come out in the file's order.
    for _ in range(MODULES):
        if not waiting:
            return tensors
        prefix, value = waiting.pop()
        if isinstance(value, Tensor):
            tensors[prefix] = value
        elif isinstance(value, Part) and isinstance(value.state, dict):
            waiting += [(f"{prefix}.{name}".lstrip("."), inner) for name, inner in reversed(value.state.items())]
    raise ValueError("its modules hold one another without an end")
