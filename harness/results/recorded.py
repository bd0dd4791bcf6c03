"""A run's config and jobs as they were when it was made, and what its tables must know of them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import pandas as pd

from harness.config.parts import label
from harness.config.run_config import MethodEntry, RunConfig
from harness.evaluation.protocol import Protocol
from harness.jobs.jobs import Job
from harness.jobs.plan import instances
from harness.plugins import registry
from harness.report.context import Context, MethodFacts
from harness.storage import manifests
from harness.storage.store import JobFacts, Store
from harness.structures import UserError

ASKED = ["dataset", "method", "instance_id"]
"""What a row was asked for."""


def samples_of(jobs: Sequence[Job]) -> dict[str, Sequence[str]]:
    """Data set's label -> the samples that are asked for."""
    return {job.facts.dataset: job.sample_ids for job in jobs}


def recorded(store: Store) -> tuple[RunConfig, list[Job]]:
    """The config of a run's last start, and its jobs as they were made then, without a look at data or weights.

    Raises:
        UserError: The folder holds no run.
    """
    manifest = store.manifest()
    if not manifest:
        raise UserError(f"{store.folder}: no manifest.json in it; wanted the folder of a run, such as runs/quickstart.")
    config = RunConfig.model_validate(manifest["config"])
    samples = manifests.samples(store.folder)
    protocol = Protocol(config.run, config.seed, config.clicks, config.text, config.metrics)
    jobs = []
    for method, entry in config.pairs():
        bare = JobFacts(label(method), label(entry), {}, {})
        known = manifest["jobs"].get(bare.key)
        facts = JobFacts(**known) if known else bare
        jobs.append(Job(facts, method, entry, tuple(samples.get(facts.dataset, ())), protocol))
    return config, jobs


def context_of(config: RunConfig, jobs: Sequence[Job], store: Store, rows: pd.DataFrame) -> Context:
    """What the tables must know besides the rows."""
    facts = {label(method): method_facts(method) for method in config.methods}
    counts = rows[ASKED].drop_duplicates().groupby(["method", "dataset"]).size()
    done = {job.facts.key: store.done(job.facts) for job in jobs}
    by_any: dict[str, set[str]] = {}
    for job in jobs:
        by_any.setdefault(job.facts.dataset, set()).update(done[job.facts.key])
    expected = {}
    for job in jobs:
        key = (job.facts.method, job.facts.dataset)
        absent = set(job.sample_ids) - done[job.facts.key]
        expected[key] = int(counts.get(key, 0)) + _instances(job, absent, by_any[job.facts.dataset], rows)
    again = {(job.facts.method, job.facts.dataset): job.facts.about.get("training_images_asked") or 0 for job in jobs}
    return Context(config.run, config.limit, facts, expected, again)


def _instances(job: Job, sample_ids: set[str], done: set[str], rows: pd.DataFrame) -> int:
    """How many instances some samples hold; of those that another method has done its rows tell."""
    if not sample_ids:
        return 0
    told = rows[(rows["dataset"] == job.facts.dataset) & rows["image_id"].isin(sample_ids & done)]
    untold = sample_ids - done
    return int(told["instance_id"].nunique()) + (instances(job, untold) if untold else 0)


def method_facts(method: MethodEntry) -> MethodFacts:
    """What the tables say of a method's weights."""
    cls = registry.find("methods", method.name)
    uses_text = cls.uses_text if method.uses_text is None else method.uses_text
    trained_on = method.trained_on.name or (method.train.datasets[0].name if method.train else None)
    weights = method.train.note if method.train else ""
    classes = len(method.trained_on.classes) or None
    seed = method.train.seed if method.train and method.seed_of else None
    return MethodFacts(
        uses_text,
        trained_on,
        weights,
        method.name,
        method.variant_of,
        classes,
        method.seed_of,
        seed,
        first_ranking(method, cls),
    )


def first_ranking(method: MethodEntry, cls: type) -> str:
    """Of the entry's `rankings`, or of its plugin's own; "" where the plugin takes none."""
    taken = inspect.signature(cls).parameters.get("rankings")
    given = method.params.get("rankings", taken.default) if taken else ()
    return str(given[0]) if isinstance(given, Sequence) and given else ""
