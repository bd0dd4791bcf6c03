"""A run's config -> jobs, each a method on a data set -> shards of sample ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import harness
from harness import registry
from harness.config import MethodEntry, Plugin, RunConfig, Text, fingerprint, label, words_of
from harness.contamination import asked_again, training_images
from harness.evaluate import Names, Protocol, listed
from harness.interfaces import Dataset
from harness.store import JobFacts, Store
from harness.structures import UserError
from harness.weights import hint as fetched_by


@dataclass(frozen=True)
class Job:
    """A method on a data set.

    Attributes:
        facts: What names and identifies its rows.
        method: As the config has it.
        dataset: As the config has it.
        sample_ids: All that the run wants, in the data set's order; none in a shard's, which travels to the workers.
        protocol: What is asked.
    """

    facts: JobFacts
    method: MethodEntry
    dataset: Plugin
    sample_ids: tuple[str, ...]
    protocol: Protocol

    @property
    def names(self) -> Names:
        """How its records name it."""
        return Names(self.facts.method, self.method.name, self.facts.dataset, self.dataset.name)


@dataclass(frozen=True)
class Shard:
    """One unit of work: some samples of a job.

    Attributes:
        deaths: How many workers died on exactly these samples.
    """

    job: Job
    sample_ids: tuple[str, ...]
    deaths: int = 0


def planned(config: RunConfig) -> list[Job]:
    """Every job of a run, data sets listed, checkpoints hashed.

    Raises:
        UserError: A data set that is not there, or a missing checkpoint.
    """
    datasets = [(entry, registry.build("datasets", entry.name, entry.params)) for entry in config.datasets]
    return [
        _job(config, method, entry, dataset, images)
        for method in config.methods
        for images in [training_images(method)]
        for entry, dataset in datasets
    ]


def shards(job: Job, done: set[str], size: int) -> Iterator[Shard]:
    """What is left of a job, in shards of `size` samples."""
    left = [sample_id for sample_id in job.sample_ids if sample_id not in done]
    light = replace(job, sample_ids=())
    for start in range(0, len(left), size):
        yield Shard(light, tuple(left[start : start + size]))


def remaining(jobs: Sequence[Job], store: Store, size: int) -> list[Shard]:
    """The shards of all jobs that the store does not hold yet."""
    return [shard for job in jobs for shard in shards(job, store.done(job.facts), size)]


def instances(job: Job, sample_ids: Iterable[str] | None = None) -> int:
    """How many instances a job's samples, or some of them, hold."""
    dataset: Dataset = registry.build("datasets", job.dataset.name, job.dataset.params)
    wanted = job.sample_ids if sample_ids is None else sample_ids
    return sum(len(listed(dataset, sample_id)) for sample_id in wanted)


def _job(config: RunConfig, method: MethodEntry, entry: Plugin, dataset: Dataset, images: frozenset[str] | None) -> Job:
    weights, made_of = _weights(method), dict(dataset.fingerprint())
    facts = JobFacts(
        method=label(method),
        dataset=label(entry),
        parts={
            "method": fingerprint([method.name, registry.portable("methods", method.name, method.params)]),
            "weights": fingerprint(weights),
            "dataset": fingerprint([entry.name, registry.portable("datasets", entry.name, entry.params), made_of]),
            "clicks": fingerprint((method.clicks or config.clicks).model_dump()),
            "seed": str(config.seed),
            "trained_classes": ", ".join(method.trained_on.classes),
            "text": _text_part(method.text or config.text),
            "metrics": ", ".join(sorted(config.metrics)),
            "code": harness.__version__,
        },
        about={
            "method_plugin": method.name,
            "method_params": method.params,
            "weights_sha256": weights,
            "dataset_plugin": entry.name,
            "dataset_params": entry.params,
            "dataset_fingerprint": made_of,
            "training_images_asked": asked_again(images, dataset, config.limit),
        },
    )
    return Job(facts, method, entry, tuple(dataset.sample_ids()[: config.limit]), _protocol(config, method))


def _protocol(config: RunConfig, method: MethodEntry) -> Protocol:
    clicks, text = method.clicks or config.clicks, method.text or config.text
    batch = config.workers.images_per_batch
    return Protocol(config.run, config.seed, clicks, text, config.metrics, batch, tuple(method.trained_on.classes))


def _text_part(text: Text) -> str:
    """Readable: the rule and the template; and a fingerprint of the words."""
    return f"{text.rule}, {text.template}, {fingerprint(words_of(text).rows)}"


def _weights(method: MethodEntry) -> dict[str, str]:
    found = registry.hashes("methods", method.name, method.params)
    if "checkpoint" in method.params and "checkpoint" not in found:
        path = Path(method.params["checkpoint"])
        raise UserError(
            f"method '{label(method)}': no file at checkpoint={path}. "
            f"{fetched_by(path) or 'Download or train it (README, Training)'}, or correct `checkpoint` in the config."
        )
    return found
