"""One run from its config to its report: train what is missing, evaluate what is missing, print the tables."""

from __future__ import annotations

import datetime
import os
import platform
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa

from harness import registry, training
from harness.config import MethodEntry, RunConfig, label
from harness.plan import Job, Shard, instances, planned, remaining
from harness.report import Context, MethodFacts, build_table
from harness.report.layout import Table, to_markdown
from harness.store import Store, schema, write_bytes, write_parquet
from harness.worker import Outcome, run_here

PACKAGES = ("torch", "torchvision", "ray", "open_clip_torch", "segmentation_models_pytorch", "numpy", "pyarrow")


class Watcher(Protocol):
    """Shows how a run goes."""

    def training(self, method: str, progress: training.Progress) -> None:
        """A method's training has come this far."""

    def planned(self, jobs: Sequence[Job], done: Mapping[str, int]) -> None:
        """These jobs will run; of each so many samples are done already."""

    def outcome(self, outcome: Outcome) -> None:
        """A shard is done."""


@dataclass(frozen=True)
class Finished:
    """What a run comes to.

    Attributes:
        tables: Those of the config.
        instances: Instances x methods in the tables' rows; `failed` of them have no mask.
        over_budget: More failed than `max_failures` allows.
    """

    tables: tuple[Table, ...]
    instances: int
    failed: int
    over_budget: bool


@dataclass(eq=False)
class Budget:
    """Stops a run in which too much fails.

    Attributes:
        share: Of the instances that may fail.
        samples: In all, of all jobs.
    """

    share: float
    samples: int
    done: int = 0
    instances: int = 0
    failed: int = 0

    def spent(self, outcome: Outcome) -> bool:
        """Count an outcome; whether the failures exceed the share of what all samples are expected to hold."""
        self.done += outcome.samples
        self.instances += outcome.instances
        self.failed += outcome.failed
        expected = self.instances * self.samples / max(1, self.done)
        return self.failed > self.share * expected


def run(config: RunConfig, watcher: Watcher, address: str | None = None) -> Finished:
    """Execute a config; what an earlier start of it finished is kept.

    Args:
        config: Checked.
        watcher: Told of everything that takes time.
        address: Of a Ray cluster; None uses this machine.

    Raises:
        UserError: Something that the reader can mend.
    """
    for method in config.methods:
        train_if_missing(method, watcher)
    jobs = planned(config)
    store = Store(registry.ROOT / "runs" / config.run)
    store.open(config.model_dump(mode="json"), [job.facts for job in jobs], environment())
    left = remaining(jobs, store, config.workers.samples_per_shard)
    watcher.planned(jobs, done_samples(jobs, left))
    stopped = evaluate(config, left, store, watcher, address, sum(len(job.sample_ids) for job in jobs))
    finished = report(config, jobs, store, stopped)
    store.close(ended=now(), instances=finished.instances, failed=finished.failed)
    return finished


def done_samples(jobs: Sequence[Job], left: Sequence[Shard]) -> dict[str, int]:
    """Job's key -> how many of the samples that it wants are in none of the shards that are left."""
    waiting: Counter[str] = Counter()
    for shard in left:
        waiting[shard.job.facts.key] += len(shard.sample_ids)
    return {job.facts.key: len(job.sample_ids) - waiting[job.facts.key] for job in jobs}


def evaluate(
    config: RunConfig, shards: list[Shard], store: Store, watcher: Watcher, address: str | None, samples: int
) -> bool:
    """Work through the shards.

    Returns:
        Whether the run was stopped because too much failed.
    """
    budget = Budget(config.max_failures, samples)
    with closing(outcomes(config, shards, store, address)) as coming:
        for outcome in coming:
            watcher.outcome(outcome)
            if budget.spent(outcome):
                return True
    return False


def outcomes(config: RunConfig, shards: list[Shard], store: Store, address: str | None) -> Generator[Outcome]:
    """Execute shards here or on Ray."""
    if not shards:
        return
    if config.workers.executor == "local":
        yield from run_here(shards, store, max(1, int(config.workers.cpus)))
        return
    from harness.cluster import Cluster

    yield from Cluster(config.workers, store, address).run(shards)


def report(config: RunConfig, jobs: Sequence[Job], store: Store, stopped: bool = False) -> Finished:
    """Tables of all rows that are there, printed by the caller, and written to the run's folder."""
    rows = store.rows([job.facts for job in jobs], {job.facts.dataset: job.sample_ids for job in jobs})
    context = context_of(config, jobs, store, rows)
    tables = tuple(build_table(name, rows, context) for name in config.tables)
    write_parquet(store.root / "results.parquet", pa.Table.from_pandas(rows, schema(), preserve_index=False))
    write_bytes(store.root / "report.md", "\n\n".join(to_markdown(table) for table in tables).encode())
    asked = rows.drop_duplicates(["dataset", "method", "instance_id"])
    failed = rows[rows["status"] != "ok"].drop_duplicates(["dataset", "method", "instance_id"])
    over = stopped or len(failed) > config.max_failures * len(asked)
    return Finished(tables, len(asked), len(failed), over)


def context_of(config: RunConfig, jobs: Sequence[Job], store: Store, rows: pd.DataFrame) -> Context:
    """What the tables must know besides the rows."""
    facts = {label(method): method_facts(method) for method in config.methods}
    counts = rows.drop_duplicates(["dataset", "method", "instance_id"]).groupby(["method", "dataset"]).size()
    expected = {}
    for job in jobs:
        key = (job.facts.method, job.facts.dataset)
        expected[key] = int(counts.get(key, 0)) + absent_instances(job, store)
    again = {(job.facts.method, job.facts.dataset): job.facts.about["training_images_asked"] or 0 for job in jobs}
    return Context(config.run, config.limit, facts, expected, again)


def absent_instances(job: Job, store: Store) -> int:
    """How many instances the samples hold that no shard speaks of."""
    absent = set(job.sample_ids) - store.done(job.facts)
    return instances(job, absent) if absent else 0


def method_facts(method: MethodEntry) -> MethodFacts:
    """What the tables say of a method's weights."""
    cls = registry.find("methods", method.name)
    uses_text = cls.uses_text if method.uses_text is None else method.uses_text
    trained_on = method.trained_on.name or (method.train.datasets[0].name if method.train else None)
    weights = method.train.note if method.train else ""
    return MethodFacts(uses_text, trained_on, weights, plugin=method.name)


def train_if_missing(method: MethodEntry, watcher: Watcher) -> None:
    """Train a method's checkpoint where its entry says how and the file is not there."""
    if method.train is None or method.train.output.is_file():
        return
    training.train(method.train, lambda progress: watcher.training(label(method), progress))


def environment() -> dict[str, Any]:
    """What this start runs on."""
    return {
        "started": now(),
        "commit": training.commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "host": platform.node(),
        "cpus": os.cpu_count(),
        "gpus": _gpus(),
    }


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
