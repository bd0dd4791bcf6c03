"""How a message to the reader is made: what was meant, what was wanted, and which line of a plugin raised."""

from __future__ import annotations

import difflib
import os
import re
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.structures import UserError

_HARNESS = str(Path(__file__).parent) + os.sep
_THROUGH = (__file__, _HARNESS + "plugins" + os.sep)
_LIBRARIES = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib"))
LACKS_MEMORY = re.compile("out of memory|DefaultCPUAllocator")
"""What torch says of a GPU's or the machine's memory that does not suffice."""

_OF_THE_MACHINE = re.compile(f"CUDA error|{LACKS_MEMORY.pattern}")
"""What torch says of a GPU that is lost, or of full memory: no plugin's mistake."""

_WANTED = {
    "missing": "a value",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "a path",
    "too_short": "at least one",
    "invalid_key": "text as every key",
    "dataclass_type": "a mapping",
}
"""pydantic's error type -> what a reader who knows YAML, but not Python, is told to write."""


def suggest(name: str, known: Iterable[str]) -> str:
    """`Did you mean 'sam'? There are: ours, sam.`"""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"Did you mean '{close[0]}'? " if close else ""
    return f"{meant}There are: {', '.join(known) or 'none'}."


def complaint(mistakes: Sequence[Mapping[str, Any]]) -> str:
    """What pydantic says of one value, in the words of this project: `found 'four'; wanted a valid integer.`"""
    absent = mistakes[0]["type"] == "missing" or mistakes[0]["input"] is None
    found = "nothing" if absent else repr(mistakes[0]["input"])
    wanted = [_WANTED.get(mistake["type"]) or mistake["msg"].removeprefix("Input should be ") for mistake in mistakes]
    return f"found {found}; wanted {', or '.join(dict.fromkeys(wanted))}."


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Whatever a plugin's own code raises becomes a message to its author that says where.

    Args:
        what: The message's start: `methods/ours.py cannot be imported`.

    Raises:
        UserError: In place of what was raised; but what a lost or full GPU, or full memory, raises stays as it is.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        if _OF_THE_MACHINE.search(str(error)):
            raise
        at = _own_line(error)
        hint = " Is its folder on PYTHONPATH?" if isinstance(error, ModuleNotFoundError) and not at else ""
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{what}. {told}{at}.{hint}") from error


def _own_line(error: BaseException) -> str:
    """Where a plugin's code was when it raised, ` (file, line 3)`."""
    at = own_line(error)
    return f" ({at[0]}, line {at[1]})" if at else ""


def own_line(error: BaseException) -> tuple[Path, int] | None:
    """Where a plugin's code was when it raised: its last line before a library's or the harness'."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _imports(frame.filename)]
    written = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    own = [frame for frame in written if not frame.filename.startswith(_HARNESS)]
    at = (own or written or frames)[-1:]  # A click rule is in the harness' own folder.
    return next(((Path(frame.filename), frame.lineno or 0) for frame in at), None)


def _imports(filename: str) -> bool:
    """Whether a frame lies between the caller and a plugin: the registry's, the import system's, generated code."""
    return filename.startswith(_THROUGH) or filename.startswith("<") or "importlib" in filename
