"""Ends a command by one line and exit code 130 at Ctrl-C, a scheduler's SIGTERM or the end of its terminal.

Until work begins the process ends at once. Nothing is lost by that, while an exception in the middle of an import would
come out as another error. Once work has begun it ends in order: unfinished results are given up, to be computed again,
and locks are released. Meanwhile a second SIGTERM changes nothing, for schedulers send several, nor does the SIGHUP of
a terminal that is closed; a second Ctrl-C ends the process at once.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

EXIT_CODE = 130

interrupted = threading.Event()
"""Set once an interrupt has begun to end the work: later failures in threads left behind are then not reported."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

INTERRUPTED = "Interrupted. What is done is kept: the same command goes on from here."
"""The message that an interrupt prints if the command has none of its own."""


def answer_at_once() -> None:
    """From now on these signals end this process at once; not one that is ignored, as nohup and background jobs do."""
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, _end)
    atexit.register(_answer_no_more)  # It is called last, for what is registered later is called before.


def tell_apart() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt in a handler of ours, so that a plugin's own can be told apart."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


@contextmanager
def in_order(said: str = INTERRUPTED, leaves_threads: bool = False) -> Iterator[None]:
    """Run a block of work that an interrupt ends in order; `said` is the line that is then printed.

    Python waits for threads of a pool as it exits. With `leaves_threads` the process ends without them.
    """
    interrupted.clear()
    try:
        with _answered_by(interrupt, SIGNALS):
            yield
    except KeyboardInterrupt:
        # Python ends by a signal, not by an exit code, if the interrupt came in code that it compiled from a text, such
        # as a dataclass's. The next text that it runs makes it forget that.
        exec("")
        _ignore_in_commands()
        print(said, file=sys.stderr, flush=True)
        if leaves_threads:
            os._exit(EXIT_CODE)
        sys.exit(EXIT_CODE)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run a last block that neither a scheduler's SIGTERM nor the end of the terminal cuts short; Ctrl-C still does.

    Commands that the block starts answer these signals as usual: a handler is not inherited, as SIG_IGN would be.
    """
    with _answered_by(_pass_over, (signal.SIGTERM, signal.SIGHUP)):
        yield


@contextmanager
def put_off() -> Iterator[None]:
    """Put an interrupt off until a block ends that an exception in its middle would break."""
    heard: list[int] = []
    try:
        with _answered_by(lambda number, _: heard.append(number), SIGNALS):
            yield
    finally:
        for number in heard[:1]:
            os.kill(os.getpid(), number)


@contextmanager
def _answered_by(handler: Callable[[int, FrameType | None], None], numbers: Sequence[signal.Signals]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, earlier in before.items():
            if earlier is not signal.SIG_IGN:
                signal.signal(number, handler)
        yield
    finally:
        for number, earlier in before.items():
            if signal.getsignal(number) is handler:  # After an interrupt the answers to another one stay.
                signal.signal(number, earlier)


def heed() -> None:
    """Raise an interrupt again that a library has swallowed, as a bare `except:` does.

    Raises:
        KeyboardInterrupt: There was one.
    """
    if interrupted.is_set() and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def aside(work: Callable[[], T]) -> Future[T]:
    """Start `work` in a thread, and return the future of its result; an interrupt leaves the thread behind.

    The thread is a daemon, so it ends with the process.
    """
    ended: Future[T] = Future()

    def worked() -> None:
        try:
            ended.set_result(work())
        except BaseException as error:  # Any exception is passed on to the waiting thread.
            ended.set_exception(error)

    threading.Thread(target=worked, daemon=True).start()
    return ended


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """The handler that raises the first interrupt, and no second one.

    Raises:
        KeyboardInterrupt: Always.
    """
    interrupted.set()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is interrupt:
            signal.signal(number, _pass_over)  # SIG_IGN prints an error if one has come already.
    if signal.getsignal(signal.SIGINT) is interrupt:
        signal.signal(signal.SIGINT, _end)
    raise KeyboardInterrupt


def _ignore_in_commands() -> None:
    """Let commands that are started from here on ignore what this process passes over: the second signal to a group."""
    for number in SIGNALS:
        if signal.getsignal(number) is _pass_over:
            signal.signal(number, signal.SIG_IGN)


def _answer_no_more() -> None:
    """Keep the exit code from here on: as Python ends it takes its handlers away, and a signal would kill it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _pass_over(_signal: int, _frame: FrameType | None) -> None:
    """The handler that does nothing."""


def _end(_signal: int, _frame: FrameType | None) -> None:
    with suppress(OSError):  # The terminal may be closed.
        os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(EXIT_CODE)
