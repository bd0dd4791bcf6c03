"""What a method is asked for together is tried alone where it fails, so that what fails fails alone."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any, TypeVar

from harness.messages import own_line
from harness.plugins.interfaces import Group, Method
from harness.structures import Prediction

T = TypeVar("T")

_HARNESS = Path(__file__).parents[1]
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class DeviceLost(BaseException):
    """The GPU failed under this process, which has to end: no `except Exception` may make failed rows of it."""


def attempted(function: Callable[[list[Any]], list[Any]], items: list[Any]) -> list[Any]:
    """What the function returns for the items together; if that fails, for each alone, exceptions in place."""
    if not items:
        return []
    try:
        with no_exit():
            results = function(items)
        if len(results) == len(items):
            return list(results)
        failure: Exception = ValueError(f"returned {len(results)} results; wanted {len(items)}.")
    except Exception as error:
        if is_device_lost(error):
            raise DeviceLost(described(error)) from error
        failure = error
    if len(items) == 1:
        return [failure]
    return [result for item in items for result in attempted(function, [item])]


def segmented(method: Method, groups: Sequence[Group]) -> list[list[Prediction | Exception]]:
    """One answer or exception a prompt: all groups at once; if that fails, each image alone, then each prompt alone."""
    answers: list[list[Prediction | Exception]] = []
    for (state, prompts), answer in zip(groups, attempted(method.segment, list(groups)), strict=True):
        if isinstance(answer, Sequence) and len(answer) == len(prompts):
            answers.append(list(answer))
            continue
        alone = attempted(method.segment, [(state, [prompt]) for prompt in prompts])
        answers.append([_only(one) for one in alone])
    return answers


def is_device_lost(error: Exception) -> bool:
    """Whether a GPU can do nothing more in this process: every CUDA error is final but for a lack of memory."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)


def _only(answer: Any) -> Prediction | Exception:
    """The one prediction that answers one prompt."""
    if isinstance(answer, Exception):
        return answer
    if isinstance(answer, Sequence) and len(answer) == 1:
        return answer[0]
    found = f"{len(answer)} predictions" if isinstance(answer, Sequence) else type(answer).__name__
    return ValueError(f"segment answered one prompt with {found}; wanted one prediction.")


def timed(function: Callable[[], T]) -> tuple[T, float]:
    """What the function returns, and the milliseconds it took."""
    start = time.perf_counter()
    result = function()
    return result, (time.perf_counter() - start) * 1000


@contextmanager
def no_exit() -> Iterator[None]:
    """Make an exception like others of a plugin's `sys.exit`, but not of the one by which SIGTERM ends a worker."""
    try:
        yield
    except SystemExit as error:
        by_signal = getattr(signal.getsignal(signal.SIGTERM), "__code__", None)
        if any(frame.f_code is by_signal for frame, _ in walk_tb(error.__traceback__)):
            raise
        raise RuntimeError(f"sys.exit({error.code!r})").with_traceback(error.__traceback__) from None


def described(error: BaseException) -> str:
    """`KeyError: 'x' (mine.py, line 3)`: type, text and where a plugin raised it; on one line, the same each time."""
    text = _ADDRESS.sub("", " ".join(str(error).split()))
    return f"{type(error).__name__}{text and f': {text}'}{_place(error)}"


def _place(error: BaseException) -> str:
    """A plugin's line rather than a library's; nothing where harness/ refused a value."""
    *_, raised = [Path(), *(Path(frame.f_code.co_filename) for frame, _ in walk_tb(error.__traceback__))]
    found = None if isinstance(error, ValueError) and raised.is_relative_to(_HARNESS) else own_line(error)
    return "" if found is None or found[0].is_relative_to(_HARNESS) else f" ({found[0].name}, line {found[1]})"
