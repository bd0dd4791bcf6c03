"""A method or a data set whose label alone changed in the config: its rows get the new label, and none is made again.

    config then    - {name: sam, label: SAM}            shards/SAM-coco-1f.../         rows of "SAM"
    config now     - {name: sam, label: SAM ViT-H}      shards/SAM-ViT-H-coco-9a.../   the same rows, of "SAM ViT-H"

What made rows (`JobFacts.parts`) holds no label, and each shard says what made it. So a job takes over the shards that
were made as it would make them and lie under labels that the config no longer has, or now gives to something else:
two labels may change places. Clicks, words and chance do not depend on labels either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from harness.storage.manifest import JobFacts, save_manifest
from harness.storage.shards import Header, of_samples, packed
from harness.storage.store import Store, file_of


@dataclass(frozen=True)
class Renamed:
    """Rows that go by other labels now.

    Attributes:
        then: The job of their labels until now.
        now: The config's job, which was made of the same parts.
        files: The former's shards that the latter takes over -> those of their samples that the latter lacks.
        taken: Whether the config gives the former labels to something else, so that no shard may stay under them.
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
    """What the jobs of a config can take over of the rows that a run has under other labels.

    Args:
        store: Where the rows are. Its manifest tells which labels it had.
        jobs: All of the config.
    """
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
    """Give rows their new label, shard by shard. The next start goes on with what a start leaves that is killed within.

    The manifest must know the new job already: so the rows are found again whichever labels the next config has.
    """
    manifest = store.manifest()
    for start in manifest["starts"]:
        _say_of_both(start, one.then.key, one.now.key)
    save_manifest(store.folder, manifest)
    for name, fresh in one.files.items():
        header = store.headers(one.then.key)[name]
        if fresh:
            content = _labelled(store.read(one.then.key, name), one.now, header, fresh)
            store.folder.write(file_of(one.now.key, content), content)
        if one.taken or fresh == {*header.samples}:
            store.folder.remove(f"shards/{one.then.key}/{name}")


def _labelled(rows: pa.Table, job: JobFacts, header: Header, samples: set[str]) -> pa.Buffer:
    """A shard of some samples of another one, under a job's labels; all other columns are as they were."""
    rows = of_samples(rows, samples)
    for column, label in (("method", job.method), ("dataset", job.dataset)):
        at = rows.schema.get_field_index(column)
        rows = rows.set_column(at, rows.schema.field(at), pa.array([label] * len(rows), pa.string()))
    return packed(rows, replace(header, samples=tuple(one for one in header.samples if one in samples)))


def _say_of_both(start: dict[str, Any], then: str, now: str) -> None:
    """Let the manifest's start say of a new job's key, too, what it says of the former's."""
    if then in start.get("peaks", {}):
        start["peaks"][now] = start["peaks"][then]
    if then in start.get("reads_text", ()):
        start["reads_text"] = sorted({*start["reads_text"], now})
