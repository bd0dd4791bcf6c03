"""Shards on Ray: long-lived actors, one method loaded in each, that take work from one queue.

The only file that imports ray. Shards carry ids, never pixels; actors write their own files, so the driver holds no
results. When a method's work is done its actors go, and another method's start on what they leave free.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError
from ray.util import metrics

from harness import registry
from harness.config import MethodEntry, RunConfig, Workers
from harness.evaluate import DeviceLost, failed, listed, not_listed
from harness.plan import Job, Shard
from harness.recipe import label
from harness.store import Store
from harness.structures import Listed, UserError
from harness.worker import SHARD_S, Outcome, Worker, method_of, outcome

PLACE_TIMEOUT_S = 60
"""How long the cluster may take to give a run its first actor before the run gives up."""

IN_FLIGHT = 2
"""Shards an actor has at once, so that it never waits for the driver."""

DEATHS_LOADING = 3
"""Actors of one method that may die in a row while they load its weights before the run gives up."""

MOST_SAMPLES = 4096
"""In one shard, so that its message stays small."""

LEASES_SUSPECTED = 2
FIRST_SUSPECTED = 8
"""Where a worker died: among the first samples of its shard, as many as it does at once, or so."""

LOOK_EVERY_S = 2.0
"""How often the cluster is asked what it has, as nodes come and go."""

_DEATH = (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)
_EXCLUDED = ["/.git", "/.venv", "/data", "/weights", "/runs", "/tests", "/docs", "**/__pycache__", "/.mypy_cache"]


class Actor:
    """A worker in a process of its own, built by a call: of what a constructor raises, Ray keeps only the text."""

    def load(self, method: MethodEntry, store: Store, threads: int) -> None:
        """Build the worker."""
        self.worker = Worker(method, store, threads)

    def run(self, shard: Shard) -> Outcome | Lost:
        """Evaluate a shard, as far as its time goes, and write it."""
        try:
            return self.worker.run(shard)
        except DeviceLost as error:
            return Lost(str(error))


@dataclass(frozen=True)
class Lost:
    """An actor's last word: its GPU is lost, and it has to be ended like one that died."""

    reason: str


@dataclass(eq=False)
class Slot:
    """An actor and what it is at.

    Attributes:
        method: The label of the method it has loaded.
        asked: Resources that it holds, by Ray's names.
        placing: The call that answers once it has a process; None from then on.
        loading: The call that loads the weights; None once it has answered.
        calls: Call -> shard, oldest first.
        busy_since: When it began with the oldest.
    """

    actor: Any
    method: str
    asked: dict[str, float]
    placing: Any
    loading: Any
    calls: dict[Any, Shard] = field(default_factory=dict)
    busy_since: float = field(default_factory=time.monotonic)

    @property
    def pending(self) -> list[Any]:
        """All calls that have no answer yet, in the order in which they are answered."""
        return [call for call in (self.placing, self.loading, *self.calls) if call is not None]


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
        self.instances = metrics.Counter(
            "harness_instances", "Instances done or failed.", tag_keys=("method", "dataset", "status")
        )
        self.nodes: list[dict[str, float]] = []
        self.looked = -LOOK_EVERY_S
        self.slots: list[Slot] = []
        self.queues: dict[str, deque[Shard]] = {}
        self.entries: dict[str, MethodEntry] = {}
        self.deaths_loading: Counter[str] = Counter()
        self.done_at_once: dict[str, int] = {}  # job's key -> samples in its last shard: where a death may lie
        self.answered = time.monotonic()

    def run(self, shards: Sequence[Shard]) -> Generator[Outcome]:
        """Evaluate all shards; outcomes come as they are done.

        Raises:
            UserError: Raised by a worker, or an actor that cannot be had.
        """
        for shard in shards:
            self.queues.setdefault(method_of(shard), deque()).append(shard)
            self.entries[method_of(shard)] = shard.job.method
        for method in self.queues:
            self._check_resources(method)
        try:
            while self._staff():
                yield from self._collect()
        finally:
            self.close()

    def close(self) -> None:
        """Let all actors go; what they were at is lost, what they wrote is kept."""
        for slot in list(self.slots):
            self._release(slot)

    @property
    def resources(self) -> dict[str, float]:
        """What all nodes that are there now have together."""
        if time.monotonic() - self.looked >= LOOK_EVERY_S:
            self.nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self.looked = time.monotonic()
        kinds = {kind for node in self.nodes for kind in node}
        return {kind: sum(node.get(kind, 0) for node in self.nodes) for kind in kinds}

    def _staff(self) -> bool:
        """Let idle actors go, start actors for the methods that have work left, and hand out that work.

        Returns:
            Whether any actor is at work.
        """
        for slot in [slot for slot in self.slots if not slot.calls and not self.queues[slot.method]]:
            self._release(slot)
        while method := self._neediest():
            self.slots.append(self._start(method))
        for depth in range(IN_FLIGHT):
            for slot in self.slots:
                if slot.loading is None and len(slot.calls) == depth and self.queues[slot.method]:
                    self._hand_out(slot)
        return bool(self.slots)

    def _hand_out(self, slot: Slot) -> None:
        """Give an actor its next shard: a part of a long one, smaller where less is left, so that all end together."""
        queue = self.queues[slot.method]
        shard = queue.popleft()
        actors = sum(one.method == slot.method for one in self.slots)
        fair = -(-len(shard.sample_ids) // (IN_FLIGHT * actors))
        shard, rest = shard.split(min(self.workers.samples_per_shard or fair, MOST_SAMPLES))
        if rest:
            queue.appendleft(rest)
        if not slot.calls:
            slot.busy_since = time.monotonic()
        slot.calls[slot.actor.run.remote(shard)] = shard

    def _neediest(self) -> str | None:
        """Of the methods that have work for one more actor and room for it, that with the most shards an actor."""
        actors = Counter(slot.method for slot in self.slots)
        idle = Counter(slot.method for slot in self.slots if not slot.calls)
        work = {method: sum(map(self._pieces, queue)) for method, queue in self.queues.items()}
        waiting = {
            method: pieces / (1 + actors[method])
            for method, pieces in work.items()
            if pieces > idle[method] and self._has_room(method)
        }
        return max(waiting, key=lambda method: waiting[method]) if waiting else None

    def _pieces(self, shard: Shard) -> int:
        """Among how many actors a shard may be divided."""
        return -(-len(shard.sample_ids) // (self.workers.samples_per_shard or 1))

    def _has_room(self, method: str) -> bool:
        actors = [slot for slot in self.slots if slot.method == method]
        if len(self.slots) == self.workers.count or len(actors) == self.entries[method].count:
            return False
        asked = self._asked(method)
        held = {kind: sum(slot.asked.get(kind, 0) for slot in self.slots) for kind in asked}
        return all(asked[kind] + held[kind] <= self.resources.get(kind, 0) for kind in asked)

    def _asked(self, method: str) -> dict[str, float]:
        """Of the cluster, for one actor."""
        entry = self.entries[method]
        return {"CPU": entry.cpus or self.workers.cpus, "GPU": self._gpus(method), **entry.resources}

    def _gpus(self, method: str) -> float:
        """Of one actor: as the method's entry says, or else the config, or else one where there are any."""
        for wanted in (self.entries[method].gpus, self.workers.gpus):
            if wanted is not None:
                return wanted
        return float(self.resources.get("GPU", 0) >= 1)

    def _check_resources(self, method: str) -> None:
        asked, _ = self._asked(method), self.resources
        if not any(all(node.get(kind, 0) >= wanted for kind, wanted in asked.items()) for node in self.nodes):
            raise UserError(
                f"cluster: a worker of '{method}' asks for {readable(asked)}; the cluster has "
                f"{readable(self.resources)}, on no node all of that. Lower `cpus`, `gpus` or `resources`, or join a "
                "larger one (--address)."
            )

    def _start(self, method: str) -> Slot:
        asked, entry = self._asked(method), self.entries[method]
        options = {"num_cpus": asked["CPU"], "num_gpus": asked["GPU"], "resources": entry.resources, "max_restarts": 0}
        actor = ray.remote(**options)(Actor).remote()
        placing = actor.__ray_ready__.remote()
        loading = actor.load.remote(entry, self.store, max(1, int(asked["CPU"])))
        return Slot(actor, method, asked, placing, loading)

    def _release(self, slot: Slot) -> None:
        ray.kill(slot.actor)
        self.slots.remove(slot)

    def _collect(self) -> Iterator[Outcome]:
        """Wait a moment for an answer and take it."""
        waiting = {call: slot for slot in self.slots for call in slot.pending}
        answered, _ = ray.wait(list(waiting), num_returns=1, timeout=1.0)
        for call in answered:
            self.answered = time.monotonic()
            yield from self._answer(waiting[call], call)
        yield from self._end_hung()
        self._check_placed()

    def _end_hung(self) -> Iterator[Outcome]:
        """End actors that work on one batch for too long."""
        limit = SHARD_S + self.workers.timeout_s
        for slot in [slot for slot in self.slots if slot.calls and time.monotonic() - slot.busy_since > limit]:
            yield from self._bury(slot, f"no answer within {self.workers.timeout_s:g} s (`workers.timeout_s`)")

    def _answer(self, slot: Slot, call: Any) -> Iterator[Outcome]:
        try:
            answer = ray.get(call)
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except _DEATH as error:
            yield from self._bury(slot, " ".join(str(error).split())[:300])
            return
        if call == slot.placing:
            slot.placing = None
        elif call == slot.loading:
            slot.loading = None
            self.deaths_loading[slot.method] = 0
        elif isinstance(answer, Lost):
            yield from self._bury(slot, answer.reason)
        else:
            shard = slot.calls.pop(call)
            slot.busy_since = time.monotonic()
            self._count(shard, answer)
            self.done_at_once[answer.job] = answer.samples
            if answer.left:
                self.queues[slot.method].appendleft(replace(shard, sample_ids=answer.left))
            yield answer

    def _count(self, shard: Shard, outcome: Outcome) -> None:
        """For Prometheus, at the port that Ray names: ray_harness_instances_total."""
        tags = {"method": shard.job.facts.method, "dataset": shard.job.facts.dataset}
        for status, number in (("ok", outcome.instances - outcome.failed), ("failed", outcome.failed)):
            if number:
                self.instances.inc(number, tags | {"status": status})

    def _check_placed(self) -> None:
        # While one actor works, the others may wait for whatever else runs on the cluster.
        if self.slots and all(slot.placing for slot in self.slots):
            if time.monotonic() - self.answered < PLACE_TIMEOUT_S:
                return
            slot = self.slots[0]
            raise UserError(
                f"cluster: no worker of '{slot.method}' got its place within {PLACE_TIMEOUT_S} s. Asked: "
                f"{readable(slot.asked)}. The cluster has {readable(self.resources)}; "
                f"free are {readable(ray.available_resources())}. Lower `workers` or free the cluster."
            )

    def _bury(self, slot: Slot, reason: str) -> Iterator[Outcome]:
        """An actor died: what it was at is tried again, in halves, and one image that kills twice is given up."""
        self._release(slot)
        if not slot.calls:
            self._bury_unloaded(slot.method, reason)
            return
        queue = self.queues[slot.method]
        suspect, *innocent = slot.calls.values()
        suspect, rest = suspect.split(LEASES_SUSPECTED * self.done_at_once.get(suspect.job.facts.key, FIRST_SUSPECTED))
        queue.extendleft([*innocent, *([rest] if rest else [])])
        if len(suspect.sample_ids) > 1:
            queue.extendleft(halves(suspect))
        elif suspect.deaths == 0:
            queue.appendleft(replace(suspect, deaths=1))
        else:
            yield self._given_up(suspect, f"two workers died on this image alone: {reason}")

    def _bury_unloaded(self, method: str, reason: str) -> None:
        self.deaths_loading[method] += 1
        if self.deaths_loading[method] == DEATHS_LOADING:
            raise UserError(
                f"cluster: {DEATHS_LOADING} workers died while they loaded '{method}' ({reason}). "
                "Wanted one that lives. Lower `workers.count` if memory is short, or see Ray's logs in /tmp/ray."
            )

    def _given_up(self, shard: Shard, reason: str) -> Outcome:
        """Failed records for an image that kills its workers, written by the driver."""
        job, (sample_id,) = shard.job, shard.sample_ids
        # Listing may decode the image, which may be what kills: not in this process.
        listing = ray.remote(num_cpus=0, max_retries=0)(instances_of)
        try:
            found: list[Listed] = ray.get(listing.remote(job, sample_id))
        except RayError:
            found = not_listed(sample_id)
        records = [failed(job.names, job.protocol, sample_id, one, reason) for one in found]
        self.store.write(job.facts, shard.sample_ids, records)
        return outcome(shard, records, 0.0)


def resources(config: RunConfig, address: str | None) -> dict[str, float]:
    """What the cluster has, once a worker's process has answered.

    Raises:
        UserError: A method's worker does not fit, or none answers.
    """
    pool = Cluster(config.workers, Store(registry.ROOT / "runs" / config.run), address)
    for method in config.methods:
        pool.entries[label(method)] = method
        pool._check_resources(label(method))
    answer = ray.remote(num_cpus=config.workers.cpus)(registry.names).remote("methods")
    if not ray.wait([answer], timeout=PLACE_TIMEOUT_S)[0]:
        raise UserError(
            f"cluster: no process started within {PLACE_TIMEOUT_S} s. The cluster has {readable(pool.resources)}; free "
            f"are {readable(ray.available_resources())}. Free it, or lower `workers`."
        )
    return pool.resources


def instances_of(job: Job, sample_id: str) -> list[Listed]:
    """What a job's data set lists of a sample."""
    return listed(registry.build("datasets", job.dataset.name, job.dataset.params), sample_id)


def connect(address: str | None) -> None:
    """Join a cluster or start one on this machine; workers run a copy of this checkout."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # `ray job submit` has set the working directory already.
    index = os.environ.get("HARNESS_INDEX", str(registry.ROOT / "runs" / ".index"))  # else each copy makes its own
    own = {"working_dir": str(registry.ROOT), "excludes": _EXCLUDED, "env_vars": {"HARNESS_INDEX": index}}
    runtime_env = {} if in_job else own
    # Ray's web page costs a laptop seconds at every start.
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=address, runtime_env=runtime_env, **quiet)
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
    """`2 CPU, 1 GPU`, and what else users name; what Ray names of itself is left out."""
    own = {kind for kind in resources if ":" in kind or kind in ("memory", "object_store_memory")}
    kinds = ["CPU", "GPU", *sorted(resources.keys() - own - {"CPU", "GPU"})]
    return ", ".join(f"{resources.get(kind, 0):g} {kind}" for kind in kinds)
