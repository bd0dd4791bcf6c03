"""Removes rows, so that the next start makes them again: failed ones, and those of other code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow.compute as pc

from harness.storage.manifest import JobFacts
from harness.storage.shards import Header, of_samples, packed
from harness.storage.store import Store, file_of


def forget_failed(store: Store, job: JobFacts) -> int:
    """Remove the rows of samples in which an instance failed, so that these samples count as not done.

    Returns:
        How many samples.
    """
    forgotten: set[str] = set()
    for name, header in store.own(job).items():
        rows = store.read(job.key, name)
        failed = set(rows.filter(pc.not_equal(rows["status"], "ok"))["image_id"].to_pylist())
        if failed:
            kept = tuple(one for one in header.samples if one not in failed)
            # The new shard is written before the old one is removed. If a kill comes in between, both are there, and an
            # image in both counts once: nothing is lost, and the next start removes the failed rows again.
            if kept:
                content = packed(of_samples(rows, set(kept)), replace(header, samples=kept))
                store.folder.write(file_of(job.key, content), content)
            store.folder.remove(f"shards/{job.key}/{name}")
            forgotten |= failed
    return len(forgotten)


def forget_edited(store: Store, job: JobFacts) -> int:
    """Remove the shards that older code of the job's plugins made, so that their samples count as not done.

    Returns:
        How many samples.
    """
    return _forget(store, job, lambda header: bool(header.edited(job.code)))


def forget_given_up(store: Store, job: JobFacts) -> int:
    """Remove the failed rows of images on which workers died: the cause may have been outside, and may be gone.

    Returns:
        How many samples.
    """
    return _forget(store, job, lambda header: header.given_up)


def _forget(store: Store, job: JobFacts, chosen: Callable[[Header], bool]) -> int:
    old = {name: header for name, header in store.own(job).items() if chosen(header)}
    for name in old:
        store.folder.remove(f"shards/{job.key}/{name}")
    return len({one for header in old.values() for one in header.samples})
