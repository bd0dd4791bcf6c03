"""Gives rows a new label, where only the label of their method or data set changed: nothing is computed again.

    config then    - {name: sam, label: SAM}            shards/SAM-coco-1f.../         rows of "SAM"
    config now     - {name: sam, label: SAM ViT-H}      shards/SAM-ViT-H-coco-9a.../   the same rows, of "SAM ViT-H"

Each shard names the parts that made it (`JobFacts.parts`), and no label is among them. So a job takes over shards that
have its own parts and are stored under labels that the config no longer has, or now gives to something else: two labels
may change places. Clicks, words and random numbers do not depend on labels either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from harness.storage.manifest import JobFacts
from harness.storage.shards import Header, of_samples, packed
from harness.storage.store import Store, file_of


@dataclass(frozen=True)
class Renamed:
    """Rows that get other labels.

    Attributes:
        then: The job with their labels until now.
        now: The config's job, which has the same parts.
        files: The shards of `then` that `now` takes over -> those of their samples that `now` lacks.
        taken: Whether the config now uses the old labels for something else, so that no shard may stay under them.
    """

    then: JobFacts
    now: JobFacts
    files: Mapping[str, set[str]]
    taken: bool

    @property
    def samples(self) -> set[str]:
        """The ids of the samples whose rows get the new label."""
        return set[str]().union(*self.files.values())

    def __str__(self) -> str:
        """One sentence for people."""
        then, now = (f"{job.method} on {job.dataset}" for job in (self.then, self.now))
        return f"{len(self.samples)} images of {then} are those of {now}, as only labels differ: not computed again."


def renamed(store: Store, jobs: Sequence[JobFacts]) -> list[Renamed]:
    """The rows under other labels that the jobs of a config can take over.

    Args:
        store: The run's store. Its manifest has the former labels.
        jobs: All jobs of the config.
    """
    # For each job of the config, every job in the manifest is a candidate. It is passed over if the config has it too,
    # with the same parts: then its rows stay where they are. A shard is taken over once (`claimed`), even if two jobs
    # of the config have equal parts.
    known = {key: JobFacts(**job) for key, job in store.manifest().get("jobs", {}).items()}
    wanted = {job.key: job for job in jobs}
    found: list[Renamed] = []
    claimed: set[tuple[str, str]] = set()
    for job in jobs:
        done = store.done(job)
        for key, then in known.items():
            own = wanted.get(key)
            if own is not None and own.parts == job.parts:  # The job itself, or one of the same parts that keeps them.
                continue
            files: dict[str, set[str]] = {}
            for name, header in store.headers(key).items():
                fresh = {*header.samples} - done
                if header.made_by(job.parts) and (fresh or own) and (key, name) not in claimed:
                    files[name] = fresh
                    done |= fresh
            claimed |= {(key, name) for name in files}
            found += [Renamed(then, job, files, own is not None)] if files else []
    return found


def rename(store: Store, one: Renamed) -> None:
    """Give rows their new label, shard by shard; if this is killed halfway, the next start does the rest.

    The manifest must have the new job already, so that the rows are found again whichever labels the next config has.
    """
    for name, fresh in one.files.items():
        header = store.headers(one.then.key)[name]
        if fresh:
            content = _labelled(store.read(one.then.key, name), one.now, header, fresh)
            store.folder.write(file_of(one.now.key, content), content)
        # The copy is written first, so a kill in between leaves both. The old shard goes only if all its samples were
        # copied, or if its label now means something else, under which these rows would be wrong.
        if one.taken or fresh == {*header.samples}:
            store.folder.remove(f"shards/{one.then.key}/{name}")


def _labelled(rows: pa.Table, job: JobFacts, header: Header, samples: set[str]) -> pa.Buffer:
    """A shard with some samples of another one, under a job's labels; all other columns stay as they were."""
    rows = of_samples(rows, samples)
    for column, label in (("method", job.method), ("dataset", job.dataset)):
        at = rows.schema.get_field_index(column)
        rows = rows.set_column(at, rows.schema.field(at), pa.array([label] * len(rows), pa.string()))
    return packed(rows, replace(header, samples=tuple(one for one in header.samples if one in samples)))
