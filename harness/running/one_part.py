"""One part of a run that is cut into parts: an independent command, which sees the others' work only in the folder.

A part holds its own lock all the time, and the run's lock only twice and briefly: at its start, to write the manifest
or to compare itself with the one that is there, and at its end, to add its results. Parts may work on different
machines at the same time or one after the other. No process directs them; the part that finds at its end that no image
is missing writes the run's tables.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from harness.config.run_config import RunConfig
from harness.environment import environment, now
from harness.jobs.jobs import Job
from harness.jobs.plan import planned, remaining, samples_of
from harness.jobs.requirements import untrained
from harness.results.recorded import recorded
from harness.results.reported import Finished, report
from harness.running.one_run import Budget, Watcher, done_samples, evaluate
from harness.storage.forgetting import forget_given_up
from harness.storage.lock import STALE_S, HeldError, Lock, holder
from harness.storage.manifest import PARTS, JobFacts, described, difference, save_manifest, with_config
from harness.storage.parts import Part, incomplete
from harness.storage.store import Store, store_of
from harness.storage.verify import label_of, pairs_of
from harness.structures import UserError

WAIT_S = STALE_S + 30.0
"""The time that a part waits for the run's lock, long enough for a killed part's lock to expire."""


@dataclass(frozen=True)
class PartDone:
    """The result of a part.

    Attributes:
        images: How many images x methods it holds; `missing` of them are not done because too much failed.
        instances: How many instances this start asked for; `failed` of them have no mask.
        over_budget: Whether a method failed on more than `max_failures` allows, so that the part was stopped.
        incomplete: The parts of the run that lack images.
        finished: The whole run's tables, if this part was the last one.
    """

    images: int
    missing: int
    instances: int
    failed: int
    over_budget: bool
    incomplete: Sequence[Part]
    finished: Finished | None


def run_part(
    config: RunConfig, part: Part, watcher: Watcher, address: str | None = None, runs: str | None = None
) -> PartDone:
    """Execute a part of a config; rows of an earlier start are kept.

    Args:
        config: A config that was checked; the same for all parts.
        part: The part.
        watcher: Called for everything that takes time.
        address: The address of a Ray cluster; None uses this machine.
        runs: The folder or bucket of all runs; None for the default of `store_of`.

    Raises:
        UserError: Something that the user can correct, such as another start that works on this part, or a config or
            weights that differ from those of the other parts.
    """
    store = store_of(config.run, runs)
    with Lock(part.folder(store.folder)) as lock:
        if due := untrained(config):
            names = ", ".join(sorted({one.label or one.name for one in due}))
            raise UserError(
                f"--part {part}: {names}: not trained yet; wanted weights that all parts share. Train them first: "
                "python -m harness train RECIPE."
            )
        watcher.begins("listing the data, hashing the weights")
        jobs = planned(config)
        start = {"id": uuid4().hex, "part": str(part)} | environment()
        with _for_a_moment(store, watcher):
            _agree(store, config, jobs, part, start)
            # Here, for while the run's lock is held no other part reads rows for the tables.
            own = [_own(job, part) for job in jobs]
            for job in own:
                forget_given_up(store, job.facts, job.sample_ids)
        left = remaining(own, store, config.workers.samples_per_shard)
        watcher.planned(own, done_samples(own, left))
        budget = Budget(config.max_failures, {job.facts.key: len(job.sample_ids) for job in own})
        stopped, peaks, readers = evaluate(config, left, store, address, budget, watcher, lock)
        instances, failed = budget.instances.total(), budget.failed.total()
        ended = {"ended": now(), "instances": instances, "failed": failed, "peaks": peaks}
        # The lock is held while other parts are searched for missing images and until the tables are written. If two
        # parts end at the same moment, the second sees all rows of the first: the tables are written, and never by both
        # at once.
        with _for_a_moment(store, watcher):
            store.close(start["id"], **ended, **({"reads_text": sorted(readers)} if readers else {}))
            facts = [job.facts for job in jobs]
            others = incomplete(store, facts, samples_of(jobs))
            finished = None if others else report(recorded(store), stopped)
    images = sum(len(job.sample_ids) for job in own)
    missing = images - sum(len(store.done(job.facts).intersection(job.sample_ids)) for job in own)
    return PartDone(images, missing, instances, failed, stopped, others, finished)


def _own(job: Job, part: Part) -> Job:
    """A job with the part's samples alone."""
    samples = tuple(one for one in job.sample_ids if Part.holding(one, part.of) == part)
    return replace(job, sample_ids=samples)


@contextmanager
def _for_a_moment(store: Store, watcher: Watcher) -> Iterator[None]:
    """Hold the run's lock, which other parts also hold only briefly.

    Raises:
        HeldError: Another process holds it for longer, such as a start of the whole run.
        UserError: The folder cannot be written.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        lock = Lock(store.folder)
        try:
            lock.__enter__()
        except HeldError:
            if time.monotonic() > deadline:
                raise
            watcher.begins(f"waiting for {holder(store.folder) or 'the lock of the run'}")
            time.sleep(random.uniform(0.1, 0.5))  # Parts that start together do not all ask again together.
            continue
        try:
            yield
        finally:
            lock.__exit__(None, None, None)
        return


def _agree(store: Store, config: RunConfig, jobs: Sequence[Job], part: Part, start: dict[str, Any]) -> None:
    """Write the manifest, or check that the one in the folder is of the same run, cut in the same way.

    Raises:
        UserError: It is of another run, or cut in another way.
    """
    facts, manifest = [job.facts for job in jobs], store.manifest()
    if not manifest:
        store.open(config.model_dump(mode="json"), facts, start, samples_of(jobs))
        save_manifest(store.folder, store.manifest() | {PARTS: part.of})
        return
    # Not `store.open`, which would remove files that another part is just writing.
    store.check(facts)
    if wrong := _differing(with_config(store.folder, manifest), jobs, part):
        raise UserError(
            f"{store.folder}: --part {part} does not belong to the run that is there: {wrong}. Wanted one config, "
            "one set of weights and one number of parts. Correct the command, give the run another name (--set "
            "run=...), or start it once without --part, which takes the new config."
        )
    # The config asks for the same rows, but may have other `tables:` or another `max_failures:`: the newest counts.
    newest = {"config": config.model_dump(mode="json"), "starts": [*manifest["starts"], start], PARTS: part.of}
    save_manifest(store.folder, manifest | newest)


def _differing(manifest: dict[str, Any], jobs: Sequence[Job], part: Part) -> str:
    """Describes how a manifest differs from these jobs and this number of parts; "" if it does not."""
    known = {key: JobFacts(**job) for key, job in manifest["jobs"].items()}
    for job in jobs:
        before = known.get(job.facts.key)
        if before is None:
            return f"it has no {job.facts.method} on {job.facts.dataset}"
        for name, state in job.facts.parts.items():
            if (then := before.parts.get(name)) != state:
                told = difference(name, before.about, job.facts.about) or f"{name}: {then} then, {state} now"
                return f"{job.facts.method} on {job.facts.dataset} was made of something else ({told})"
    asked = {(job.facts.method, job.facts.dataset) for job in jobs}
    for method, dataset in pairs_of(manifest["config"]):
        if (label_of(method), label_of(dataset)) not in asked:
            return f"it also has {label_of(method)} on {label_of(dataset)}"
    if manifest["samples"] != described(samples_of(jobs)):
        return "it asks for other images"
    cut = manifest.get(PARTS, part.of)
    return "" if cut == part.of else f"it is cut into {cut} parts"
