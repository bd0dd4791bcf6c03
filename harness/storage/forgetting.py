"""Removes rows, so that the next start makes them again: failed ones, and those of other code.

Only images that the start asks for lose their rows: `run --only 139 --redo mine` tries an edit on one image, and the
others keep what took hours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import pyarrow.compute as pc

from harness.storage.manifest import JobFacts
from harness.storage.shards import Header, of_samples, packed
from harness.storage.store import Store, file_of


def forget_failed(store: Store, job: JobFacts, samples: Collection[str]) -> int:
    """Remove the rows of samples in which an instance failed, so that these samples count as not done.

    Args:
        store: The run's store.
        job: The job.
        samples: The samples that may lose their rows.

    Returns:
        How many samples.
    """

    def failed(name: str, _: Header) -> set[str]:
        rows = store.read(job.key, name)
        return set(rows.filter(pc.not_equal(rows["status"], "ok"))["image_id"].to_pylist())

    return _forget(store, job, samples, failed)


def forget_edited(store: Store, job: JobFacts, samples: Collection[str]) -> int:
    """Remove the rows that older code of the job's plugins made, so that their samples count as not done.

    Returns:
        How many samples.
    """
    return _forget(store, job, samples, lambda _, header: {*header.samples} if header.edited(job.code) else set())


def forget_given_up(store: Store, job: JobFacts, samples: Collection[str]) -> int:
    """Remove the failed rows of images on which workers died: the cause may have been outside, and may be gone.

    Returns:
        How many samples.
    """
    return _forget(store, job, samples, lambda _, header: {*header.samples} if header.given_up else set())


def _forget(store: Store, job: JobFacts, samples: Collection[str], chosen: Callable[[str, Header], set[str]]) -> int:
    """Remove the rows of the samples that `chosen` picks from a shard, by its name and header."""
    forgotten: set[str] = set()
    for name, header in store.own(job).items():
        if not (going := chosen(name, header).intersection(samples)):
            continue
        kept = tuple(one for one in header.samples if one not in going)
        # The new shard is written before the old one is removed. If a kill comes in between, both are there, and an
        # image in both counts once: nothing is lost, and the next start removes the same rows again.
        if kept:
            content = packed(of_samples(store.read(job.key, name), {*kept}), replace(header, samples=kept))
            store.folder.write(file_of(job.key, content), content)
        store.folder.remove(f"shards/{job.key}/{name}")
        forgotten |= going
    return len(forgotten)
