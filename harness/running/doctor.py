"""Checks whether everything that a run needs exists and equals the published original: data, weights, machine.

`python -m harness doctor configs/x.yaml`. No check computes a result. A finding of a fault says what was found, what
was wanted and what to do. `run` stops at its first mistake; doctor lists all of them at once.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness import places
from harness.cluster import capacity
from harness.cluster.connect import readable
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, label
from harness.config.recipe import identified
from harness.config.run_config import RunConfig, asked_on, part_of
from harness.jobs.answers import differing
from harness.jobs.contamination import asked_again, training_images
from harness.jobs.listing import check_classes, checked_ids, listed_twice, no_instance
from harness.jobs.requirements import starts_from, training_data, untrained
from harness.plugins import parameters, registry
from harness.plugins.interfaces import Dataset
from harness.running.long_texts import limits_of, texts_of, too_long, without_words
from harness.running.published_counts import Published, published
from harness.storage.store import store_of
from harness.structures import Listed, UserError
from harness.weights import catalogue as weights

OPENED_WHOLE = 50
"""All images of a data set with at most this many are opened, which takes seconds even for large images."""

BYTES_A_ROW = 1000
"""Bytes of a result row on disk, rounded up: mostly the mask, 583 bytes on average at 640 x 480."""

TRAINED = ("checkpoint", "weights")
"""The ends of names of parameters that are weights, and so can be trained."""

SHARED_MEMORY_MIB = 256
"""Ray passes messages through shared memory. Ours are small, but containers often have 64 MiB, which makes Ray slow."""


class State(StrEnum):
    """Whether a finding is in order, worth knowing, or must be mended."""

    FINE = "fine"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: The thing that was checked: a data set, a method, the disk.
        text: The result; for a fault also what was wanted and what to do.
    """

    subject: str
    state: State
    text: str


@dataclass(frozen=True, eq=False)
class Asked:
    """The part of a data set that the run asks about, by its `limit` and `only`.

    Attributes:
        entry: The data set's entry in the config.
        dataset: The data set, built from the entry.
        ids: The samples.
        listed: Those of the samples that can be listed, with their instances.
    """

    entry: Plugin
    dataset: Dataset
    ids: Sequence[str]
    listed: Mapping[str, Sequence[Listed]]


def examined(config: RunConfig) -> Iterator[Finding]:
    """Check the data sets, the methods, what trainings need, and whether the disk has room for the rows."""
    # Data sets first, since the checks of methods read their listings. A data set that cannot be built is one finding
    # and is left out of the rest; otherwise each method would repeat it.
    asked: dict[str, Asked] = {}
    for entry in config.datasets:
        try:
            dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
            listing = yield from _dataset(entry, dataset)
            ids = part_of(dataset.sample_ids(), config.limit, config.only.get(label(entry), ()))
            asked[label(entry)] = Asked(entry, dataset, ids, {one: listing[one] for one in ids if one in listing})
        except UserError as error:
            yield Finding(label(entry), State.WRONG, str(error))
    due = untrained(config)
    rows = 0
    for method in config.methods:
        own = [one for name, one in asked.items() if asked_on(method.datasets, name)]
        rows += _rows(config, method, own)
        yield from _files(method, method in due)
        yield from _saliency(method)
        try:
            yield from _training_images(method, own)
            yield from _texts(config, method, own)
        except UserError as error:
            yield Finding(label(method), State.WRONG, str(error))
    yield from dict.fromkeys(map(_to_train_on, training_data(due)))  # Each finding once.
    yield _disk(config, rows)


def fitness(config: RunConfig, address: str | None = None) -> Iterator[Finding]:
    """Check the machine, or the cluster that a run would join: GPU, Ray, shared memory."""
    yield _gpu(config)
    if config.workers.executor == "ray":
        yield _ray(config, address)
        yield _shared_memory()


def _dataset(entry: Plugin, dataset: Dataset) -> Generator[Finding, None, Mapping[str, Sequence[Listed]]]:
    """Check one data set, and return its listing: its samples with their instances."""
    name = label(entry)
    check_classes(dataset, f"data set '{name}'")
    ids = checked_ids(dataset, f"data set '{name}'")
    listing, unlisted = _listed(dataset, ids)
    instances = [one for own in listing.values() for one in own]
    yield from _decoded(name, dataset, ids)
    if unlisted:
        sample_id, reason = next(iter(unlisted.items()))
        yield Finding(name, State.WRONG, f"{len(unlisted)} images cannot be listed, the first {sample_id}: {reason}")
    elif not instances:
        yield Finding(name, State.WRONG, no_instance(f"data set '{name}'", len(ids)))
    repeated, count = next(iter(Counter(one.id for one in instances).most_common(1)), ("", 0))
    if count > 1:
        yield Finding(name, State.WRONG, listed_twice(f"data set '{name}'", repeated, "gives"))
    yield from _alike(name, dataset.classes)
    for what, count in dataset.left_out().items():
        yield Finding(name, State.NOTE, f"leaves out {count} {what}")
    wanted = published(entry) or Published(None, None, None, 0.0, "")
    yield _count(name, "images", len(ids), wanted.images, wanted.source)
    yield _count(name, "instances", len(instances), wanted.instances, wanted.source)
    seen = [one.seen for one in instances if one.seen is not None]
    if seen:
        yield _share(name, sum(seen) / len(seen), wanted)
    return listing


def _alike(name: str, classes: Sequence[str]) -> Iterator[Finding]:
    """A finding on each name that is written in several ways: "Car" would be a wrong text for "car"."""
    ways: dict[str, list[str]] = {}
    for one in dict.fromkeys(classes):
        ways.setdefault(" ".join(one.casefold().replace("_", " ").split()), []).append(one)
    for same in ways.values():
        if len(same) > 1:
            written = " and ".join(map(repr, same))
            todo = "If they are one, write it in one way."
            yield Finding(name, State.NOTE, f"{written} count as {len(same)} classes. {todo}")


def _listed(dataset: Dataset, ids: Sequence[str]) -> tuple[dict[str, list[Listed]], dict[str, str]]:
    """The instances of each image, and the reason for each image whose instances cannot be listed."""
    listing: dict[str, list[Listed]] = {}
    unlisted: dict[str, str] = {}
    for sample_id in ids:
        try:
            listing[sample_id] = dataset.list_instances(sample_id)
        except UserError:  # The same for every image: a mistake in the config.
            raise
        except Exception as error:  # A data set's own code may raise anything.
            unlisted[sample_id] = str(error)
    return listing, unlisted


def _decoded(name: str, dataset: Dataset, ids: Sequence[str]) -> Iterator[Finding]:
    """Decode every image of a small data set; of a larger one the first, the middle and the last.

    Three are enough to see that images and masks are in the right place, but not that each of them is sound.
    """
    chosen = list(dict.fromkeys(ids if len(ids) <= OPENED_WHOLE else (ids[0], ids[len(ids) // 2], ids[-1])))
    # One line says that all are sound; an image that is not gets a line of its own.
    sound = 0
    for sample_id in chosen:
        found = list(_loaded(name, dataset, sample_id))
        yield from found
        sound += not found
    if sound == len(chosen):
        which = f"all {len(ids)} images" if len(chosen) == len(ids) else ", ".join(chosen)
        yield Finding(name, State.FINE, f"decodes ({which})")


def _loaded(name: str, dataset: Dataset, sample_id: str) -> Iterator[Finding]:
    """A finding if one image cannot be loaded, or some of its masks cannot."""
    try:
        broken = dict(dataset.load(sample_id).broken)
    except Exception as error:  # A data set's own code may raise anything.
        yield Finding(name, State.WRONG, f"image {sample_id}: {error}")
        return
    if broken:
        instance, reason = next(iter(broken.items()))
        many = f"{len(broken)} instances will be failed rows, the first" if len(broken) > 1 else "will be a failed row:"
        yield Finding(name, State.WRONG, f"image {sample_id}: {many} instance {instance}: {reason}")


def _count(name: str, what: str, found: int, wanted: int | None, source: str) -> Finding:
    if wanted is None:
        return Finding(name, State.NOTE, f"{found} {what}; no published count to compare with")
    if found == wanted:
        return Finding(name, State.FINE, f"{found} {what}, as published ({source})")
    return Finding(
        name,
        State.WRONG,
        f"found {found} {what}; wanted {wanted} ({source}). This is a part of the data set or another version: do not "
        "compare its results with published ones. Unpack the official archives again.",
    )


def _share(name: str, share: float, known: Published) -> Finding:
    if known.w is None:
        return Finding(name, State.NOTE, f"w = {share:.4f} of the instances are seen; nothing published")
    if abs(share - known.w) <= known.w_within:
        return Finding(name, State.FINE, f"w = {share:.4f} of the instances are seen; published {known.w:g}")
    return Finding(
        name,
        State.WRONG,
        f"found w = {share:.4f}, the share of seen instances; wanted {known.w:g} within {known.w_within:g} "
        f"({known.source}). Correct `seen`, or complete the data set.",
    )


def _files(method: MethodEntry, due: bool) -> Iterator[Finding]:
    """Check the files that the method reads and, if it must be trained first, those that its training reads."""
    name = label(method)
    if due and method.train is not None:
        yield Finding(name, State.NOTE, f"no {identified(method.train).saved_as} yet: `run` trains it first")
    paths = starts_from(method, due)
    for key, path in paths.items():
        if not due or path.exists() or path.suffix or key.endswith(TRAINED):  # A training makes its folders.
            yield _file(name, key, path)
    if not paths and not due:
        yield Finding(name, State.FINE, "needs no file")


def _file(name: str, key: str, path: Path) -> Finding:
    """Check one file: published checkpoints are hashed and compared, other files are hashed."""
    if not path.exists():
        trained = ", or train it (README, Training)" if key.endswith(TRAINED) else ""
        todo = weights.hint(path) or f"Correct `{key}`{trained}."
        return Finding(name, State.WRONG, f"no file at {key}={path}. {todo}")
    if path.is_dir():
        return Finding(name, State.FINE, f"{key}: the folder {path}")
    known = next((one for one in weights.catalogue().values() if one.file == path.name), None)
    if known is None:
        digest = places.sha256(path)
        return Finding(name, State.FINE, f"{key}: {path.name}, sha256 {digest[:12]}; not a published checkpoint")
    verdict = weights.verify(known, path.parent)
    if verdict.state is weights.State.WRONG:
        found = f"found {path} ({verdict.digest}); wanted {weights.wanted(known)}"
        return Finding(name, State.WRONG, f"{key}: {found}. Fetch it again: {weights.command(known)} --force")
    state = State.FINE if verdict.state is weights.State.OK else State.NOTE
    return Finding(name, state, f"{key}: {path.name}, {verdict.state} ({verdict.digest[:19]})")


def _saliency(method: MethodEntry) -> Iterator[Finding]:
    """Check that the method's saliency is the one that its checkpoint was trained with."""
    if said := "; ".join(differing(method)):
        wrong = method.saliency_differs == "refuse"
        todo = " Correct it, or write `saliency_differs: footnote` beside `params`." if wrong else " Tables say so."
        state = State.WRONG if wrong else State.NOTE
        yield Finding(label(method), state, f"its saliency is not that of its training: {said}.{todo}")


def _rows(config: RunConfig, method: MethodEntry, own: Sequence[Asked]) -> int:
    """How many rows the method's answers make at most, at three rankings for each click."""
    clicks, instances = config.clicks_of(method), sum(len(listed) for one in own for listed in one.listed.values())
    return 3 * max(1, clicks.max_clicks) * clicks.draws * instances


def _training_images(method: MethodEntry, own: Sequence[Asked]) -> Iterator[Finding]:
    """Count the images that the method was trained on among those on which it is evaluated."""
    images = training_images(method)
    for one in own:
        again = asked_again(images, one.dataset, one.ids)
        if again is not None:
            state, then = (State.NOTE, "; tables say so") if again else (State.FINE, "")
            text = f"was trained on {again} of the {len(one.ids)} images of {label(one.entry)}"
            yield Finding(label(method), state, text + then)


def _texts(config: RunConfig, method: MethodEntry, own: Sequence[Asked]) -> Iterator[Finding]:
    """Count the instances of each data set without words, and the texts that are longer than the method reads."""
    limits = list(limits_of("methods", method.name, method.params))
    declared = registry.find("methods", method.name).uses_text if method.uses_text is None else method.uses_text
    for one in own:
        entry, dataset, listed = one.entry, one.dataset, one.listed
        count = sum(map(len, listed.values()))
        lacking, failing = without_words(config, method, entry, dataset, listed)
        if failing:  # Also those of a method that reads no text: an instance without its words is not asked for.
            yield _without_rule(config, method, entry, failing, count)
        if not (limits or declared):
            continue
        if lacking:
            share = f"{lacking} of {count} instances of {label(entry)}"
            yield Finding(
                label(method), State.NOTE, f"{share} have no words: they will be failed rows if it needs some"
            )
        texts = texts_of(config, method, entry, dataset, listed)
        for limit in limits:
            if said := too_long(texts, limit):
                state = State.NOTE if limit.cut else State.WRONG
                yield Finding(label(method), state, f"on {label(entry)}, {said}")


def _without_rule(config: RunConfig, method: MethodEntry, entry: Plugin, reasons: Sequence[str], count: int) -> Finding:
    """The finding on those of `count` instances for which the text rule has no words."""
    stops = len(reasons) > config.max_failures * count
    then = f"; max_failures={config.max_failures:g} would stop the run" if stops else ""
    share = f"{len(reasons)} of {count} instances of {label(entry)}"
    said = f"{share} will be failed rows{then}. The first: {reasons[0]}"
    return Finding(label(method), State.WRONG if stops else State.NOTE, said)


def _to_train_on(entry: Plugin) -> Finding:
    subject = f"{label(entry)}, to train on"
    try:
        dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
        return Finding(subject, State.FINE, f"{len(dataset.sample_ids())} images")
    except UserError as error:
        return Finding(subject, State.WRONG, str(error))


def _disk(config: RunConfig, rows: int) -> Finding:
    """Check that the disk has twice the room that the rows need."""
    # Twice, because results.parquet repeats all rows of the shards. For 1000 instances, one method and 20 clicks: 3 x
    # 20 x 1000 rows of 1000 bytes are 57 MiB, so 114 must be free.
    needed = rows * BYTES_A_ROW
    folder = store_of(config.run).folder
    if folder.local is None:
        return Finding("disk", State.NOTE, f"the run writes about {(needed >> 20) + 1} MiB to {folder}")
    there = next(path for path in (folder.local, *folder.local.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    text = f"{free >> 20} MiB free for {folder.local.parent}; the run writes about {(needed >> 20) + 1}"
    if free < 2 * needed:
        todo = "Make room, or name another place with --runs or HARNESS_RUNS."
        return Finding("disk", State.WRONG, f"found {text}; wanted twice that. {todo}")
    return Finding("disk", State.FINE, text)


def _gpu(config: RunConfig) -> Finding:
    import torch

    wanted = max([config.workers.gpus or 0.0, *(method.gpus or 0.0 for method in config.methods)])
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if names:
        return Finding("gpu", State.FINE, f"{', '.join(names)}; CUDA {torch.version.cuda}")
    if wanted:
        todo = "Run it on the cluster (--address), mend the driver (nvidia-smi), or set `gpus: 0`."
        return Finding("gpu", State.NOTE, f"none on this machine; each worker needs {wanted:g}. {todo}")
    return Finding("gpu", State.NOTE, "none: everything runs on the CPU, large models slowly")


def _ray(config: RunConfig, address: str | None) -> Finding:
    try:
        resources = capacity.resources(config, address)
    except UserError as error:
        return Finding("ray", State.WRONG, str(error))
    return Finding("ray", State.FINE, f"started a worker's process; the cluster has {readable(resources)}")


def _shared_memory(folder: Path = Path("/dev/shm")) -> Finding:
    if not folder.is_dir():
        return Finding("shared memory", State.NOTE, f"no {folder}: Ray uses files in /tmp instead")
    free = shutil.disk_usage(folder).free >> 20
    if free < SHARED_MEMORY_MIB:
        found = f"found {free} MiB free in {folder}; wanted {SHARED_MEMORY_MIB}"
        return Finding("shared memory", State.WRONG, f"{found}. In Docker: --shm-size=1g; in Kubernetes: an emptyDir.")
    return Finding("shared memory", State.FINE, f"{free} MiB free in {folder}")
