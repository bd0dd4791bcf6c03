"""Shards on Ray: long-lived actors, one method loaded in each, that take work from one queue.

The only file that imports ray. Shards carry ids, never pixels; actors write their own files, so the driver holds no
results. When a method's work is done its actors go, and another method's start on what they leave free.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayActorError

from harness import registry
from harness.config import MethodEntry, Workers
from harness.evaluate import failed
from harness.interfaces import Dataset
from harness.plan import Shard
from harness.store import Store
from harness.structures import UserError
from harness.worker import Outcome, Worker, outcome

START_TIMEOUT_S = 120
"""How long the first answer of a new actor may take, its weights loaded, before the run gives up."""

IN_FLIGHT = 2
"""Shards an actor has at once, so that it never waits for the driver."""

_EXCLUDED = ["/.git", "/.venv", "/data", "/weights", "/runs", "/tests", "/docs", "**/__pycache__", "/.mypy_cache"]


@dataclass(eq=False)
class Slot:
    """An actor and what it is at.

    Attributes:
        method: The label of the method it has loaded.
        calls: Call -> shard, oldest first.
        ready: The call that loads the weights; None once it has answered.
        started: When that call was made, monotonic seconds.
    """

    actor: Any
    method: str
    ready: Any
    started: float
    calls: dict[Any, Shard] = field(default_factory=dict)


class Cluster:
    """A Ray cluster, this machine's own or one to join, and the actors of one run on it.

    Args:
        workers: How many actors, and what each needs.
        store: Where actors write.
        address: Of a running cluster; None starts one on this machine.
    """

    def __init__(self, workers: Workers, store: Store, address: str | None = None) -> None:
        self.workers, self.store = workers, store
        connect(address)
        self.resources = ray.cluster_resources()
        self.gpus = self._gpus_each()
        self.count = self._actor_count()
        self.slots: list[Slot] = []
        self.queues: dict[str, deque[Shard]] = {}

    def run(self, shards: Sequence[Shard]) -> Iterator[Outcome]:
        """Evaluate all shards; outcomes come as they are done.

        Raises:
            UserError: Raised by a worker, or an actor that cannot be started.
        """
        for shard in shards:
            self.queues.setdefault(shard.job.facts.method, deque()).append(shard)
        try:
            while self._staff() or self.slots:
                yield from self._collect()
        finally:
            self.close()

    def close(self) -> None:
        """Let all actors go; what they were at is lost, what they wrote is kept."""
        for slot in self.slots:
            ray.kill(slot.actor)
        self.slots.clear()

    def _staff(self) -> bool:
        """Let idle actors go, start actors for the methods that have work left, and hand out that work.

        Returns:
            Whether any work is waiting.
        """
        for slot in [slot for slot in self.slots if not slot.calls and not self.queues[slot.method]]:
            ray.kill(slot.actor)
            self.slots.remove(slot)
        while len(self.slots) < self.count and (method := self._neediest()):
            self.slots.append(self._start(method))
        for slot in self.slots:
            while len(slot.calls) < IN_FLIGHT and self.queues[slot.method]:
                shard = self.queues[slot.method].popleft()
                slot.calls[slot.actor.run.remote(shard)] = shard
        return any(self.queues.values())

    def _neediest(self) -> str | None:
        """The method with the most waiting shards an actor, if there are any."""
        actors = {method: sum(slot.method == method for slot in self.slots) for method in self.queues}
        waiting = {method: len(queue) / (1 + actors[method]) for method, queue in self.queues.items() if queue}
        return max(waiting, key=lambda method: waiting[method]) if waiting else None

    def _start(self, method: str) -> Slot:
        entry: MethodEntry = self.queues[method][0].job.method
        gpus = self.gpus if entry.gpus is None else entry.gpus
        remote = ray.remote(num_cpus=self.workers.cpus, num_gpus=gpus, max_restarts=0)(Worker)
        threads = max(1, int(self.workers.cpus))
        actor = remote.remote(entry, self.store, threads)
        return Slot(actor, method, actor.__ray_ready__.remote(), time.monotonic())

    def _collect(self) -> Iterator[Outcome]:
        """Wait a moment for answers and take those that came."""
        waiting = {call: slot for slot in self.slots for call in [*slot.calls, *([slot.ready] if slot.ready else [])]}
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=1.0)
        for call in done:
            slot = waiting[call]
            if slot not in self.slots:
                continue  # It died with an earlier call of this round.
            try:
                answer = ray.get(call)
            except RayActorError as error:
                yield from self._bury(slot, error)
                continue
            if call is slot.ready:
                slot.ready = None
            else:
                del slot.calls[call]
                yield answer
        self._check_starts()

    def _check_starts(self) -> None:
        for slot in self.slots:
            if slot.ready and time.monotonic() - slot.started > START_TIMEOUT_S:
                raise UserError(
                    f"cluster: no worker for '{slot.method}' came up within {START_TIMEOUT_S} s. Asked: "
                    f"{self.workers.cpus:g} CPU, {self.gpus:g} GPU. The cluster has {readable(self.resources)}; "
                    f"free are {readable(ray.available_resources())}. Lower `workers` or free the cluster."
                )

    def _bury(self, slot: Slot, error: RayActorError) -> Iterator[Outcome]:
        """An actor died: what it was at is tried again, in halves, and one image that kills twice is given up."""
        self.slots.remove(slot)
        cause = getattr(error, "cause", None) or error.__cause__
        if isinstance(cause, UserError):
            raise cause
        if slot.ready and not slot.calls:
            raise error
        queue = self.queues[slot.method]
        suspect, *innocent = slot.calls.values()
        queue.extendleft(innocent)
        if len(suspect.sample_ids) > 1:
            queue.extendleft(halves(suspect))
        elif suspect.deaths == 0:
            queue.appendleft(replace(suspect, deaths=1))
        else:
            yield self._given_up(suspect, f"two workers died on this image: {' '.join(str(error).split())[:300]}")

    def _given_up(self, shard: Shard, reason: str) -> Outcome:
        """Failed records for an image that kills its workers, written by the driver."""
        job = shard.job
        dataset: Dataset = registry.build("datasets", job.dataset.name, job.dataset.params)
        records = [
            failed(job.names, job.protocol, sample_id, listed, reason)
            for sample_id in shard.sample_ids
            for listed in dataset.list_instances(sample_id)
        ]
        self.store.write(job.facts, shard.sample_ids, records)
        return outcome(shard, records, 0.0)

    def _gpus_each(self) -> float:
        has = self.resources.get("GPU", 0)
        wanted = self.workers.gpus if self.workers.gpus is not None else float(has >= 1)
        if wanted > has or self.workers.cpus > self.resources.get("CPU", 0):
            raise UserError(
                f"cluster: a worker asks for {self.workers.cpus:g} CPUs and {wanted:g} GPUs; the cluster has "
                f"{readable(self.resources)}. Lower `workers.cpus` or `workers.gpus`, or join a larger one (--address)."
            )
        return wanted

    def _actor_count(self) -> int:
        """As many as the cluster can hold, at most as many as the config says."""
        fitting = self.resources["CPU"] / self.workers.cpus
        if self.gpus:
            fitting = min(fitting, self.resources["GPU"] / self.gpus)
        return min(int(fitting), self.workers.count or int(fitting))


def connect(address: str | None) -> None:
    """Join a cluster or start one on this machine; workers run a copy of this checkout."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # `ray job submit` has set the working directory already.
    runtime_env = {} if in_job else {"working_dir": str(registry.ROOT), "excludes": _EXCLUDED}
    try:
        ray.init(address=address, runtime_env=runtime_env, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        raise UserError(
            f"cluster: no Ray cluster at --address {address} ({error}). Start one or leave it out."
        ) from error


def halves(shard: Shard) -> list[Shard]:
    """A shard as two, to find out which image kills."""
    middle = len(shard.sample_ids) // 2
    parts = (shard.sample_ids[:middle], shard.sample_ids[middle:])
    return [replace(shard, sample_ids=part, deaths=0) for part in parts]


def readable(resources: dict[str, float]) -> str:
    """`2 CPU, 1 GPU`."""
    return ", ".join(f"{resources.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))
