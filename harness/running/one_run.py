"""One run from its config to its report: makes missing trainings, evaluates missing images, prints the tables."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from harness.config.method_entry import MethodEntry
from harness.config.parts import label
from harness.config.run_config import RunConfig
from harness.environment import environment, now
from harness.jobs.jobs import Job, Shard
from harness.jobs.plan import planned, remaining, samples_of
from harness.jobs.requirements import untrained
from harness.jobs.worker import Outcome, run_here
from harness.messages import suggest
from harness.report.scores import READS_TEXT
from harness.results.recorded import recorded
from harness.results.reported import Finished, report
from harness.running.trainings import as_imported, check_kept, look_ahead, train_missing
from harness.storage.edits import old_rows, said_of
from harness.storage.edits import redo as to_redo
from harness.storage.forgetting import forget_edited, forget_failed, forget_given_up
from harness.storage.labels import rename, renamed
from harness.storage.lock import Lock
from harness.storage.parts import refuse_at_work
from harness.storage.store import Store, store_of
from harness.structures import UserError

if TYPE_CHECKING:  # it imports torch, which a driver needs for trainings alone
    from harness.running import one_training as training

_log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Shows how a run goes."""

    def begins(self, what: str) -> None:
        """Something begins that takes a while and shows nothing: Ray's start, a method's loading."""

    def training(self, method: str, progress: training.Progress) -> None:
        """A method's training has come this far."""

    def planned(self, jobs: Sequence[Job], done: Mapping[str, int]) -> None:
        """These jobs will run; `done` says how many samples of each are finished already."""

    def outcome(self, outcome: Outcome) -> None:
        """A shard is done."""


@dataclass(eq=False)
class Budget:
    """Stops a run in which a method fails on too much of a data set.

    Attributes:
        share: The share of a job's instances that may fail, 0 to 1.
        samples: Job's key -> how many samples it has in all.
    """

    share: float
    samples: Mapping[str, int]
    done: Counter[str] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def spent(self, outcome: Outcome) -> bool:
        """Count an outcome; returns whether its job has failed on more than the allowed share of its instances."""
        # The number of instances in the whole job is not known before its images are read, so it is extrapolated. For
        # example a share of 0.1, 100 images, and after 10 of them 50 instances with 20 failures: 500 instances are
        # expected in all, and 50 may fail. The run goes on; the 51st failure stops it, not the first bad image.
        job = outcome.job
        self.done[job] += outcome.samples
        self.instances[job] += outcome.instances
        self.failed[job] += outcome.failed
        expected = self.instances[job] * self.samples[job] / max(1, self.done[job])
        return self.failed[job] > self.share * expected


def run(
    config: RunConfig,
    watcher: Watcher,
    address: str | None = None,
    runs: str | None = None,
    retry_failed: bool = False,
    redo: Sequence[str] = (),
) -> Finished:
    """Execute a config; rows of an earlier start are kept.

    Args:
        config: A config that was checked.
        watcher: Called for everything that takes time.
        address: The address of a Ray cluster; None uses this machine.
        runs: The folder or bucket of all runs; None for the default of `store_of`.
        retry_failed: Redo the samples in which an instance failed.
        redo: Labels of methods and data sets: redo those of their samples whose plugin's code was edited since. That
            of an entry with variants or seeds means all of them.

    Raises:
        UserError: Something that the user can correct, such as another start that works on this run, or data sets
            without any instance.
    """
    _check_redo(config, redo)
    store = store_of(config.run, runs)
    with Lock(store.folder) as lock:
        refuse_at_work(store.folder)
        # Training may take days, so everything that can be wrong with the evaluation is looked for before it. Only
        # after it are all weights there, whose hashes the manifest needs; so the jobs are planned (again) after it.
        before: list[Job] = []
        if due := untrained(config):
            check_kept(due, store.folder)
            before = look_ahead(config, due)
            train_missing(due, watcher.training, address, runs)
        watcher.begins("listing the data, hashing the weights")
        jobs = planned(config)
        if config.workers.executor == "local":  # Workers on Ray import the code anew.
            jobs = as_imported(jobs, before)
        retried = _opened(store, config, jobs, retry_failed, redo)
        left = remaining(jobs, store, config.workers.samples_per_shard)
        watcher.planned(jobs, done_samples(jobs, left))
        budget = Budget(config.max_failures, {job.facts.key: len(job.sample_ids) for job in jobs})
        stopped, peaks, readers = evaluate(config, left, store, address, budget, watcher, lock)
        if readers:
            store.close(reads_text=sorted(readers))
        # Tables are made with the lock held: another start would add rows while they are read.
        store.begun()
        finished = report(recorded(store), stopped)
        ended = {"ended": now(), "instances": finished.instances, "failed": finished.failed, "peaks": peaks}
        store.close(**ended, **({"samples_retried": retried} if retry_failed else {}))
    if not finished.instances and finished.shortfalls:  # Nothing could be asked of any data set.
        raise UserError("\n".join(finished.shortfalls))
    return finished


def _opened(store: Store, config: RunConfig, jobs: Sequence[Job], retry_failed: bool, redo: Sequence[str]) -> int:
    """Add this start to the manifest, and remove the rows that it makes again; returns how many samples failed."""
    # The remaining work is the samples without rows. So to redo a sample, its rows are removed here, before `remaining`
    # looks for them.
    facts = [job.facts for job in jobs]
    start = {"id": uuid4().hex} | environment()  # merging tells two starts of one second apart
    store.open(config.model_dump(mode="json"), facts, start, samples_of(jobs))
    for same in renamed(store, facts):
        _log.warning("%s", same)
        rename(store, same)
    retried = sum(forget_failed(store, job.facts, job.sample_ids) for job in jobs) if retry_failed else 0
    for job in jobs:
        forget_given_up(store, job.facts, job.sample_ids)
        if {*_named(job.method), job.facts.dataset} & {*redo}:
            forget_edited(store, job.facts, job.sample_ids)
    if old := old_rows(store, facts, samples_of(jobs)):
        _log.warning("%s The same command with %s computes them again.", said_of(old), to_redo(old))
    return retried


def _check_redo(config: RunConfig, redo: Sequence[str]) -> None:
    known = [*(name for one in config.methods for name in _named(one)), *map(label, config.datasets)]
    for name in redo:
        if name not in known:
            raise UserError(f"--redo: no method or data set labelled '{name}' in this run. {suggest(name, known)}")


def _named(method: MethodEntry) -> set[str]:
    """The labels that mean a method: its own, and that of the config's entry of which it is a variant or a seed."""
    return {label(method), method.variant_of, method.seed_of} - {""}


def done_samples(jobs: Sequence[Job], left: Sequence[Shard]) -> dict[str, int]:
    """Job's key -> how many of its samples are in none of the shards that are left."""
    waiting: Counter[str] = Counter()
    for shard in left:
        waiting.update({job.facts.key: len(shard.sample_ids) for job in shard.jobs})
    return {job.facts.key: len(job.sample_ids) - waiting[job.facts.key] for job in jobs}


Peaks = dict[str, dict[str, int]]
"""`JobFacts.made_of` -> the most memory that one of the job's workers held: "memory_mib", and "gpu_mib" by torch on its
GPU; and how many "images" took all its workers "spent_ms" together."""


def evaluate(
    config: RunConfig,
    shards: Sequence[Shard],
    store: Store,
    address: str | None,
    budget: Budget,
    watcher: Watcher,
    lock: Lock,
) -> tuple[bool, Peaks, set[str]]:
    """Work through the shards, here or on Ray.

    Returns:
        Whether the run was stopped because too much failed, its workers' peaks, and `JobFacts.made_of` of the jobs
        whose methods read the text without declaring it.
    """
    peaks: Peaks = {}
    readers: set[str] = set()
    # Jobs that share a shard (entries of one loaded method on one data set) all report the seconds of the whole shard.
    # Each is charged its share, so that the sum is the time that was spent.
    sharing = {job.facts.key: len(shard.jobs) for shard in shards for job in shard.jobs}
    # The manifest notes what workers needed by what made the rows, since labels may change or move to other methods.
    made_of = {job.facts.key: job.facts.made_of for shard in shards for job in shard.jobs}
    if not shards:
        return False, peaks, readers
    if config.workers.executor == "local":
        coming = run_here(shards, store, max(1, int(config.workers.cpus)), watcher.begins)
    else:
        from harness.cluster.scheduler import Cluster

        coming = Cluster(config.workers, store, address, watcher.begins).run(shards)
    # Closing the generator stops the workers, also where the budget or an error ends the loop early.
    with closing(coming):
        for outcome in coming:
            watcher.outcome(outcome)
            lock.check()  # If another start has taken the lock over, this one must not write on.
            made = made_of[outcome.job]
            own = peaks.setdefault(made, {"memory_mib": 0, "gpu_mib": 0, "images": 0, "spent_ms": 0})
            own |= {name: max(own[name], getattr(outcome, name)) for name in ("memory_mib", "gpu_mib")}
            own["images"] += outcome.samples
            own["spent_ms"] += round(1000 * outcome.seconds / sharing[outcome.job])
            if outcome.reads_text and made not in readers:
                readers.add(made)
                _log.warning("%s: %s", outcome.job, READS_TEXT)
            if budget.spent(outcome):
                return True, peaks, readers
    return False, peaks, readers
