"""Handles failures of a plugin's code: tells which are the plugin's own, and names the line in the message.

Failures are told apart by their types. A lost GPU and a lack of memory are not the plugin's mistake: after the first
the process must end, while the second may not occur with the next image. Everything else is an ordinary failure.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

from harness.interrupts import SIGNALS, interrupt
from harness.messages import readable
from harness.structures import UserError

_HARNESS = Path(__file__).parents[1]
_THROUGH = str(Path(__file__).parent) + os.sep
_LIBRARIES = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib"))
_PASSING = re.compile(
    r" at 0x[0-9a-f]+|\b(?:pid|ip|actor_id|worker_id|node_id|task_id|job_id|namespace)\b ?[:=] ?[^\s,;)]+[,;]?"
    r"|(?<=\bprocess )\d+\b ?|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b",
    re.IGNORECASE,
)
"""Parts of messages that differ with each process or start: addresses of objects, ids of processes, IP addresses."""
_OUT_OF_MEMORY = 2
"""CUDA's number of the error (`cudaErrorMemoryAllocation`)."""

TEXT_MOST, REASON_MOST = 1000, 1200
"""The most characters kept of an exception's text, and of the whole reason in a failed row."""


class DeviceLost(BaseException):
    """The GPU failed under this process, which has to end.

    It is a BaseException so that no `except Exception` on its way turns it into failed rows.
    """


def is_device_lost(error: BaseException) -> bool:
    """Whether a GPU is of no more use to this process: after such an error CUDA answers every call with it.

    torch raises AcceleratorError for errors of CUDA itself. Errors of cuBLAS and similar libraries come as a plain
    RuntimeError, which is recognised by exactly this type and by how its text begins.
    """
    words = type(error) is RuntimeError and said_by(error).startswith("CUDA error")
    return words or isinstance(error, _of_torch("AcceleratorError"))


def lacks_memory(error: BaseException) -> bool:
    """Whether a GPU or the machine had too little memory.

    Python and numpy raise MemoryError. torch raises OutOfMemoryError, or AcceleratorError where CUDA itself finds no
    memory for its own needs. torch's allocator on the CPU raises a plain RuntimeError with its name in the text, so
    exactly this type counts. A plugin's own `ValueError("... out of memory slots")` is an error like any other.
    """
    if isinstance(error, _of_torch("AcceleratorError")):
        return getattr(error, "error_code", None) == _OUT_OF_MEMORY
    words = type(error) is RuntimeError and "DefaultCPUAllocator: " in said_by(error)
    return words or isinstance(error, (MemoryError, *_of_torch("OutOfMemoryError")))


def _of_torch(name: str) -> tuple[type[BaseException], ...]:
    """An exception type of torch; () if torch is not loaded, since then it cannot have raised anything."""
    found = getattr(sys.modules.get("torch"), name, None)
    return (found,) if found else ()


@contextmanager
def contained() -> Iterator[None]:
    """Turn exceptions by which a plugin would end the process (SystemExit, KeyboardInterrupt, ...) into ordinary ones.

    Exceptions that a signal raises stay as they are: Ctrl-C, and the exit by which SIGTERM ends a worker.

    A plugin may fork. The child ends as soon as it leaves the plugin's code, by a return or an exception: otherwise it
    would go on with the run as a second writer.
    """
    process = os.getpid()
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if isinstance(error, DeviceLost) or _by_signal(error):
            raise
        said = f"{_name(error)}: {said_by(error)}".removesuffix(": ")
        if isinstance(error, SystemExit):
            said = f"sys.exit({said_by(error, lambda one: repr(one.code))})"
        raise RuntimeError(said).with_traceback(error.__traceback__) from None
    finally:
        # Another process id here means that this is a forked child. `_exit` skips all `finally` blocks above, which
        # would release locks and delete files that are the parent's.
        if os.getpid() != process:
            os._exit(0)


def _by_signal(error: BaseException) -> bool:
    """Whether a signal's handler raised the exception; then the handler's frame is in the traceback.

    Python's own handler of Ctrl-C is written in C and leaves no frame. If it is in place, as in a notebook, every
    KeyboardInterrupt in the main thread, the only one in which handlers run, is taken for the user's.
    """
    handlers = [signal.getsignal(number) for number in SIGNALS]
    in_main = threading.current_thread() is threading.main_thread()
    if isinstance(error, KeyboardInterrupt) and in_main and signal.default_int_handler in handlers:
        return True
    codes = [getattr(handler, "__code__", None) for handler in (*handlers, interrupt)]
    return any(frame.f_code in codes for frame, _ in walk_tb(error.__traceback__))


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Turn an exception of a plugin's own code into a message that tells its author where it came from.

    Args:
        what: The message's start: `methods/ours.py cannot be imported`.

    Raises:
        UserError: In place of the exception. Errors by a lost GPU or by a lack of memory are raised as they are.
    """
    try:
        with contained():
            yield
    except UserError:
        raise
    except Exception as error:
        if is_device_lost(error) or lacks_memory(error):
            raise
        line = own_line(error)
        at = f" ({line[0]}, line {line[1]})" if line else ""
        hint = " Is its folder on PYTHONPATH?" if isinstance(error, ModuleNotFoundError) and not at else ""
        told = f"{_name(error)}: {said_by(error)}".removesuffix(": ")
        raise UserError(f"{what}. {told}{at}.{hint}") from error


def described(error: BaseException) -> str:
    """`KeyError: 'x' (mine.py, line 3)`: type, text and where a plugin raised it; on one line, the same each time."""
    text = said_by(error)
    return f"{_name(error)}{text and f': {text}'}{_place(error)}"


def said_by(error: BaseException, how: Callable[[Any], str] = str) -> str:
    """An exception's own text as `one_line`, or why it has none."""
    try:
        return one_line(how(error), TEXT_MOST)
    except BaseException as another:
        if isinstance(another, DeviceLost) or _by_signal(another):
            raise
        return f"(its text cannot be had: {_name(another)})"


def _name(error: BaseException) -> str:
    """The name of an exception's class, also where its metaclass hides it."""
    # `type(error).__name__` would ask the metaclass, which a plugin can write. `type`'s own descriptor reads the name
    # that the class was made with.
    name: str = type.__dict__["__name__"].__get__(type(error))
    return one_line(name)


def one_line(text: str, most: int = REASON_MOST) -> str:
    """The text on one line, cut to `most` characters and a note of its length, without what differs at each start."""
    # Cut before it is cleaned: a text of a gigabyte must not go through regular expressions. Four times as
    # much as is kept leaves room for what cleaning removes.
    cut = " ".join(text[: 4 * most].split())
    cut = _PASSING.sub("", readable(cut))
    whole = len(text) <= 4 * most and len(cut) <= most
    return cut.strip() if whole else f"{cut[:most].strip()} ... ({len(text):,} characters)"


def _place(error: BaseException) -> str:
    """The file and line at which a plugin's own code failed, for a message; "" if harness/ refused a value."""
    *_, raised = [Path(), *(Path(frame.f_code.co_filename) for frame, _ in walk_tb(error.__traceback__))]
    found = None if isinstance(error, ValueError) and raised.is_relative_to(_HARNESS) else own_line(error)
    return "" if found is None or found[0].is_relative_to(_HARNESS) else f" ({found[0].name}, line {found[1]})"


def own_line(error: BaseException) -> tuple[Path, int] | None:
    """The file and line at which a plugin's code raised: its last line before a library's or the harness' own."""
    # A traceback goes from the caller to where it was raised, such as
    #
    #    harness/evaluation/loop.py  ->  mine.py, line 12  ->  mine.py, line 40  ->  torch/nn/functional.py
    #
    # The author can change mine.py alone, and line 40 is the closest to the failure.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _imports(frame.filename)]
    written = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    own = [frame for frame in written if not Path(frame.filename).is_relative_to(_HARNESS)]
    at = (own or written or frames)[-1:]  # A click rule is in the harness' own folder.
    return next(((Path(frame.filename), frame.lineno or 0) for frame in at), None)


def _imports(filename: str) -> bool:
    """Whether a frame lies between the caller and a plugin: the registry's, the import system's, generated code."""
    return filename.startswith((_THROUGH, "<")) or "importlib" in filename
