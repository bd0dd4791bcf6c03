"""Images that lie in several shards of a job, as after a merge or a killed driver: all must say the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from harness.storage.completeness import Asked, Findings
from harness.storage.rows import MEASURED, ORDER
from harness.storage.shards import of_samples
from harness.storage.store import JobFacts, Store

APART = (*MEASURED, "device", "run")
"""Columns that may differ: times and places, and the name of the run from which a shard was merged."""


def check_repeats(found: Findings, store: Store, asked: Asked) -> None:
    """Every image has one answer, in however many shards it lies; of two answers tables show one, silently.

    Raises:
        UserError: A shard is damaged.
    """
    first: dict[str, tuple[str, str]] = {}
    other: list[str] = []
    for shard, images, rows in _again(store, asked.job):
        answers = _answers(rows)
        for image in images:
            before, there = first.setdefault(image, (answers.get(image, ""), shard))
            if answers.get(image, "") != before:
                other.append(f"'{image}' in {there} and in {shard}")
    if first:
        found.say(f"{asked.name}: {len(first)} images lie in several shards, with the same rows", *_told(asked, other))


def _told(asked: Asked, other: list[str]) -> Iterator[str]:
    if other:
        yield (
            f"{asked.name}: {len(other)} times an image has other rows in another shard, first {other[0]}; tables show "
            f"the former. Delete one of the two from shards/{asked.job.key}, and run again"
        )


def _again(store: Store, job: JobFacts) -> Iterator[tuple[str, set[str], pa.Table]]:
    """Each shard, in the order in which they count, with its images that lie in another, too, and their rows."""
    headers = {name: one for name, one in store.headers(job.key).items() if one.made_by(job.parts)}
    told = Counter(image for header in headers.values() for image in header.samples)
    again = {image for image, shards in told.items() if shards > 1}
    for name, header in headers.items():
        if images := again.intersection(header.samples):
            yield name, images, of_samples(store.read(job.key, name), images)


def _answers(rows: pa.Table) -> dict[str, str]:
    """Image -> what its rows say, but for what may differ."""
    kept = rows.drop_columns(list(APART)).sort_by([(name, "ascending") for name in ORDER])
    said: dict[str, list[str]] = {}
    for row in kept.to_pylist():
        said.setdefault(row["image_id"], []).append(repr(row))
    return {image: hashlib.sha256("".join(lines).encode()).hexdigest() for image, lines in said.items()}
