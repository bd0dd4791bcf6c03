"""Shards on Ray: long-lived actors, one method loaded in each, that take work from one queue.

Shards carry ids, never pixels; actors write their own files, so the driver holds no results. When a method's work is
done its actors go, and another method's start on what they leave free.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError
from ray.util import metrics
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness import capacity, registry, sight
from harness.actor import Actor, Lost, Unopened
from harness.capacity import Capacity
from harness.config import MethodEntry, Workers
from harness.evaluate import failed, listed, not_listed
from harness.joining import Node, check_kept, complaint, connect, readable, this_node
from harness.plan import Job, Shard
from harness.store import Store
from harness.structures import Listed, UserError
from harness.worker import SHARD_S, Outcome, method_of, outcome

IN_FLIGHT = 2
"""Shards an actor has at once, so that it never waits for the driver."""

DEATHS_LOADING = 3
"""Actors that may die or hang in a row while they load one method or data set before the run gives up."""

ARRIVES_S = 60.0
"""How long a file that another node wrote may take to show on a shared disk: NFS looks anew after 60 s at most."""

MOST_SAMPLES = 4096
"""In one shard, so that its message stays small."""

LEASES_SUSPECTED = 2
FIRST_SUSPECTED = 8
"""Where a worker died: among the first samples of its shard, as many as it does at once, or so."""

_DEATH = (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)


@dataclass(eq=False)
class Slot:
    """An actor and what it is at.

    Attributes:
        method: The label of the method it has loaded.
        asked: Resources that it holds, by Ray's names.
        placing: The call that answers, with its node, once it has a process; None from then on.
        loading: The call that loads the weights or a data set; None once it has answered.
        loads: What that is, for messages.
        node: Where it is.
        opened: Labels of the data sets that it has.
        trusted: What it wrote was found where the driver looks for it.
        calls: Call -> shard, oldest first.
        busy_since: When it began with the oldest, or to load.
    """

    actor: Any
    method: str
    asked: dict[str, float]
    placing: Any
    loading: Any
    loads: str
    node: Node | None = None
    opened: set[str] = field(default_factory=set)
    trusted: bool = False
    calls: dict[Any, Shard] = field(default_factory=dict)
    busy_since: float = field(default_factory=time.monotonic)

    @property
    def pending(self) -> list[Any]:
        """All calls that have no answer yet, in the order in which they are answered."""
        return [call for call in (self.placing, self.loading, *self.calls) if call is not None]

    def begin(self) -> None:
        """It begins with something now."""
        self.busy_since = time.monotonic()


class Cluster:
    """A Ray cluster, this machine's own or one to join, and the actors of one run on it.

    Args:
        workers: How many actors, and what each needs.
        store: Where actors write.
        address: Of a running cluster; None starts one on this machine.
    """

    def __init__(self, workers: Workers, store: Store, address: str | None = None) -> None:
        self.workers, self.store = workers, store
        check_kept(store.folder)
        connect(address)
        self.home = this_node(None)
        self.capacity = Capacity(workers)
        self.instances = metrics.Counter(
            "harness_instances", "Instances done or failed.", tag_keys=("method", "dataset", "status")
        )
        self.slots: list[Slot] = []
        self.queues: dict[str, deque[Shard]] = {}
        self.entries: dict[str, MethodEntry] = {}
        self.deaths_loading: Counter[str] = Counter()
        self.visible: dict[str, frozenset[str]] = {}  # data set's label -> keys of its paths that are there
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
            self.capacity.check(self.entries[method])
        try:
            while self._staff():
                yield from self._collect()
        finally:
            self.close()

    def close(self) -> None:
        """Let all actors go; what they were at is lost, what they wrote is kept."""
        for slot in list(self.slots):
            self._release(slot)

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
        if queue[0].job.facts.dataset not in slot.opened:
            self._open(slot, queue[0].job)
            return
        shard = queue.popleft()
        actors = sum(one.method == slot.method for one in self.slots)
        fair = -(-len(shard.sample_ids) // (IN_FLIGHT * actors))
        shard, rest = shard.split(min(self.workers.samples_per_shard or fair, MOST_SAMPLES))
        if rest:
            queue.appendleft(rest)
        if not slot.calls:
            slot.begin()
        slot.calls[slot.actor.run.remote(shard)] = shard

    def _open(self, slot: Slot, job: Job) -> None:
        """Let an actor build a data set, once it has nothing else to do."""
        if slot.calls:
            return
        name = job.facts.dataset
        if name not in self.visible:
            self.visible[name] = sight.visible("datasets", job.dataset)
        slot.loads = f"'{name}' for '{slot.method}'"
        slot.loading = slot.actor.open.remote(job, self.visible[name])
        slot.opened.add(name)
        slot.begin()

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
        held = (slot.asked for slot in self.slots)
        return self.capacity.holds(self.capacity.asked(self.entries[method]), held)

    def _start(self, method: str) -> Slot:
        entry = self.entries[method]
        asked = self.capacity.asked(entry)
        options = {"num_cpus": asked["CPU"], "num_gpus": asked["GPU"], "resources": entry.resources, "max_restarts": 0}
        actor = ray.remote(**options)(Actor).remote()
        placing = actor.__ray_call__.remote(this_node)
        visible = sight.visible("methods", entry)
        loading = actor.load.remote(entry, visible, self.store, max(1, int(asked["CPU"])))
        return Slot(actor, method, asked, placing, loading, f"'{method}'")

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
        """End actors that load, or work on one batch, for too long."""
        for slot in [slot for slot in self.slots if self._hangs(slot)]:
            yield from self._bury(slot, f"no answer within {self.workers.timeout_s:g} s (`workers.timeout_s`)")

    def _hangs(self, slot: Slot) -> bool:
        if slot.placing or not (slot.loading or slot.calls):
            return False
        return time.monotonic() - slot.busy_since > self.workers.timeout_s + (0 if slot.loading else SHARD_S)

    def _answer(self, slot: Slot, call: Any) -> Iterator[Outcome]:
        try:
            answer = ray.get(call)
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise complaint(str(error.cause), slot.node, self.home) from None
            raise
        except _DEATH as error:
            yield from self._bury(slot, " ".join(str(error).split())[:300])
            return
        if call == slot.placing:
            slot.placing, slot.node = None, answer
            slot.begin()
        elif call == slot.loading:
            slot.loading = None
            self.deaths_loading[slot.loads] = 0
        elif isinstance(answer, Lost):
            yield from self._bury(slot, answer.reason)
        elif isinstance(answer, Unopened):
            slot.begin()
            shard = slot.calls.pop(call)
            self._check_unopened(slot, shard, answer)
            slot.actor.accept.remote(shard.job.facts.dataset)
            self.queues[slot.method].appendleft(shard)
        else:
            shard = slot.calls.pop(call)
            slot.begin()
            self._check_arrived(slot, answer)
            self._count(shard, answer)
            self.done_at_once[answer.job] = answer.samples
            if answer.left:
                self.queues[slot.method].appendleft(replace(shard, sample_ids=answer.left))
            yield answer

    def _check_unopened(self, slot: Slot, shard: Shard, answer: Unopened) -> None:
        """Refuse a node that cannot open what the driver's node can.

        Raises:
            UserError: It cannot.
        """
        if slot.node == self.home:
            return
        here = NodeAffinitySchedulingStrategy(self.home.id, soft=False)
        # Not in this process: the image may be one that kills.
        opening = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=here)(opens)
        try:
            opened = ray.get(opening.remote(shard.job, shard.sample_ids[0]), timeout=self.workers.timeout_s)
        except RayError:
            return
        if opened:
            what = f"'{shard.job.facts.dataset}', image '{shard.sample_ids[0]}'"
            said = f"{what}: {answer.reason} The driver opens it. {sight.REMEDY}"
            raise complaint(said, slot.node, self.home)

    def _check_arrived(self, slot: Slot, outcome: Outcome) -> None:
        """Look for the first file that an actor wrote.

        Raises:
            UserError: It is not there: the node writes on a disk of its own.
        """
        deadline = time.monotonic() + ARRIVES_S
        while not slot.trusted and not self.store.folder.exists(outcome.file):
            if time.monotonic() > deadline:
                said = (
                    f"{self.store.folder / outcome.file}: written by worker {outcome.worker}; the driver, on "
                    f"{self.home}, does not find it there. Wanted one folder for all nodes: name a disk they share, "
                    "or a bucket, with --runs or HARNESS_RUNS."
                )
                raise complaint(said, slot.node, self.home)
            time.sleep(min(1.0, ARRIVES_S))
        slot.trusted = True

    def _count(self, shard: Shard, outcome: Outcome) -> None:
        """For Prometheus, at the port that Ray names: ray_harness_instances_total."""
        tags = {"method": shard.job.facts.method, "dataset": shard.job.facts.dataset}
        for status, number in (("ok", outcome.instances - outcome.failed), ("failed", outcome.failed)):
            if number:
                self.instances.inc(number, tags | {"status": status})

    def _check_placed(self) -> None:
        # While one actor works, the others may wait for whatever else runs on the cluster.
        if not self.slots or not all(slot.placing for slot in self.slots):
            return
        if time.monotonic() - self.answered >= capacity.PLACE_TIMEOUT_S:
            slot = self.slots[0]
            raise self.capacity.none_free(
                f"no worker of '{slot.method}', which asks for {readable(slot.asked)}, got its place"
            )

    def _bury(self, slot: Slot, reason: str) -> Iterator[Outcome]:
        """An actor died: what it was at is tried again, in halves, and one image that kills twice is given up."""
        self._release(slot)
        if not slot.calls:
            self._bury_unloaded(slot.loads, reason)
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

    def _bury_unloaded(self, what: str, reason: str) -> None:
        self.deaths_loading[what] += 1
        if self.deaths_loading[what] == DEATHS_LOADING:
            raise UserError(
                f"cluster: {DEATHS_LOADING} workers died while they loaded {what} ({reason}). Wanted one that lives. "
                "Lower `workers.count` if memory is short, raise `workers.timeout_s` if loading takes so long, or see "
                "Ray's logs in /tmp/ray."
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


def instances_of(job: Job, sample_id: str) -> list[Listed]:
    """What a job's data set lists of a sample."""
    return listed(registry.build("datasets", job.dataset.name, job.dataset.params), sample_id)


def opens(job: Job, sample_id: str) -> bool:
    """Whether this process can open a sample's files."""
    return not sight.unopened(registry.build("datasets", job.dataset.name, job.dataset.params), sample_id)


def halves(shard: Shard) -> list[Shard]:
    """A shard as two, to find out which image kills."""
    middle = len(shard.sample_ids) // 2
    parts = (shard.sample_ids[:middle], shard.sample_ids[middle:])
    return [replace(shard, sample_ids=part, deaths=0) for part in parts]
