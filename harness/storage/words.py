"""Finds the share of a run's words that a method does not know, from the headers of its shards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from harness.storage.manifest import JobFacts
from harness.storage.store import Store


def unknown_words(
    store: Store, jobs: Sequence[JobFacts], samples: Mapping[str, Collection[str]]
) -> dict[tuple[str, str], str]:
    """(method's label, data set's label) -> a sentence, for each job of a method that has a vocabulary of its own.

    Args:
        store: The run's store.
        jobs: The jobs whose rows count.
        samples: Data set's label -> the images that count.
    """
    several = len({job.dataset for job in jobs}) > 1
    said = {}
    for job in jobs:
        unknown = read = 0
        for _, header, fresh in store.counting(job, samples.get(job.dataset, ())):
            for sample in fresh & header.words.keys():
                unknown, read = unknown + header.words[sample][0], read + header.words[sample][1]
        if read:
            where = f" on {job.dataset}" if several else ""
            share = 100 * unknown / read
            counted = f"{share:.1f} % of the words ({unknown} of {read})"
            said[job.method, job.dataset] = f"{counted} are unknown to {job.method}{where}."
    return said
