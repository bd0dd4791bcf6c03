"""A run's config -> its jobs, and the shards that are left of them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

import harness
from harness.config.parts import Plugin, fingerprint, label
from harness.config.recipe import KnownRecipe, identified
from harness.config.run_config import MethodEntry, RunConfig, Text, words_of
from harness.evaluation.pictures import listed
from harness.evaluation.protocol import Protocol
from harness.jobs.contamination import asked_again, training_images
from harness.jobs.jobs import Job, Shard, as_loaded
from harness.masks.measure import Metric, metric
from harness.plugins import files, parameters, registry
from harness.plugins.failures import described, no_exit
from harness.plugins.interfaces import Dataset
from harness.storage.manifest import JobFacts, Samples
from harness.storage.store import Store
from harness.structures import UserError
from harness.weights.catalogue import hint as fetched_by

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listing:
    """A data set of a run, listed once for all its methods; the last two fields are those of `Job`."""

    entry: Plugin
    dataset: Dataset
    fingerprint: Mapping[str, Any]
    sample_ids: tuple[str, ...]
    weights: Mapping[str, int]


def planned(config: RunConfig, due: Sequence[MethodEntry] = ()) -> list[Job]:
    """Every job of a run, data sets listed, checkpoints hashed.

    Args:
        config: Of the run.
        due: Those of its methods that are not trained yet, of which nothing can be hashed.

    Raises:
        UserError: Missing checkpoints, or a data set that is not there.
    """
    check_weights(config.methods, due)
    listings = {label(entry): _listing(config, entry) for entry in config.datasets}
    loaded = {label(one): one for one in map(as_loaded, config.methods)}
    images = {name: training_images(method) for name, method in loaded.items()}
    return [
        _job(config, method, listings[label(entry)], images[label(as_loaded(method))])
        for method, entry in config.pairs()
    ]


def shards(jobs: Sequence[Job], done: Sequence[set[str]], size: int | None) -> Iterator[Shard]:
    """What is left of a method's variants on a data set, in shards of `size` samples; in as few as may be without.

    Each shard is of all the jobs that lack its samples: images that only some have done are in shards of the others.
    Those with the most instances come first.

    Args:
        jobs: Of one data set; all want the same samples.
        done: The samples that each of them has.
        size: At most, of a shard.
    """
    light = [replace(job, sample_ids=(), weights={}) for job in jobs]
    lacking: dict[tuple[int, ...], list[str]] = {}
    for sample_id in sorted(jobs[0].sample_ids, key=lambda one: -jobs[0].weights.get(one, 0)):
        if by := tuple(index for index, own in enumerate(done) if sample_id not in own):
            lacking.setdefault(by, []).append(sample_id)
    for by, left in lacking.items():
        asking, step = tuple(light[index] for index in by), size or len(left)
        for start in range(0, len(left), step):
            yield Shard(asking, tuple(left[start : start + step]))


def remaining(jobs: Sequence[Job], store: Store, size: int | None) -> list[Shard]:
    """The shards of all jobs that the store does not hold yet; variants of one method share theirs."""
    sharing: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        sharing.setdefault((label(as_loaded(job.method)), job.facts.dataset), []).append(job)
    return [shard for own in sharing.values() for shard in shards(own, [store.done(job.facts) for job in own], size)]


def instances(job: Job, sample_ids: Iterable[str] | None = None) -> int:
    """How many instances a job's samples, or some of them, hold."""
    wanted = job.sample_ids if sample_ids is None else sample_ids
    if job.weights:
        return sum(job.weights[sample_id] for sample_id in wanted)
    dataset: Dataset = parameters.build("datasets", job.dataset.name, job.dataset.params)
    return sum(len(listed(dataset, sample_id)) for sample_id in wanted)


def samples_of(jobs: Sequence[Job]) -> Samples:
    """The samples that jobs ask for, by data set, with how many instances each holds where the listing tells."""
    return {job.facts.dataset: {one: job.weights.get(one) for one in job.sample_ids} for job in jobs}


def _job(config: RunConfig, method: MethodEntry, listing: Listing, images: frozenset[str] | None) -> Job:
    weights = files.hashes("methods", method.name, method.params)
    entry, made_of = listing.entry, listing.fingerprint
    facts = JobFacts(
        method=label(method),
        dataset=label(entry),
        parts={
            "method": fingerprint([method.name, files.portable("methods", method.name, method.params)]),
            "weights": fingerprint(weights),
            "dataset": fingerprint([entry.name, files.portable("datasets", entry.name, entry.params), made_of]),
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
            "clicks": (method.clicks or config.clicks).model_dump(mode="json"),
            "training_images_asked": asked_again(images, listing.dataset, config.limit),
            "metrics": {one.name: _metric_facts(one) for one in map(metric, config.metrics)},
            **_method_facts(method),
            **_published(method, entry),
        },
    )
    return Job(facts, method, entry, listing.sample_ids, _protocol(config, method), listing.weights)


def _metric_facts(metric: Metric) -> dict[str, Any]:
    """What a reader of a metric's column must know, in a checkout that may lack the metric."""
    said = {"bounds": list(metric.bounds), "description": metric.description}
    return {"higher_is_better": metric.higher_is_better, **said}


def _method_facts(method: MethodEntry) -> dict[str, Any]:
    """What tables must know of a method's plugin, in a checkout that may lack the plugin.

    "first_ranking" is the first of the entry's `rankings`, or of the plugin's own; "" where the plugin takes none.
    """
    cls = registry.find("methods", method.name)
    taken = inspect.signature(cls).parameters.get("rankings")
    given = method.params.get("rankings", taken.default) if taken else ()
    return {
        "uses_text": cls.uses_text if method.uses_text is None else method.uses_text,
        "first_ranking": str(given[0]) if isinstance(given, Sequence) and given else "",
    }


def _published(method: MethodEntry, dataset: Plugin) -> dict[str, Any]:
    """What the method's authors print for the entry's checkpoint, known by its file's name, on the data set."""
    cls = registry.find("methods", method.name)
    names = [Path(value).name for value in method.params.values() if isinstance(value, (str, Path))]
    printed = [cls.published[name].get(dataset.name, {}) for name in names if name in cls.published]
    return {"published": dict(printed[0]), "published_in": cls.published_in} if any(printed) else {}


def _listing(config: RunConfig, entry: Plugin) -> Listing:
    dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
    sample_ids = _sample_ids(dataset, f"data set '{label(entry)}'")[: config.limit]
    opens_images = type(dataset).list_instances is Dataset.list_instances
    weights = {} if opens_images else _weights(dataset, sample_ids, f"data set '{label(entry)}'")
    return Listing(entry, dataset, dict(dataset.fingerprint()), sample_ids, weights)


def _weights(dataset: Dataset, sample_ids: Sequence[str], name: str) -> dict[str, int]:
    """Sample -> how many instances it lists.

    Raises:
        UserError: An instance is listed twice.
    """
    weights: dict[str, int] = {}
    known: set[str] = set()
    for sample_id in sample_ids:
        ids = [one.id for one in listed(dataset, sample_id)]
        weights[sample_id] = len(ids)
        if twice := _repeated(ids, known):
            raise UserError(
                f"{name}: list_instances() lists the instance '{twice}' twice; wanted ids that are unique in the data "
                "set, such as '<sample>/<instance>'. Correct the plugin."
            )
    return weights


def _sample_ids(dataset: Dataset, name: str) -> tuple[str, ...]:
    """All that the data set lists.

    Raises:
        UserError: It fails, lists nothing, or anything but texts that differ.
    """
    try:
        with no_exit():
            ids = tuple(dataset.sample_ids())
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: sample_ids() failed with {described(error)}. Correct the plugin.") from error
    if not ids:
        raise UserError(f"{name} lists no sample; wanted one at least. Correct its parameters, or the plugin.")
    for one in ids:
        if not isinstance(one, str):
            raise UserError(
                f"{name}: sample_ids() returned {type(one).__name__} {one!r}; wanted texts. Correct the plugin."
            )
    if twice := _repeated(ids, set()):
        raise UserError(f"{name}: sample_ids() returned '{twice}' twice; wanted every id once. Correct the plugin.")
    return ids


def _repeated(ids: Iterable[str], known: set[str]) -> str | None:
    """The first id that is known already; all before it join those that are."""
    for one in ids:
        if one in known:
            return one
        known.add(one)
    return None


def _protocol(config: RunConfig, method: MethodEntry) -> Protocol:
    clicks, text = method.clicks or config.clicks, method.text or config.text
    batch = config.workers.images_per_batch
    return Protocol(config.run, config.seed, clicks, text, config.metrics, batch, tuple(method.trained_on.classes))


def _text_part(text: Text) -> str:
    """Readable: the rule and the template; and a fingerprint of the words."""
    return f"{text.rule}, {text.template}, {fingerprint(words_of(text).rows)}"


def untrained(config: RunConfig) -> list[MethodEntry]:
    """The methods that must be trained first; warns of a checkpoint that is there, but made by another recipe."""
    trained = [(method, identified(method.train)) for method in config.methods if method.train is not None]
    there = {recipe.output: recipe for _, recipe in trained if recipe.output.is_file()}
    for path, recipe in there.items():
        made_by = _made_by(recipe)
        if made_by and made_by != recipe.key:
            again = "python -m harness train ... --force trains it anew"
            _log.warning("%s was made by another recipe (%s, now %s): %s", path, made_by, recipe.key, again)
    return [method for method, recipe in trained if recipe.output not in there]


def _made_by(recipe: KnownRecipe) -> str:
    """The key of the recipe that made the checkpoint, "" where it does not say, or where not all is here to tell.

    A checkpoint without the recipe itself is older than its keys are now; what a key was made of may lie elsewhere.
    """
    plugins = [("learners", recipe.learner), *(("datasets", dataset) for dataset in recipe.datasets)]
    if not all(path.exists() for kind, one in plugins for path in files.paths(kind, one.name, one.params).values()):
        return ""
    try:
        with safe_open(recipe.output, "np") as file:  # the header alone
            about = file.metadata() or {}
    except (OSError, SafetensorError):
        return ""
    return about.get("recipe", "") if "recipe_yaml" in about else ""


def training_data(due: Sequence[MethodEntry]) -> list[Plugin]:
    """The data sets that trainings learn from and are validated on, each once."""
    recipes = [method.train for method in due if method.train is not None]
    used = [one for recipe in recipes for part in (recipe, recipe.validation) if part for one in part.datasets]
    return list({str(entry): entry for entry in used}.values())


def check_weights(methods: Iterable[MethodEntry], due: Sequence[MethodEntry] = ()) -> None:
    """Look for the checkpoints of all methods, and for what trainings start from, before anything is computed.

    Raises:
        UserError: Some are absent: all of them in one message.
    """
    named = [(method, key, path) for method in methods for key, path in starts_from(method, method in due).items()]
    absent = [
        f"method '{label(method)}': no file at {key}={path}. "
        f"{fetched_by(path) or 'Download or train it (README, Training)'}, or correct `{key}` in the config."
        for method, key, path in named
        if key.endswith(("checkpoint", "encoder_weights")) and not path.is_file()
    ]
    if absent:
        raise UserError("\n".join(dict.fromkeys(absent)))


def starts_from(method: MethodEntry, due: bool) -> dict[str, Path]:
    """The files that a method reads or, if it must be trained first, that its training and then it itself read."""
    found = files.paths("methods", method.name, method.params)
    if not due or method.train is None:
        return found
    learner = files.paths("learners", method.train.learner.name, method.train.learner.params)
    return {key: path for key, path in found.items() if key != "checkpoint"} | learner
