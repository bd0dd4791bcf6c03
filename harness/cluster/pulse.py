"""Watches whether the run's Ray cluster is still there, so that a run whose cluster is lost ends with a clear message.

Ray itself says little. Without its head it stays silent for a minute and then ends the process; without the node that
this process is part of, workers seem to die one after the other and there seems to be no place for others.
"""

from __future__ import annotations

import socket
import time

import ray

from harness.cluster.connect import Node, alive, this_node
from harness.structures import UserError

LOOK_EVERY_S = 2.0
"""How often the cluster is looked at."""

RETURNS_S = 30.0
"""How long the head of a cluster that was joined may be silent: Kubernetes starts one anew within that time."""

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
        self.watched = not _silent(self.head)  # A client behind a gateway may not reach it at all.
        self.looked = time.monotonic()

    def check(self) -> None:
        """Look at the cluster, if that is due; wait for a head that is silent, as long as it may be.

        Call it before whatever else asks Ray: a call to a head that is gone blocks for a minute.

        Raises:
            ClusterLostError: It is gone.
        """
        if time.monotonic() - self.looked < LOOK_EVERY_S:
            return
        deadline = time.monotonic() + self.patience_s
        while self.watched and (reason := _silent(self.head)):
            if time.monotonic() >= deadline:
                waited = f" for {self.patience_s:g} s" if self.patience_s else ""
                raise lost(f"its head, {self.head}, does not answer{waited} ({reason})")
            time.sleep(1.0)
        if not alive(self.home):
            raise lost(f"the node that this process works on, {self.home}, is no longer part of it")
        self.looked = time.monotonic()


def lost(why: str) -> ClusterLostError:
    """The message that the cluster is gone."""
    return ClusterLostError(
        f"cluster: Ray was lost in the middle of the work: {why}. What is done is kept. Look for why it ended (lack of "
        "memory, a machine switched off, `ray stop`; logs in /tmp/ray), start it again if it was yours to start, and "
        "give the same command: it goes on from there."
    )


def _silent(address: str) -> str:
    """Why there is no answer at host:port; "" if there is one."""
    host, _, port = address.rpartition(":")
    try:
        # The kernel of a machine that runs answers or refuses at once, and only a machine that is gone takes all of the
        # time. A call through Ray would retry for a minute in either case.
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except (OSError, ValueError) as error:
        return str(error)
    return ""
