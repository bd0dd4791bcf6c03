"""Messages of a training that replace tracebacks: which learner failed, in which file and line, what to lower."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.plugins.failures import lacks_memory
from harness.plugins.interfaces import Learner
from harness.structures import UserError


def named(learner: Learner) -> str:
    """The name of a learner in messages."""
    return f"learner '{getattr(learner, 'name', '') or type(learner).__name__}'"


def defined(function: Callable[..., Any]) -> str:
    """The file and line of a plugin's function, in parentheses; "" if Python does not know them."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" ({code.co_filename}, line {code.co_firstlineno})" if code else ""


def damaged(file: object, error: Exception, delete: str = "it") -> UserError:
    """The message about a state that cannot be read."""
    return UserError(
        f"{file}: found a damaged file ({type(error).__name__}); delete {delete} to train again from the start."
    )


@contextmanager
def memory_blamed(device: str) -> Iterator[None]:
    """Turn a lack of memory into a message that names the settings to lower.

    Args:
        device: The recipe's device.

    Raises:
        UserError: In place of the exception of torch or Python.
    """
    try:
        yield
    except Exception as error:
        found = next((one for one in (error, error.__cause__) if one and lacks_memory(one)), None)
        if found is None:
            raise
        # Python and numpy raise MemoryError, and torch's CPU allocator a bare RuntimeError; for a GPU torch has types
        # of its own.
        on_cpu = isinstance(found, MemoryError) or type(found) is RuntimeError
        where = "the CPU" if on_cpu else "cuda" if device == "auto" else device
        said = ". ".join(str(found).partition("\n")[0].split(". ")[:3]).rstrip(".") or type(found).__name__
        raise UserError(
            f"training: out of memory on {where} ({said}). Lower `batch`, or raise `accumulate`."
        ) from error
