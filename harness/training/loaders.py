"""A training's next steps, made ahead by processes of their own.

Threads in the training's own process would share Python's lock with it: each of the thousand kernel launches of a step
on a GPU would wait for the lock. On one H100 twelve such threads cost 40 % of the speed (docs/performance.md).

Each process makes whole steps in turn and has up to `STEPS_AHEAD` of them to do; the training takes them in order. With
two processes:

    process 0   step 0   step 2   step 4 ...       step % 2 decides which process makes a step: if a step is needed
    process 1     step 1   step 3   step 5 ...     again, the process that has its images in memory makes it
    training          0 1 2 3 4 5 ...

A process makes whole steps, not single examples, so that a learner can prepare a step's images together. Within a
process, threads make the examples: decoding and resizing release Python's lock, and threads share the decoded images,
of which each process would need a copy. Batches come back through shared memory (/dev/shm): torch puts a tensor that
goes from process to process there, and only its name goes through the pipe.
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
"""The most threads of a process; more would wait for each other."""

STEPS_AHEAD = 2
"""How many steps a process has at once: the one that it makes, and the next one, so that it never waits for work."""

Make = Callable[[int, int], Batches]
"""(processes that share the worker's memory, threads of each) -> the worker's batches; it must be picklable."""

_make: Callable[[], Batches]
"""Builds the batches; set in a loader's process only."""


class LoaderDiedError(UserError):
    """A loader's process ended before its work, or found no memory for it; on Ray another start may do better."""


class Loaders:
    """Processes that make a worker's batches ahead of the training, each of them some of the steps.

    Args:
        make: Builds the batches, once in each process.
        count: The threads of all processes together.
        pinned: Whether batches are copied into page-locked memory, from which a GPU can copy while it computes.
    """

    def __init__(self, make: Make, count: int, pinned: bool) -> None:
        processes = -(-count // THREADS)
        spawn = get_context("spawn")  # A forked process could not use the GPU.
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
        try:  # `submit` is inside, too: a broken pool already raises there.
            # Steps are requested `ahead` of the one that is yielded. With two processes, 4 ahead, from step 0:
            #
            #    0 1 2 3        requested; nothing is yielded yet
            #    4              requested; 0 is yielded, as soon as it is made
            #    5              requested; 1 is yielded, ...
            #    end to end+3   nothing more to request; the last four are yielded
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
        """Wait until all requested steps are made."""
        # Each pool has one process, which does its tasks in turn: once this empty task is done, all before it are, too.
        for asked in [pool.submit(int) for pool in self.pools]:
            asked.result()

    def close(self) -> None:
        """End the processes at once, even in the middle of an example."""
        self.end.close()
        for pool in self.pools:
            pool.shutdown(wait=False, cancel_futures=True)
        self.taking.shutdown(wait=False, cancel_futures=True)


def _why(error: BrokenProcessPool) -> str:
    """The reason that Python gives; "" if the process was killed."""
    lines = str(error.__cause__ or "").strip(" \n\"'").splitlines()
    return f" (here: {lines[-1]})" if lines else ""


def _begin(make: Make, processes: int, threads: int, ended: connection.Connection) -> None:
    """Set up a new process. It ignores Ctrl-C and a closed terminal, which reach it, too: the training decides."""
    global _make
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _make = lambda: make(processes, threads)  # noqa: E731
    # Each thread makes an example by itself. OpenCV and torch would start threads of their own for each of them, as
    # many as the machine has cores.
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, args=[ended], daemon=True).start()


def _end_with_parent(ended: connection.Connection) -> None:
    """End this process when the training closes its end of the pipe or is killed; otherwise it would run for ever."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel, ended])
    os._exit(1)


@cache
def _batches() -> Batches:
    """The process's batches, built at its first step, so that an error comes back as that step's result."""
    return _make()


def _at(step: int) -> list[Batch]:
    return _batches().at(step)
