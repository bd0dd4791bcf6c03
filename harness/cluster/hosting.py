"""Objects in processes of a cluster, one a process, that can be called from here: the methods of `try`'s page.

An object is built in its process at its first call. If the process ends, by itself or with its node, Ray starts
another, which builds the object anew at the next call. The call that was under way fails with a message.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

from harness.cluster import capacity
from harness.cluster.capacity import Capacity
from harness.cluster.connect import connect, readable, this_node
from harness.config.method_entry import MethodEntry
from harness.config.parts import label
from harness.config.run_config import RunConfig
from harness.plugins.failures import DeviceLost, said_by
from harness.structures import UserError


class HostError(UserError):
    """A process of the cluster did not answer; the message gives the reason, and that the call can be repeated."""


class Guest:
    """The process's own side: builds the object, and calls it."""

    def __init__(self, build: Callable[..., Any], *given: Any) -> None:
        self.build, self.given = build, given
        self.built: Any = None

    def call(self, name: str, *given: Any) -> Any:
        """Call one of the object's functions."""
        try:
            if self.built is None:
                self.built = self.build(*self.given)
            return getattr(self.built, name)(*given)
        except DeviceLost:
            # After such an error every further CUDA call in this process fails. So the process ends, and Ray starts
            # another one, which can use the GPU again.
            os._exit(1)


class Host:
    """An object in a process of the cluster.

    Args:
        named: Its name in messages.
        asked: The resources of its process, as `Capacity.asked` gives them.
        build: Builds the object in the process. It travels as the name of its module and function.
        given: The arguments of `build`.
    """

    def __init__(self, named: str, asked: dict[str, float], build: Callable[..., Any], *given: Any) -> None:
        self.named, self.asked = named, asked
        others = {kind: amount for kind, amount in asked.items() if kind not in ("CPU", "GPU")}
        options = {"num_cpus": asked["CPU"], "num_gpus": asked["GPU"], "resources": others, "max_restarts": -1}
        self._actor = ray.remote(**options)(Guest).remote(build, *given)
        self.placing = self._actor.__ray_call__.remote(this_node)
        """A call that does no work: its answer shows that the process has started."""

    def call(self, name: str, *given: Any) -> Future[Any]:
        """Call one of the object's functions; the future gives what the function returns or raises.

        Raises:
            UserError: From the future: the object cannot be built, for a reason that the reader can mend.
            HostError: From the future: the process ended, or the function failed.
        """
        answer: Future[Any] = Future()
        answer.set_running_or_notify_cancel()
        self._actor.call.remote(name, *given).future().add_done_callback(lambda done: self._tell(done, answer))
        return answer

    def end(self) -> None:
        """End its process, or give up the place that it waits for."""
        ray.kill(self._actor)

    def _tell(self, done: Future[Any], answer: Future[Any]) -> None:
        try:
            answer.set_result(done.result())
        except RayTaskError as error:
            mendable = isinstance(error.cause, UserError)
            said = f"'{self.named}': {said_by(error.cause)}"
            answer.set_exception(UserError(said) if mendable else HostError(said))
        except Exception as error:
            why = "is starting again" if isinstance(error, ActorUnavailableError) else f"ended ({said_by(error)[:300]})"
            answer.set_exception(HostError(f"'{self.named}': its process in the cluster {why}. Ask again in a moment."))


def stored(value: Any) -> Any:
    """Put something large into the cluster once; calls get the returned reference in its place."""
    return ray.put(value)


def hosted(
    config: RunConfig, entries: Sequence[MethodEntry], address: str | None, build: Callable[..., Any]
) -> dict[str, Host]:
    """A process for each method, with the GPUs of the config; by default with one if the cluster has any.

    Args:
        config: The config of the methods.
        entries: The methods to host.
        address: The address of a Ray cluster; None starts one on this machine, or joins that of RAY_ADDRESS.
        build: Builds the object that a process hosts, from the config and a list of the one label.

    Raises:
        UserError: The cluster cannot be joined, or has no room for all of them at once, or others hold that room.
    """
    connect(address)
    room = Capacity(config.workers)
    held: list[dict[str, float]] = []
    for entry in entries:
        room.check(entry)
        asked = room.asked(entry)
        if not room.holds(asked, held):
            raise UserError(
                f"cluster: '{label(entry)}' asks for {readable(asked)} beside {len(held)} other methods; the cluster "
                f"has {readable(room.total)} for all of them at once. Leave some out (--method), let them share "
                "GPUs (`gpus: 0.5`) or CPUs (`cpus: 0.5`), or join a larger one."
            )
        held.append(asked)
    hosts = [
        Host(label(entry), asked, build, config, [label(entry)]) for entry, asked in zip(entries, held, strict=True)
    ]
    _wait_for_places(hosts, room)
    return {host.named: host for host in hosts}


def _wait_for_places(hosts: Sequence[Host], room: Capacity) -> None:
    """Wait until all processes have started, as long as they start one after the other.

    Raises:
        UserError: None of those that are left starts: others hold the room, or one fits on no node beside the others.
            Or one cannot start.
    """
    waiting = {host.placing: host for host in hosts}
    while waiting:
        started, _ = ray.wait(list(waiting), timeout=capacity.PLACE_TIMEOUT_S)
        if not started:
            host = next(iter(waiting.values()))
            for one in hosts:
                one.end()
            raise room.none_free(
                f"no process for '{host.named}', which asks for {readable(host.asked)}, could be started"
            )
        for call in started:
            with suppress(RayError):  # If it died, Ray starts another one.
                capacity.started(call, f"'{waiting[call].named}'")
            del waiting[call]
