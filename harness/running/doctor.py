"""Is everything there that a run needs, and is it what was published? `python -m harness doctor configs/x.yaml`.

Each check looks, and computes no result. What it finds is said with what was wanted and what to do.
"""

from __future__ import annotations

import csv
import inspect
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from harness import places
from harness.config.parts import Plugin, label
from harness.config.run_config import MethodEntry, RunConfig
from harness.jobs.contamination import asked_again, training_images
from harness.jobs.plan import starts_from, training_data, untrained
from harness.plugins import parameters, registry
from harness.plugins.interfaces import Dataset
from harness.storage.store import store_of
from harness.structures import Listed, UserError
from harness.weights import catalogue as weights

COUNTS = Path(__file__).with_name("published_counts.csv")

BYTES_A_ROW = 1000
"""A result row on disk: mostly the mask, 583 bytes on average at 640 x 480."""


class State(StrEnum):
    """What a check came to."""

    FINE = "fine"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One check's answer.

    Attributes:
        subject: What was looked at.
        said: What was found; of what is wrong also what was wanted and what to do.
    """

    subject: str
    state: State
    said: str


@dataclass(frozen=True)
class Published:
    """What a whole data set should count to; None where nobody says.

    Attributes:
        w: The share of seen instances, right within `w_within`.
    """

    images: int | None
    instances: int | None
    w: float | None
    w_within: float
    source: str


UNKNOWN = Published(None, None, None, 0.0, "")


def examined(config: RunConfig) -> Iterator[Finding]:
    """Data sets first, then methods, then what trainings start from, then whether the rows have room."""
    built: list[tuple[Plugin, Dataset]] = []
    instances = 0
    for entry in config.datasets:
        try:
            dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
            instances += yield from _dataset(entry, dataset)
            built.append((entry, dataset))
        except UserError as error:
            yield Finding(label(entry), State.WRONG, str(error))
    due = untrained(config)
    for method in config.methods:
        yield from _checkpoints(method, method in due)
        try:
            yield from _training_images(method, built)
        except UserError as error:
            yield Finding(label(method), State.WRONG, str(error))
    yield from dict.fromkeys(map(_to_train_on, training_data(due)))  # Nothing is said twice.
    yield _disk(config, instances)


def _dataset(entry: Plugin, dataset: Dataset) -> Generator[Finding, None, int]:
    """How many instances it lists, and what is to be said of it."""
    name, ids = label(entry), dataset.sample_ids()
    instances, unlisted = _listed(dataset, ids)
    yield from _decoded(name, dataset, ids)
    if unlisted:
        sample_id, reason = next(iter(unlisted.items()))
        yield Finding(name, State.WRONG, f"{len(unlisted)} images cannot be listed, the first {sample_id}: {reason}")
    seen = [one.seen for one in instances if one.seen is not None]
    share = sum(seen) / len(seen) if seen else None
    wanted = published(entry) or UNKNOWN
    yield _count(name, "images", len(ids), wanted.images, wanted.source)
    yield _count(name, "instances", len(instances), wanted.instances, wanted.source)
    if share is not None:
        yield _share(name, share, wanted)
    return len(instances)


def _listed(dataset: Dataset, ids: Sequence[str]) -> tuple[list[Listed], dict[str, str]]:
    """All instances, and of the images whose instances cannot be told the reasons."""
    instances: list[Listed] = []
    unlisted: dict[str, str] = {}
    for sample_id in ids:
        try:
            instances += dataset.list_instances(sample_id)
        except UserError:  # of all images: a mistake in the config
            raise
        except Exception as error:  # a data set's own code, which may raise anything
            unlisted[sample_id] = str(error)
    return instances, unlisted


def _decoded(name: str, dataset: Dataset, ids: Sequence[str]) -> Iterator[Finding]:
    """The first, the middle and the last image: enough to see that images and masks lie where they should."""
    if not ids:
        yield Finding(name, State.WRONG, "lists no image; wanted one at least. Correct `root` or `split`.")
        return
    chosen = list(dict.fromkeys((ids[0], ids[len(ids) // 2], ids[-1])))
    for sample_id in chosen:
        try:
            broken = dataset.load(sample_id).broken
        except Exception as error:  # a data set's own code, which may raise anything
            yield Finding(name, State.WRONG, f"image {sample_id}: {error}")
            return
        for instance, reason in broken.items():
            yield Finding(name, State.NOTE, f"instance {instance} will be a failed row: {reason}")
    yield Finding(name, State.FINE, f"decodes ({', '.join(chosen)})")


def _count(name: str, what: str, found: int, wanted: int | None, source: str) -> Finding:
    if wanted is None:
        return Finding(name, State.NOTE, f"{found} {what}; no published count to compare with")
    if found == wanted:
        return Finding(name, State.FINE, f"{found} {what}, as published ({source})")
    return Finding(
        name,
        State.WRONG,
        f"found {found} {what}; wanted {wanted} ({source}). Part of the data set, or another version: its "
        "results are not to be compared with published ones. Unpack the official archives again.",
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
        f"({known.source}). Correct `seen`, or the data set is not whole.",
    )


def _checkpoints(method: MethodEntry, due: bool) -> Iterator[Finding]:
    """What the method reads or, if it must be trained first, what its training reads as well."""
    name = label(method)
    if due and method.train is not None:
        yield Finding(name, State.NOTE, f"no {method.train.saved_as} yet: `run` trains it first")
    paths = starts_from(method, due)
    for key, path in paths.items():
        if not due or path.exists() or key.endswith(("checkpoint", "weights")):  # A training makes folders.
            yield _checkpoint(name, key, path)
    if not paths and not due:
        yield Finding(name, State.FINE, "needs no file")


def _to_train_on(entry: Plugin) -> Finding:
    subject = f"{label(entry)}, to train on"
    try:
        dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
        return Finding(subject, State.FINE, f"{len(dataset.sample_ids())} images")
    except UserError as error:
        return Finding(subject, State.WRONG, str(error))


def _checkpoint(name: str, key: str, path: Path) -> Finding:
    if not path.exists():
        todo = weights.hint(path) or f"Correct `{key}`, or train it (README, Training)."
        return Finding(name, State.WRONG, f"no file at {key}={path}. {todo}")
    if path.is_dir():
        return Finding(name, State.FINE, f"{key}: the folder {path}")
    known = next((one for one in weights.catalogue().values() if one.file == path.name), None)
    if known is None:
        digest = places.sha256(path, path.stat().st_mtime_ns)
        return Finding(name, State.FINE, f"{key}: {path.name}, sha256 {digest[:12]}; not a published checkpoint")
    verdict = weights.verify(known, path.parent)
    if verdict.state is weights.State.WRONG:
        found = f"found {path} ({verdict.digest}); wanted {weights.wanted(known)}"
        return Finding(name, State.WRONG, f"{key}: {found}. Fetch it again: {weights.command(known)} --force")
    state = State.FINE if verdict.state is weights.State.OK else State.NOTE
    return Finding(name, state, f"{key}: {path.name}, {verdict.state} ({verdict.digest[:19]})")


def _training_images(method: MethodEntry, built: Sequence[tuple[Plugin, Dataset]]) -> Iterator[Finding]:
    images = training_images(method)
    for entry, dataset in built:
        again = asked_again(images, dataset)
        if again is not None:
            state, then = (State.NOTE, "; tables say so") if again else (State.FINE, "")
            said = f"was trained on {again} of the {len(dataset.sample_ids())} images of {label(entry)}"
            yield Finding(label(method), state, said + then)


def _disk(config: RunConfig, instances: int) -> Finding:
    """Room for the rows, three rankings a mask."""
    clicks = sum((method.clicks or config.clicks).max_clicks for method in config.methods)
    needed = 3 * clicks * instances * BYTES_A_ROW
    folder = store_of(config.run).folder
    if folder.local is None:
        return Finding("disk", State.NOTE, f"the run writes about {(needed >> 20) + 1} MiB to {folder}")
    there = next(path for path in (folder.local, *folder.local.parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    said = f"{free >> 20} MiB free for {folder.local.parent}; the run writes about {(needed >> 20) + 1}"
    if free < 2 * needed:
        todo = "Make room, or name another place with --runs or HARNESS_RUNS."
        return Finding("disk", State.WRONG, f"found {said}; wanted twice that. {todo}")
    return Finding("disk", State.FINE, said)


def published(entry: Plugin) -> Published | None:
    """What a data set with these parameters should count to: the first line of published_counts.csv that fits."""
    given = _defaults(registry.find("datasets", entry.name)) | entry.params
    for line in _published():
        wanted = dict(part.split("=", 1) for part in line["params"].split())
        if line["dataset"] == entry.name and all(given.get(key) == yaml.safe_load(wanted[key]) for key in wanted):
            return Published(
                int(line["images"]) if line["images"] else None,
                int(line["instances"]) if line["instances"] else None,
                float(line["w"]) if line["w"] else None,
                float(line["w_within"] or 0),
                line["source"],
            )
    return None


def _defaults(cls: type[Any]) -> dict[str, Any]:
    return {name: one.default for name, one in inspect.signature(cls).parameters.items()}


@cache
def _published() -> Sequence[Mapping[str, str]]:
    with COUNTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
