"""Shards on Ray: long-lived actors, one method loaded in each, which get their work from one queue a method.

Shards carry ids, never pixels, and actors write their own files, so no results pass through the driver. When a method's
work is done its actors end, and actors of another method start in their place. A method's variants share actors.

An actor goes through phases, with one call or several in each; the answer to a call decides the next phase:

    PLACING --> LOADING --> WORKING <--> OPENING
    gets a      builds      evaluates    builds a data set and reads its names, once
    process     the method  shards       its earlier shards are done
                             |    ^
                             v    |      only after its first shard: the driver looks
                            ARRIVING     for the file where it reads files itself

LOADING, OPENING and WORKING have a time limit (`workers.timeout_s`). An actor that takes longer, or whose process or
GPU dies, is removed, and another one takes its place. What else happens depends on the phase in which it died:

- Outside WORKING deaths are counted: after three in a row with the same method or data set the run ends.
- A process that cannot even start, for it lacks a package or room for the checkout, is counted for its node: a node may
  fail once under a heavy load, but after three in a row the run ends with the reason.
- In WORKING the shard that it worked on is suspect. It is tried again in halves (`jobs/queue.py`) until one image of
  one job has killed two actors: that image becomes failed rows, and the run goes on. If the death came from outside,
  such as with its node, it is counted separately. The next start of the run tries the image again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError
from ray.util import metrics

from harness.cluster import capacity
from harness.cluster.actor import REMEDY, Actor, Lost, Unopened, visible_paths
from harness.cluster.capacity import Capacity, StartError
from harness.cluster.connect import alive, check_kept, complaint, connect, is_own, readable, this_node
from harness.cluster.pulse import ClusterLostError, Pulse
from harness.cluster.slot import Phase, Slot
from harness.cluster.trials import Trials
from harness.config.method_entry import MethodEntry
from harness.config.parts import label
from harness.config.run_config import Workers
from harness.evaluation.protocol import failed
from harness.jobs.jobs import Shard
from harness.jobs.queue import IN_FLIGHT, Waiting
from harness.jobs.worker import Outcome, method_of, outcome, silent
from harness.storage.store import Store
from harness.structures import UserError

DEATHS_LOADING = 3
"""The run ends when this many actors in a row die or hang while they load one method or data set, or cannot start."""

ARRIVES_S = 60.0
"""The longest time until a file from another node appears on a shared disk: NFS refreshes its view within 60 s."""

_DEATH = (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)


class Cluster:
    """A Ray cluster, this machine's own or one to join, and the actors of one run on it.

    Args:
        workers: The config's `workers:`: how many actors there are, and the resources that each needs.
        store: The run's store, to which actors write.
        address: The address of a running cluster; None starts one on this machine.
        begins: Called before anything that takes a while and has no outcome: "starting Ray", "loading SAM".
    """

    def __init__(
        self, workers: Workers, store: Store, address: str | None = None, begins: Callable[[str], None] = silent
    ) -> None:
        self.workers, self.store, self.begins = workers, store, begins
        check_kept(store.folder)
        begins("starting Ray" if is_own(address) else "joining the Ray cluster")
        connect(address)
        self.pulse = Pulse(is_own(address))
        self.home = self.pulse.home
        self.trials = Trials(self.pulse, capacity.PLACE_TIMEOUT_S + workers.timeout_s)
        self.capacity = Capacity(workers, self.pulse.ask)
        self.instances = metrics.Counter(
            "harness_instances", "Instances done or failed.", tag_keys=("method", "dataset", "status")
        )
        self.slots: list[Slot] = []
        self.queues: dict[str, Waiting] = {}
        self.entries: dict[str, MethodEntry] = {}
        self.weights: dict[str, Mapping[str, str] | None] = {}
        self.code: dict[str, dict[str, str]] = {}
        self.deaths_loading: Counter[str] = Counter()
        self.not_started: Counter[str | None] = Counter()  # node's IP -> processes in a row that could not start there
        self.loading_s: dict[str, float] = {}  # method -> how long its last actor took to load it
        self.visible: dict[str, frozenset[str]] = {}  # data set's label -> keys of its paths that are there
        self.answered = time.monotonic()

    def run(self, shards: Sequence[Shard]) -> Generator[Outcome]:
        """Evaluate all shards; outcomes come as shards are done.

        Raises:
            UserError: A worker raised it, or the cluster has no place for an actor.
        """
        for shard in shards:
            own = self.queues.setdefault(method_of(shard), Waiting(self.workers.samples_per_shard))
            own.shards.append(shard)
            self.entries[method_of(shard)], self.weights[method_of(shard)] = shard.method, shard.weights
            for job in shard.jobs:
                self.code.setdefault(method_of(shard), {}).update(job.facts.code)
        for method in self.queues:
            self.capacity.check(self.entries[method])
        try:
            # Two steps by turns, in one thread: hand out work (`_staff`), then take answers (`_collect`). The driver's
            # state changes only in these two, so no lock is needed, and no answer can come in the middle of handing
            # out.
            while self._staff():
                yield from self._collect()
        except ClusterLostError:
            self.slots.clear()  # Without a cluster there are no actors to end, and a call to Ray would hang.
            raise
        finally:
            self.close()

    def close(self) -> None:
        """End all actors; the shards that they work on are lost, finished shards are kept."""
        for slot in list(self.slots):
            self._release(slot)

    def _staff(self) -> bool:
        """End idle actors, start actors for the methods that have work left, and hand out that work.

        Returns:
            Whether any work is left, or an actor still works.

        Raises:
            ClusterLostError: There is no cluster any more.
        """
        self.pulse.check()
        # An actor that still loads is ended, too, if the others emptied the queue meanwhile. If a death or a half-done
        # shard fills the queue again, `_neediest` starts another actor.
        for slot in [slot for slot in self.slots if not slot.calls and not self.queues[slot.method]]:
            self._release(slot)
        while method := self._neediest():
            self.slots.append(self._start(method))
        # Every actor gets a first shard before any gets a second one. The second waits in the actor's process, so that
        # the actor need not wait for the driver between two shards:
        #
        #    depth 0    A: shard 1    B: shard 2    C: shard 3
        #    depth 1    A: shard 4    B: shard 5    C: nothing is left
        #
        # Handing out two at a time instead would leave C idle beside A and B, who have two each.
        for depth in range(IN_FLIGHT):
            for slot in self.slots:
                if slot.phase is Phase.WORKING and len(slot.calls) == depth and self.queues[slot.method]:
                    self._hand_out(slot)
        return bool(self.slots) or any(self.queues.values())

    def _hand_out(self, slot: Slot) -> None:
        """Give an actor its next shard. Shards get smaller as work runs out, so that all actors end together."""
        queue = self.queues[slot.method]
        # If the next shard's data set is not open in this actor yet, it is opened first. Later shards are not
        # preferred, so data sets are opened in the order of the work.
        if label(queue.shards[0].dataset) not in slot.opened:
            self._open(slot, queue.shards[0])
            return
        shard = queue.take(sum(one.method == slot.method for one in self.slots))
        # The time limit (`hangs`) runs for the oldest shard only. That of a shard that waits behind it starts when the
        # oldest is answered.
        if not slot.calls:
            slot.begin()
        slot.calls[slot.actor.run.remote(shard)] = shard

    def _open(self, slot: Slot, shard: Shard) -> None:
        """Let an actor build a shard's data set, if it has no shard to work on."""
        if slot.calls:
            return
        dataset, name = shard.dataset, label(shard.dataset)
        if name not in self.visible:
            self.visible[name] = visible_paths("datasets", dataset)
        slot.loads = f"'{name}' for '{slot.method}'"
        slot.opened.add(name)
        texts = [job.protocol.text for job in shard.jobs]
        slot.enter(Phase.OPENING, slot.actor.open.remote(dataset, self.visible[name], shard.data, texts))

    def _neediest(self) -> str | None:
        """The method with the most waiting work per actor, among those with room for one more actor."""
        actors = Counter(slot.method for slot in self.slots)
        idle = Counter(slot.method for slot in self.slots if not slot.calls)
        # Actors are added one at a time to where most work waits for each, the new one counted in. Four places, 12
        # pieces of A and 4 of B:
        #
        #    actors        12 / (1 + A's)    4 / (1 + B's)
        #    none          12                4                -> A
        #    A             6                 4                -> A
        #    A A           4                 4                -> A, the first of equals
        #    A A A         3                 4                -> B
        #
        # So the places are divided like the work, 3 to 1. An actor without a shard will take one of the waiting pieces:
        # only if there are more pieces than such actors is another actor of use, and only if it loads before the others
        # have done them.
        waiting = {
            method: queue.pieces / (1 + actors[method])
            for method, queue in self.queues.items()
            if queue.pieces > idle[method] and self._has_room(method) and not self._comes_late(method)
        }
        return max(waiting, key=lambda method: waiting[method]) if waiting else None

    def _comes_late(self, method: str) -> bool:
        """Whether the actors that work would empty the method's queue before another one had loaded the method."""
        working = sum(slot.method == method and slot.phase is Phase.WORKING for slot in self.slots)
        return working > 0 and self.queues[method].left_s <= working * self.loading_s[method]

    def _has_room(self, method: str) -> bool:
        actors = [slot for slot in self.slots if slot.method == method]
        if len(self.slots) == self.workers.count or len(actors) == self.entries[method].count:
            return False
        held = (slot.asked for slot in self.slots)
        return self.capacity.holds(self.capacity.asked(self.entries[method]), held)

    def _start(self, method: str) -> Slot:
        entry = self.entries[method]
        asked = self.capacity.asked(entry)
        # Ray must not restart it by itself: the new process would have no method and no data set.
        options = {"num_cpus": asked["CPU"], "num_gpus": asked["GPU"], "resources": entry.resources, "max_restarts": 0}
        self.begins(f"starting a process for {method}")
        actor = ray.remote(**options)(Actor).remote()
        # A call that does no work. Its answer shows that the actor's process has started, and on which node.
        placing = actor.__ray_call__.remote(this_node)
        return Slot(actor, method, asked, Phase.PLACING, placing, f"'{method}'")

    def _load(self, slot: Slot) -> None:
        """Let an actor build its method."""
        entry = self.entries[slot.method]
        threads = max(1, int(slot.asked["CPU"]))
        there, weights = visible_paths("methods", entry), self.weights[slot.method]
        self.begins(f"loading {slot.method}")
        loading = slot.actor.load.remote(entry, there, self.store, threads, weights, self.code[slot.method])
        slot.enter(Phase.LOADING, loading)

    def _release(self, slot: Slot) -> None:
        ray.kill(slot.actor)
        self.slots.remove(slot)

    def _collect(self) -> Iterator[Outcome]:
        """Wait a moment for an answer and take it."""
        waiting = {call: slot for slot in self.slots for call in slot.pending}
        if not waiting:
            time.sleep(1.0)  # Until a node comes back, or a file appears.
        # At most one second, since hung actors and lost nodes must be noticed even while no answer comes.
        answered, _ = ray.wait(list(waiting), num_returns=1, timeout=1.0) if waiting else ([], [])
        for call in answered:
            self.answered = time.monotonic()
            yield from self._answer(waiting[call], call)
        yield from self._take_arrived()
        yield from self._end_hung()
        self._check_placed()

    def _end_hung(self) -> Iterator[Outcome]:
        """End actors that load, or work on one batch, for too long."""
        for slot in [slot for slot in self.slots if slot.hangs(self.workers.timeout_s)]:
            yield from self._bury(slot, f"no answer within {self.workers.timeout_s:g} s (`workers.timeout_s`)")

    def _answer(self, slot: Slot, call: Any) -> Iterator[Outcome]:
        try:
            answer = capacity.started(call, f"'{slot.method}'") if slot.phase is Phase.PLACING else ray.get(call)
        except StartError as error:
            self.pulse.check()
            self._release(slot)
            self.not_started[error.node] += 1
            if self.not_started[error.node] == DEATHS_LOADING:
                raise
            return
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise complaint(str(error.cause), slot.node, self.home) from None
            raise
        except _DEATH as error:
            # Ray reports a dead node in several ways, at times only as a dead actor. So it is also checked whether the
            # node is still in the cluster: an image must not be blamed for a machine that was switched off.
            outside = isinstance(error, (NodeDiedError, OutOfMemoryError)) or not alive(slot.node)
            yield from self._bury(slot, " ".join(str(error).split())[:300], outside)
            return
        match slot.phase, answer:
            case Phase.PLACING, _:
                slot.node = answer
                self.not_started[answer.ip] = 0
                self._load(slot)
            case Phase.OPENING, str(announced) if announced:
                self.begins(f"{announced} for {slot.method}")
                slot.enter(Phase.OPENING, slot.actor.read.remote())
            case ((Phase.LOADING | Phase.OPENING), _):
                # A success resets the count: only deaths in a row show that loading itself is what kills.
                self.deaths_loading[slot.loads] = 0
                if slot.phase is Phase.LOADING:
                    self.loading_s[slot.method] = time.monotonic() - slot.busy_since
                slot.enter(Phase.WORKING)
            case Phase.WORKING, Lost(reason):
                yield from self._bury(slot, reason)
            case Phase.WORKING, Unopened(reason):
                slot.begin()
                shard = slot.calls.pop(call)
                self._check_unopened(slot, shard, reason)
                # An actor handles its calls in the order in which they were made, so it accepts the data set before it
                # gets the shard again. If it has a second shard of this data set, that comes back in the same way.
                slot.actor.accept.remote(label(shard.dataset))
                self.queues[slot.method].shards.appendleft(shard)
            case Phase.WORKING, outcomes if slot.trusted:
                yield from self._done(slot, call, outcomes)
            case Phase.WORKING, outcomes:
                slot.unseen = outcomes
                slot.enter(Phase.ARRIVING)

    def _check_unopened(self, slot: Slot, shard: Shard, reason: str) -> None:
        """Refuse a node that cannot open an image which the driver's node can open.

        Raises:
            UserError: The driver can open it.
        """
        if slot.node == self.home:
            return
        if self.trials.opens(shard.dataset, shard.sample_ids[0]):
            what = f"'{label(shard.dataset)}', image '{shard.sample_ids[0]}'"
            said = f"{what}: {reason} The driver's machine can open it. {REMEDY}"
            raise complaint(said, slot.node, self.home)

    def _take_arrived(self) -> Iterator[Outcome]:
        """Accept the first answer of an actor once the driver finds the file that the actor wrote.

        Raises:
            UserError: The file does not appear: the node writes to a disk of its own.
        """
        for slot in [slot for slot in self.slots if slot.phase is Phase.ARRIVING]:
            file, worker = slot.unseen[0].file, slot.unseen[0].worker
            if self.store.folder.exists(file):
                slot.trusted = True
                slot.enter(Phase.WORKING)
                yield from self._done(slot, next(iter(slot.calls)), slot.unseen)
            elif time.monotonic() - slot.busy_since > ARRIVES_S:
                said = (
                    f"{self.store.folder / file}: worker {worker} wrote this file, but the driver, on {self.home}, "
                    "does not find it there. Wanted one folder for all nodes: name a disk that they share, or a "
                    "bucket, with --runs or HARNESS_RUNS."
                )
                raise complaint(said, slot.node, self.home)

    def _done(self, slot: Slot, call: Any, outcomes: Sequence[Outcome]) -> Iterator[Outcome]:
        """Note that a shard, or as much of it as the time allowed, is evaluated and written."""
        slot.begin()
        shard = slot.calls.pop(call)
        self._count(shard, outcomes)
        self.queues[slot.method].done(shard, outcomes)
        yield from outcomes

    def _count(self, shard: Shard, outcomes: Sequence[Outcome]) -> None:
        """Count the instances for Prometheus, as ray_harness_instances_total at the port that Ray names."""
        for job, done in zip(shard.jobs, outcomes, strict=True):
            tags = {"method": job.facts.method, "dataset": job.facts.dataset}
            for status, number in (("ok", done.instances - done.failed), ("failed", done.failed)):
                if number:
                    self.instances.inc(number, tags | {"status": status})

    def _check_placed(self) -> None:
        # The run waits for places as long as any of its actors works: the rest of the cluster may be in use by others.
        # Only if every actor waits, and nothing was answered for a minute, does it give up.
        late = time.monotonic() - self.answered >= capacity.PLACE_TIMEOUT_S
        if not late or any(slot.phase is not Phase.PLACING for slot in self.slots):
            return
        due = [method for method, queue in self.queues.items() if queue]
        if due and not self.slots:
            raise self.capacity.none_left(self.entries[due[0]])
        if self.slots:
            slot = self.slots[0]
            raise self.capacity.none_free(
                f"no worker of '{slot.method}', which asks for {readable(slot.asked)}, could be started"
            )

    def _bury(self, slot: Slot, reason: str, outside: bool = False) -> Iterator[Outcome]:
        """Remove an actor that died. Its shard is tried again in halves; an image that killed two actors is given up.

        Args:
            slot: The actor's slot.
            reason: The reason of its death, for messages and rows.
            outside: Whether something other than the work ended it: its node was lost, or Ray freed memory.
        """
        self.pulse.check()  # If the whole cluster died, this raises, and nothing is blamed on the shard.
        self._release(slot)
        if slot.phase is not Phase.WORKING:
            self._bury_unloaded(slot.loads, reason)
        elif given_up := self.queues[slot.method].died(slot.calls.values(), outside):
            yield self._given_up(given_up, f"two workers died on this image alone: {reason}")

    def _bury_unloaded(self, what: str, reason: str) -> None:
        self.deaths_loading[what] += 1
        if self.deaths_loading[what] == DEATHS_LOADING:
            raise UserError(
                f"cluster: {DEATHS_LOADING} workers died while they loaded {what} ({reason}). Lower `workers.count` if "
                "memory is short, raise `workers.timeout_s` if loading takes so long, or see Ray's logs in /tmp/ray."
            )

    def _given_up(self, shard: Shard, reason: str) -> Outcome:
        """Failed records for an image that kills its workers, written by the driver."""
        (job,), (sample_id,) = shard.jobs, shard.sample_ids
        found = self.trials.listed(job.dataset, sample_id)
        records = [failed(job.names, job.protocol, sample_id, one, reason) for one in found]
        file = self.store.write(job.facts, shard.sample_ids, records, given_up=True)
        return replace(outcome(job, shard.sample_ids, records, 0.0), file=file)
