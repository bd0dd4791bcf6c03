"""A training's next steps, made ahead by processes of their own.

Threads of the training's process would share Python's lock with it: each of the thousand kernels of a step on a GPU
then waits its turn. On one H100 twelve such threads cost 40 % of the speed (docs/performance.md).

Each process makes whole steps in turn, and has up to `STEPS_AHEAD` of them to do; the training takes them in order.
With two processes:

    process 0   step 0   step 2   step 4 ...       step % 2 decides who makes a step: asked for once more,
    process 1     step 1   step 3   step 5 ...     it is made by the process that has its images in memory
    training          0 1 2 3 4 5 ...

A whole step to one process, and not one example to each, is what lets a learner prepare a step's images together. A
process makes the step with threads of its own: decoding and resizing release Python's lock, and threads share the
decoded images, which processes would each keep a copy of. Batches come back through shared memory (/dev/shm), where
torch puts a tensor that crosses a process's border: only its name goes through the pipe.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import connection, get_context, parent_process

import cv2
import torch

from harness.structures import UserError
from harness.training.batches import Batch, Batches

THREADS = 4
"""The threads of a process, at most: more of them would wait for each other."""

STEPS_AHEAD = 2
"""The steps that a process has to do at once: the one that it is at, and one that it need not wait for."""

Make = Callable[[int, int], Batches]
"""A worker's batches, given how many processes share its memory and how many threads each has; to be pickled."""

_make: Callable[[], Batches]
"""Set in a loader's process alone: builds its batches."""


class LoaderDiedError(UserError):
    """A loader's process ended before its work, or found no memory for it; on Ray another start may do better."""


class Loaders:
    """Processes that make a worker's batches ahead of the training, each of them some of the steps.

    Args:
        make: Builds the batches, once in each process.
        count: The threads of all processes together.
        pinned: Whether batches lie in memory from which a GPU copies while it computes.
    """

    def __init__(self, make: Make, count: int, pinned: bool) -> None:
        processes = -(-count // THREADS)
        spawn = get_context("spawn")  # A fork cannot use the GPU.
        ended, self.end = spawn.Pipe(duplex=False)
        # 10 threads are three processes, of 4, 3 and 3.
        threads = [count // processes + (number < count % processes) for number in range(processes)]
        self.pools = [ProcessPoolExecutor(1, spawn, _begin, (make, processes, own, ended)) for own in threads]
        self.taking = ThreadPoolExecutor(1, "taking")
        self.pinned = pinned

    def steps(self, first: int, end: int) -> Iterator[list[Batch]]:
        """The batches of every step from `first` to before `end`; a step is always made by the same process.

        Raises:
            UserError: For the same reasons as `Batches.at`.
            LoaderDiedError: One of the processes is gone, or finds no memory to hand its examples over.
        """
        ahead = STEPS_AHEAD * len(self.pools)
        coming: deque[Future[list[Batch]]] = deque()
        try:  # A broken pool raises as it is given a step, too.
            # Steps are asked for `ahead` of where they are handed out. With two processes, 4 ahead, from step 0:
            #
            #    0 1 2 3        asked for; nothing is handed out yet
            #    4              asked for; 0 is handed out, as soon as it is made
            #    5              asked for; 1 ...
            #    end to end+3   nothing more to ask for; the last four are handed out
            for step in range(first, end + ahead):
                if step < end:
                    made = self.pools[step % len(self.pools)].submit(_at, step)
                    coming.append(self.taking.submit(self._taken, made))
                if step >= first + ahead:
                    yield coming.popleft().result()
        except BrokenProcessPool as error:
            raise LoaderDiedError(
                f"training: a loader's process died, most often for lack of memory{_why(error)}. Lower `loaders`, or "
                "give the machine more; the same command goes on."
            ) from error
        except RuntimeError as error:
            if "shared memory" not in str(error):  # torch has no type for it.
                raise
            raise LoaderDiedError(
                f"training: a loader found no room in /dev/shm ({error}). Lower `loaders`, or give it more; the same "
                "command goes on."
            ) from error

    def _taken(self, made: Future[list[Batch]]) -> list[Batch]:
        batches = made.result()
        return [{key: value.pin_memory() for key, value in one.items()} for one in batches] if self.pinned else batches

    def settle(self) -> None:
        """Wait until all that was asked for is made."""
        # Each pool has one process, which does its tasks in turn: once this empty task is done, so are all before it.
        for asked in [pool.submit(int) for pool in self.pools]:
            asked.result()

    def close(self) -> None:
        """End the processes at once, even in the middle of an example."""
        self.end.close()
        for pool in self.pools:
            pool.shutdown(wait=False, cancel_futures=True)
        self.taking.shutdown(wait=False, cancel_futures=True)


def _why(error: BrokenProcessPool) -> str:
    """What Python knows of the reason: nothing where a process was killed."""
    lines = str(error.__cause__ or "").strip(" \n\"'").splitlines()
    return f" (here: {lines[-1]})" if lines else ""


def _begin(make: Make, processes: int, threads: int, ended: connection.Connection) -> None:
    """Set up a new process. Ctrl-C reaches it, too, but the training decides when it ends."""
    global _make
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _make = lambda: make(processes, threads)  # noqa: E731
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, args=[ended], daemon=True).start()


def _end_with_parent(ended: connection.Connection) -> None:
    """End this process when the training closes its end of the pipe or is killed; else it would stay for ever."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel, ended])
    os._exit(1)


@cache
def _batches() -> Batches:
    """Built at the first step, so that what goes wrong comes back as its result."""
    return _make()


def _at(step: int) -> list[Batch]:
    return _batches().at(step)
