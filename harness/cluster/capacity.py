"""The resources of a Ray cluster, and those that a method's actor needs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RuntimeEnvSetupError

from harness.cluster.actor import Actor
from harness.cluster.connect import connect, readable, this_node
from harness.config.method_entry import MethodEntry
from harness.config.parts import label
from harness.config.run_config import RunConfig, Workers
from harness.structures import UserError

PLACE_TIMEOUT_S = 60
"""The longest time in which the cluster may start a run's first actor, its process included; then the run gives up.

A longer time would not help: Ray kills a process that does not report within this time, and starts another.
"""

LOOK_EVERY_S = 2.0
"""The time between two reads of the list of nodes, since nodes come and go."""


class Capacity:
    """The nodes of the cluster that this process has joined, read again every few seconds.

    Args:
        workers: The config's `workers:`, the needs of an actor unless its method has others.
        ask: Makes a call to the cluster's head; `Pulse.ask` if the head is watched.
    """

    def __init__(self, workers: Workers, ask: Callable[[Callable[[], Any]], Any] = lambda call: call()) -> None:
        self.workers, self._ask = workers, ask
        self._nodes: list[dict[str, float]] = []
        self._looked = -LOOK_EVERY_S

    @property
    def nodes(self) -> list[dict[str, float]]:
        """For every living node: resource, by Ray's name -> amount."""
        if time.monotonic() - self._looked >= LOOK_EVERY_S:
            self._nodes = [node["Resources"] for node in self._ask(ray.nodes) if node["Alive"]]
            self._looked = time.monotonic()
        return self._nodes

    @property
    def total(self) -> dict[str, float]:
        """The resources of all nodes together: resource, by Ray's name -> amount."""
        kinds = {kind for node in self.nodes for kind in node}
        return {kind: sum(node.get(kind, 0) for node in self.nodes) for kind in kinds}

    def asked(self, method: MethodEntry) -> dict[str, float]:
        """The resources that one actor of a method needs: resource, by Ray's name -> amount."""
        return {"CPU": method.cpus or self.workers.cpus, "GPU": self._gpus(method), **method.resources}

    def _gpus(self, method: MethodEntry) -> float:
        """The GPUs of a method's worker: by its entry, else by the config, else 1 if the cluster has any GPU."""
        for wanted in (method.gpus, self.workers.gpus):
            if wanted is not None:
                return wanted
        return float(self.total.get("GPU", 0) >= 1)

    def holds(self, more: Mapping[str, float], held: Iterable[Mapping[str, float]]) -> bool:
        """Whether there is room for one more actor beside those that hold resources already."""
        # All nodes are summed up, although an actor must fit on one: two nodes with half a GPU free each count as one
        # GPU here. An actor that fits on no single node then waits in PLACING, which does no harm while others work.
        taken, total = list(held), self.total
        return all(
            amount + sum(one.get(kind, 0) for one in taken) <= total.get(kind, 0) for kind, amount in more.items()
        )

    def check(self, method: MethodEntry) -> None:
        """Refuse a method whose actor fits on no node of the cluster.

        Raises:
            UserError: No node has room; the message names the actor's needs and the nodes' resources.
        """
        asked = self.asked(method)
        if not any(all(node.get(kind, 0) >= wanted for kind, wanted in asked.items()) for node in self.nodes):
            raise UserError(
                f"cluster: a worker of '{label(method)}' asks for {readable(asked)}; the cluster has "
                f"{readable(self.total)}, but no single node has enough. Lower `cpus`, `gpus` or `resources`, or "
                "join a larger one (--address)."
            )

    def places(self, method: MethodEntry) -> int:
        """How many actors of a method fit on the nodes at once, and its `count` and the run's allow."""
        asked = {kind: amount for kind, amount in self.asked(method).items() if amount}
        # An actor must fit on one node: two nodes of 3 CPUs have room for two actors of 2 CPUs, not for three.
        fit = sum(min(int(node.get(kind, 0) / amount + 1e-9) for kind, amount in asked.items()) for node in self.nodes)
        return min([fit, *(limit for limit in (method.count, self.workers.count) if limit)])

    def none_left(self, method: MethodEntry) -> UserError:
        """The error where the nodes that a method's workers fit on are gone and did not come back in time."""
        return UserError(
            f"cluster: a worker of '{label(method)}' asks for {readable(self.asked(method))}. The nodes with room "
            f"for it are gone, and no other came within {PLACE_TIMEOUT_S} s. The cluster has {readable(self.total)}. "
            "What is done is kept: bring the nodes back and give the same command."
        )

    def none_free(self, wanted: str) -> UserError:
        """The error where no worker got its place in time."""
        free = readable(self._ask(ray.available_resources))
        return UserError(
            f"cluster: {wanted} within {PLACE_TIMEOUT_S} s. The cluster has {readable(self.total)}; free are {free}. "
            "If others hold the rest, wait for them or lower `workers`. If nobody does, processes start too slowly "
            "there, for example from a slow network disk: give the command again, or see Ray's logs in /tmp/ray."
        )


def at_once(config: RunConfig, address: str | None) -> int:
    """How many workers of a run work at once: those of the method with the fewest places, and at least one.

    Raises:
        UserError: The cluster cannot be joined.
    """
    connect(address)
    capacity = Capacity(config.workers)
    return max(1, min(capacity.places(method) for method in config.methods))


class StartError(UserError):
    """A process could not import the harness, or its node could not hold a copy of the checkout.

    Attributes:
        node: The node's IP address; None if Ray does not tell it.
    """

    def __init__(self, said: str, node: str | None) -> None:
        super().__init__(said)
        self.node = node


def started(call: Any, named: str) -> Any:
    """The answer to the first call of a process, which needs nothing but the process.

    Args:
        call: The call.
        named: What the process is for, in messages: "'sam'".

    Raises:
        StartError: The process cannot start; most often the next one on its node could not either.
        RayError: It died, or was killed.
    """
    try:
        return ray.get(call)
    except (RayActorError, RuntimeEnvSetupError) as error:
        if isinstance(error, RayActorError) and "creation task" not in str(error):
            raise
        raise not_started(named, str(error)) from None


def not_started(named: str, said: str) -> StartError:
    """The error of a process that could not start, from Ray's text on it.

    Args:
        named: What the process is for, in messages.
        said: Ray's text.
    """
    # The cause is the last line; "(pid=7, ip=10.0.0.7, ...)" or "[Node 10.0.0.7]" stand before the traceback.
    node = re.search(r"(?:\bip=|\[Node )([^],)\s]+)", said)
    return StartError(
        f"cluster: a process for {named} cannot start{f' on node {node[1]}' if node else ''}: "
        f"{said.strip().splitlines()[-1].strip()}. Wanted Python with the packages of constraints.txt on every "
        "node, and room for a copy of the checkout in Ray's folder there (docs/clusters.md).",
        node and node[1],
    )


def resources(config: RunConfig, address: str | None) -> dict[str, float]:
    """The resources of the cluster, once a worker's process has answered.

    Raises:
        UserError: A method's worker does not fit, or none answers or can start.
    """
    connect(address)
    capacity = Capacity(config.workers)
    for method in config.methods:
        capacity.check(method)
    actor = ray.remote(num_cpus=config.workers.cpus)(Actor).remote()
    answer = actor.__ray_call__.remote(this_node)
    try:
        if not ray.wait([answer], timeout=PLACE_TIMEOUT_S)[0]:
            raise capacity.none_free("no process started")
        started(answer, "a worker")
    except RayError as error:
        raise UserError(
            f"cluster: a process for a worker died as it started ({' '.join(str(error).split())})."
        ) from None
    finally:
        ray.kill(actor)
    return capacity.total
