"""Checks that the run's Ray cluster is still there, so that a run whose cluster is lost ends with a clear message.

Ray itself reports little. If its head is gone, it hangs for a minute and then ends the process. If the node of this
process is gone, workers seem to die one after the other, and new ones find no place.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import TypeVar

import ray

from harness.cluster.connect import Node, alive, this_node
from harness.interrupts import aside
from harness.structures import UserError

T = TypeVar("T")

LOOK_EVERY_S = 2.0
"""The least time between two checks."""

RETURNS_S = 30.0
"""The longest silence of the head of a cluster that was joined: Kubernetes starts a new one within that time."""

_KNOCK_S = 5.0


class ClusterLostError(UserError):
    """The cluster is gone; a call to it would only block."""


class Pulse:
    """The cluster that this process has joined.

    Args:
        own: Whether this process started it; then its head does not come back.
    """

    def __init__(self, own: bool) -> None:
        self.home: Node = this_node(None)
        self.patience_s = 0.0 if own else RETURNS_S
        self.head: str = ray.get_runtime_context().gcs_address
        # A client behind a gateway cannot reach the head's port although the cluster is fine: then it is not checked.
        self.watched = not _silent(self.head)
        self.looked = time.monotonic()

    def check(self) -> None:
        """Check the cluster, if that is due; wait for a silent head as long as it may be silent.

        Call this before any other call to Ray: with the head gone, such a call blocks for a minute.

        Raises:
            ClusterLostError: It is gone.
        """
        if time.monotonic() - self.looked < LOOK_EVERY_S:
            return
        self._check_head()
        if not self.ask(lambda: alive(self.home)):
            raise lost(f"the node of this process, {self.home}, is no longer part of the cluster")
        self.looked = time.monotonic()

    def ask(self, call: Callable[[], T]) -> T:
        """Make a call to the cluster's head; returns its result, or raises what it raises.

        The head may be lost while it answers. The call would then block until Ray ends this process. So it is made in a
        thread, and the head is looked at meanwhile.

        Raises:
            ClusterLostError: The head is gone; the thread is left behind.
        """
        return meanwhile(call, self._check_head)

    def _check_head(self) -> None:
        deadline = time.monotonic() + self.patience_s
        while self.watched and (reason := _silent(self.head)):
            if time.monotonic() >= deadline:
                waited = f" for {self.patience_s:g} s" if self.patience_s else ""
                raise lost(f"its head, {self.head}, does not answer{waited} ({reason})")
            time.sleep(1.0)


def meanwhile(call: Callable[[], T], look: Callable[[], None]) -> T:
    """Make a call in a thread and `look` every few seconds until it ends; returns its result, or raises what it raises.

    An exception of `look` ends the wait; the thread is left behind.
    """
    coming = aside(call)
    while not wait([coming], timeout=LOOK_EVERY_S).done:
        look()
    return coming.result()


def lost(why: str) -> ClusterLostError:
    """The message that the cluster is gone."""
    return ClusterLostError(
        f"cluster: Ray was lost in the middle of the work: {why}. What is done is kept. Look for why it ended (lack of "
        "memory, a machine switched off, `ray stop`; logs in /tmp/ray), start it again if it was yours to start, and "
        "give the same command: it goes on from there."
    )


def _silent(address: str) -> str:
    """The reason why there is no answer at host:port; "" if there is one."""
    host, _, port = address.rpartition(":")
    try:
        # If the machine runs, its kernel accepts or refuses at once; only if the machine is gone does this take the
        # whole timeout. A call through Ray would retry for a minute in both cases.
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except (OSError, ValueError) as error:
        return str(error)
    return ""
