"""Finds plugins that were edited in the middle of a run, and counts the images whose rows the older code made."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.storage.manifest import JobFacts
from harness.storage.store import Store

NAMED_AT_MOST = 3
"""Jobs named one by one."""


@dataclass(frozen=True)
class OldRows:
    """The rows of a job that older code made.

    Attributes:
        job: The job, with the present code.
        plugins: The plugins that were edited: "method sam".
        images: How many images have such rows.
        of: How many images have rows at all.
    """

    job: JobFacts
    plugins: frozenset[str]
    images: int
    of: int


def old_rows(store: Store, jobs: Sequence[JobFacts], samples: Mapping[str, Collection[str]]) -> list[OldRows]:
    """The jobs with rows that older code of their plugins made; rows whose code was not noted are passed over.

    Args:
        store: The run's store.
        jobs: The jobs, with the present code.
        samples: Data set's label -> the images that count.
    """
    found = (_of_job(store, job, samples.get(job.dataset, ())) for job in jobs)
    return [one for one in found if one.images]


def _of_job(store: Store, job: JobFacts, wanted: Collection[str]) -> OldRows:
    # Only the headers are read: each has the hashes of the code that made the shard's rows. `fresh` are the images that
    # count in this shard and in no earlier one.
    plugins, images, of = set[str](), 0, 0
    for _, header, fresh in store.counting(job, wanted):
        edited = header.edited(job.code)
        plugins |= {*edited}
        images += len(fresh) if edited else 0
        of += len(fresh)
    return OldRows(job, frozenset(plugins), images, of)


def said_of(old: Sequence[OldRows]) -> str:
    """One sentence that names the edited plugins and counts the images with older rows; "" if there are none."""
    if not old:
        return ""
    plugins = sorted({plugin for one in old for plugin in one.plugins})
    *first, last = (f"the {plugin}" for plugin in plugins)
    edited = f"{', '.join(first)} and {last} were" if first else f"{last} was"
    named = [f"{one.images} of {one.of} images of {one.job.method} on {one.job.dataset}" for one in old]
    more = [f"and {len(named) - NAMED_AT_MOST} more"] if len(named) > NAMED_AT_MOST else []
    return (
        f"{edited[0].upper()}{edited[1:]} edited after these rows were made: {', '.join(named[:NAMED_AT_MOST] + more)}."
    )


def redo(old: Sequence[OldRows]) -> str:
    """The options of `run` that compute these rows again."""
    by_dataset = all(plugin.startswith("data set ") for one in old for plugin in one.plugins)
    labels = dict.fromkeys(one.job.dataset if by_dataset else one.job.method for one in old)
    return " ".join(f"--redo {shlex.quote(label)}" for label in labels)
