"""A run's config -> its jobs, and the shards that are left of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
from harness.clicks.strategy import asks_for_pairs, options_of
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, fingerprint, label
from harness.config.recipe import identified
from harness.config.run_config import RunConfig
from harness.config.trained import Trained
from harness.config.wording import deciding
from harness.evaluation.pictures import listed
from harness.evaluation.probe import says_uses_text
from harness.evaluation.protocol import Protocol, start_said
from harness.jobs.answers import (
    check_answers,
    check_classes,
    classes_trained_on,
    differing,
    seen_classes,
    training_of,
)
from harness.jobs.contamination import asked_again, training_images
from harness.jobs.jobs import Job, Shard, as_loaded
from harness.jobs.listing import Listing, listing_of
from harness.jobs.requirements import check_clicks_taken, check_weights, made_by
from harness.masks.measure import Metric, metric
from harness.plugins import files, parameters, registry
from harness.plugins.code import code_of
from harness.plugins.interfaces import Dataset
from harness.storage.manifest import JobFacts, Samples
from harness.storage.store import Store


def planned(config: RunConfig, due: Sequence[MethodEntry] = ()) -> list[Job]:
    """Every job of a run. This lists the data sets and hashes the checkpoints, which takes time.

    Args:
        config: The run's config.
        due: Methods that are not trained yet, and so have no checkpoint to hash.

    Raises:
        UserError: A checkpoint or a data set is missing.
    """
    check_weights(config.methods, due)
    check_answers(config.methods)
    check_clicks_taken(config, due)
    listings = {
        name: listing_of(entry, config.limit, config.only.get(name, ()))
        for name, entry in ((label(entry), entry) for entry in config.datasets)
    }
    # Variants of one method share weights, and so training images and metadata: these are read once for all of them.
    loaded = {label(one): one for one in map(as_loaded, config.methods)}
    images = {name: training_images(method) for name, method in loaded.items()}
    trained = {name: training_of(method) for name, method in loaded.items()}
    for name, method in loaded.items():
        check_classes(method, trained[name])
    return [
        _job(
            config, method, listings[label(entry)], images[label(as_loaded(method))], trained[label(as_loaded(method))]
        )
        for method, entry in config.pairs()
    ]


def shards(jobs: Sequence[Job], done: Sequence[set[str]], size: int | None) -> Iterator[Shard]:
    """The remaining work of a method's variants on a data set, in shards of `size` samples, or in as few as possible.

    A shard belongs to all jobs that lack its samples, so that they share the images:

        job 1 has done a         lacking, by jobs:   a     -> jobs 2, 3      one shard of jobs 2 and 3
        job 2 has done b, c                          b, c  -> jobs 1, 3      one of jobs 1 and 3
        job 3 has done nothing                       d     -> jobs 1, 2, 3   one of all three

    The samples with the most instances come first, so that no long one is left for the end.

    Args:
        jobs: Jobs on one data set with the same samples.
        done: The samples that each of the jobs has done.
        size: How many samples a shard has at most.
    """
    # A job's list of samples may be long. It is left out of the jobs in shards, which travel to workers one by one.
    light = [replace(job, sample_ids=(), weights={}) for job in jobs]
    lacking: dict[tuple[int, ...], list[str]] = {}
    # The sort is stable: samples with equally many instances, or with an unknown number, keep the data set's order.
    for sample_id in sorted(jobs[0].sample_ids, key=lambda one: -jobs[0].weights.get(one, 0)):
        if by := tuple(index for index, own in enumerate(done) if sample_id not in own):
            lacking.setdefault(by, []).append(sample_id)
    for by, left in lacking.items():
        asking, step = tuple(light[index] for index in by), size or len(left)
        for start in range(0, len(left), step):
            yield Shard(asking, tuple(left[start : start + step]))


def remaining(jobs: Sequence[Job], store: Store, size: int | None) -> list[Shard]:
    """The shards that the store does not hold yet; the variants of one method share theirs."""
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
    """The samples that jobs ask for, by data set, with the number of their instances if the listing gives it."""
    return {job.facts.dataset: {one: job.weights.get(one) for one in job.sample_ids} for job in jobs}


def _job(
    config: RunConfig,
    method: MethodEntry,
    listing: Listing,
    images: frozenset[str] | None,
    trained: Trained | None,
) -> Job:
    # A job's facts describe in three ways what made its rows. `parts` decide whether rows may be used: if any differs,
    # they are refused. `about` is for people, who cannot read fingerprints. `code` is in between: if a plugin was
    # edited, it is named beneath every table, but its rows stay, since most edits change no mask.
    entry, weights = listing.entry, files.hashes("methods", method.name, method.params)
    about = _about(config, method, listing, weights) | {
        "training_images_asked": asked_again(images, listing.dataset, listing.sample_ids),
        **_training_facts(method, trained, listing.dataset.classes),
    }
    parts = _parts(config, method, listing, weights)
    facts = JobFacts(label(method), label(entry), parts, about, _code(config, method, entry))
    clicks, text, batch = config.clicks_of(method), config.text_of(method), config.workers.images_per_batch
    classes = seen_classes(method, trained, listing.dataset.classes)
    protocol = Protocol(config.run, config.seed, clicks, text, config.metrics, batch, classes)
    return Job(facts, method, entry, listing.sample_ids, protocol, listing.weights)


def _parts(config: RunConfig, method: MethodEntry, listing: Listing, weights: Mapping[str, str]) -> dict[str, str]:
    """The values that decide a job's rows: part -> a fingerprint or a readable text."""
    entry, text = listing.entry, config.text_of(method)
    dataset = [entry.name, files.portable("datasets", entry.name, entry.params), listing.fingerprint]
    return {
        "method": fingerprint([method.name, files.portable("methods", method.name, method.params)]),
        "weights": fingerprint(weights),
        "dataset": fingerprint(dataset),
        "clicks": fingerprint(config.clicks_of(method).protocol),
        "seed": str(config.seed),
        "trained_classes": ", ".join(method.trained_on.classes),
        "text": f"{text.rule}, {text.template}, {fingerprint(deciding(text))}",
        "metrics": ", ".join(sorted(config.metrics)),
        "code": harness.__version__,
    }


def _about(config: RunConfig, method: MethodEntry, listing: Listing, weights: Mapping[str, str]) -> dict[str, Any]:
    """The facts about a job's method, data set, clicks and metrics, for readers and tables."""
    entry, clicks = listing.entry, config.clicks_of(method)
    return {
        "method_plugin": method.name,
        "method_params": method.params,
        "weights_sha256": weights,
        "dataset_plugin": entry.name,
        "dataset_params": entry.params,
        "dataset_fingerprint": listing.fingerprint,
        "dataset_split": _split(entry),
        "dataset_samples": listing.whole,
        "left_out": dict(listing.left_out),
        "clicks": clicks.model_dump(mode="json"),
        "click_options": options_of(clicks.strategy, clicks.options) | start_said(clicks),
        "in_pairs": asks_for_pairs(clicks.strategy),
        "metrics": {one.name: metric_facts(one) for one in map(metric, config.metrics)},
        **_method_facts(method),
        **_published(method, entry),
    }


def _code(config: RunConfig, method: MethodEntry, dataset: Plugin) -> dict[str, str]:
    """The hashes of all plugins' code that makes a job's rows."""
    clicks, text = config.clicks_of(method), config.text_of(method)
    clicking = [("clicks", clicks.strategy)] if clicks.max_clicks else []
    functions = [*clicking, ("texts", text.rule), *(("metrics", name) for name in config.metrics)]
    used = [("methods", method.name, method.params), ("datasets", dataset.name, dataset.params)]
    used += [(kind, name, {}) for kind, name in functions]
    return {plugin: digest for one in used for plugin, digest in code_of(*one).items()}


def _split(dataset: Plugin) -> str:
    """The data set's `split`, by the config or by the plugin's default; "" for a data set that has none."""
    given = parameters.with_defaults(registry.find("datasets", dataset.name), dataset.params)
    return str(given.get("split", ""))


def metric_facts(metric: Metric) -> dict[str, Any]:
    """The facts about a metric for readers of its column, whose checkout may lack the metric."""
    return {**metric.scale.written, "description": metric.description}


def _method_facts(method: MethodEntry) -> dict[str, Any]:
    """The facts about a method's plugin for tables, since a reader's checkout may lack the plugin.

    "first_ranking" is the first of the entry's `rankings`, or else of the plugin's default. "vocabulary" names the
    words that its text is contrasted with. Either is "" if the plugin has no such parameter.
    """
    cls = registry.find("methods", method.name)
    takes = inspect.signature(cls).parameters
    taken, names = takes.get("rankings"), takes.get("vocabulary")
    given = method.params.get("rankings", taken.default) if taken else ()
    return {
        "uses_text": cls.uses_text if method.uses_text is None else method.uses_text,
        "says_uses_text": method.uses_text is not None or says_uses_text(cls),
        "vocabulary": str(method.params.get("vocabulary", names.default)) if names else "",
        "needs_click": cls.needs_click,
        "first_ranking": str(given[0]) if isinstance(given, Sequence) and given else "",
    }


def _training_facts(method: MethodEntry, trained: Trained | None, classes: Sequence[str]) -> dict[str, Any]:
    """The facts about the training of a method's weights for tables, as far as its metadata and the config tell."""
    recipe = identified(method.train) if method.train else None
    made = made_by(recipe) if recipe else ""
    facts = {
        "other_recipe": made if recipe and made != recipe.key else "",
        "checkpoint_classes": list(trained.classes) if trained else [],
        "trained_data": list(dict.fromkeys(entry.name for entry in trained.recipe.datasets)) if trained else [],
        "classes_trained_on": list(classes_trained_on(trained, classes)),
        "dataset_classes": len(classes),
        "trained_on_all": bool(classes) and {*classes} <= {*seen_classes(method, trained, classes)},
        "saliency_differs": differing(method),
    }
    return {key: value for key, value in facts.items() if value}


def _published(method: MethodEntry, dataset: Plugin) -> dict[str, Any]:
    """The authors' printed numbers for the entry's checkpoint on the data set, found by the checkpoint's file name.

    They measured the split that is the plugin's default (SBD's val), so that there are none for another one.
    """
    if _split(dataset) != _split(Plugin(name=dataset.name)):
        return {}
    cls = registry.find("methods", method.name)
    names = [Path(value).name for value in method.params.values() if isinstance(value, (str, Path))]
    printed = next((found for name in names if (found := cls.published.get(name, {}).get(dataset.name))), None)
    return {"published": dict(printed), "published_in": cls.published_in} if printed else {}
