"""Ends a command by one line and exit code 130 at Ctrl-C or a scheduler's SIGTERM, at any moment.

Until work begins nothing is lost by ending at once; an exception would come out of any import as an error of its own.
Once work has begun it ends in order: what is being computed is given up, to be redone, and locks are released. While
it does, a second SIGTERM changes nothing, for schedulers send several; a second Ctrl-C ends the process at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

EXIT_CODE = 130

interrupted = threading.Event()
"""Set once an interrupt has begun to end the work: what then fails in a thread left behind is not worth a word."""

INTERRUPTED = "Interrupted. What is done is kept: the same command goes on from here."
"""What an interrupt prints, where no command knows better."""


def answer_at_once() -> None:
    """From now on Ctrl-C and SIGTERM end this process at once; not where they are ignored, as in background jobs."""
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is default:
            signal.signal(number, _end)


def tell_apart() -> None:
    """From now on Ctrl-C raises its KeyboardInterrupt in a frame of its own: a plugin's comes from elsewhere."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


@contextmanager
def in_order(said: str = INTERRUPTED) -> Iterator[None]:
    """Work that an interrupt ends in order; `said` is the one line then."""
    interrupted.clear()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        print(said, file=sys.stderr)
        sys.exit(EXIT_CODE)
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is interrupt:  # After an interrupt the answers to another one stay.
                signal.signal(number, handler)


def aside(work: Callable[[], T]) -> Future[T]:
    """What `work` will return, in a thread that an interrupt leaves behind: it ends with the process."""
    ended: Future[T] = Future()

    def worked() -> None:
        try:
            ended.set_result(work())
        except BaseException as error:  # Whatever it is, the waiting thread gets it.
            ended.set_exception(error)

    threading.Thread(target=worked, daemon=True).start()
    return ended


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """The handler that raises the first interrupt, and no second one.

    Raises:
        KeyboardInterrupt: Always.
    """
    interrupted.set()
    if signal.getsignal(signal.SIGTERM) is interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if signal.getsignal(signal.SIGINT) is interrupt:
        signal.signal(signal.SIGINT, _end)
    raise KeyboardInterrupt


def _end(_signal: int, _frame: FrameType | None) -> None:
    os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(EXIT_CODE)
