"""The parts of a run: jobs, each a method on a data set, and shards of their samples.

    config                 jobs                       shards
    2 methods       ->     2 x 3 jobs          ->     samples 1 to 64 of a job, 65 to 128 of it, ...
    3 data sets            (one row folder each)      (what a worker does at once)

A method's variants are jobs of their own. They share shards, so that a worker decodes and encodes each image once for
all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, label
from harness.evaluation.protocol import Names, Protocol
from harness.storage.manifest import JobFacts


@dataclass(frozen=True)
class Job:
    """A method on a data set.

    Attributes:
        facts: The labels, and the parts that make the job's rows.
        method: The method's entry in the config.
        dataset: The data set's entry in the config.
        sample_ids: Every sample of the run, in the data set's order. Empty in a shard's jobs, which are sent to
            workers.
        protocol: The settings of the prompts.
        weights: Sample -> how many instances it has, if the listing gives that without opening images. Empty in a
            shard's jobs.
    """

    facts: JobFacts
    method: MethodEntry
    dataset: Plugin
    sample_ids: tuple[str, ...]
    protocol: Protocol
    weights: Mapping[str, int] = field(default_factory=dict)

    @property
    def names(self) -> Names:
        """The names of the method and of the data set in its records."""
        return Names(self.facts.method, self.method.name, self.facts.dataset, self.dataset.name)


@dataclass(frozen=True)
class Shard:
    """One unit of work: some samples of one job, or of the jobs of a method's variants, which share each image.

    Attributes:
        jobs: The jobs; they have one data set, and methods that are equal after `as_loaded`.
        sample_ids: The samples to evaluate for each of the jobs.
        deaths: How many workers died on exactly this shard.
        outside: How many of its workers were ended by something other than the work.
    """

    jobs: tuple[Job, ...]
    sample_ids: tuple[str, ...]
    deaths: int = 0
    outside: int = 0

    @property
    def method(self) -> MethodEntry:
        """The method that a worker loads for it."""
        return as_loaded(self.jobs[0].method)

    @property
    def dataset(self) -> Plugin:
        """The data set that all its jobs share."""
        return self.jobs[0].dataset

    @property
    def weights(self) -> Mapping[str, str] | None:
        """The hashes of the method's files when the run was planned; None if they were not recorded."""
        return self.jobs[0].facts.about.get("weights_sha256")

    @property
    def data(self) -> Mapping[str, Any] | None:
        """The data set's fingerprint when the run was planned; None if it was not recorded."""
        return self.jobs[0].facts.about.get("dataset_fingerprint")

    def split(self, size: int) -> tuple[Shard, Shard | None]:
        """A shard of the first `size` samples, and one of the rest if there is any."""
        head, rest = self.sample_ids[:size], self.sample_ids[size:]
        return replace(self, sample_ids=head), replace(self, sample_ids=rest) if rest else None


def as_loaded(method: MethodEntry) -> MethodEntry:
    """The entry that a worker loads for a method: the same for all variants of one method.

    Settings that only change the prompts are taken out, and the label is the one of the method behind the variants.
    """
    unasked = {"text": None, "clicks": None, "datasets": (), "variant_of": ""}
    return method.model_copy(update={"label": method.variant_of or label(method), **unasked})
