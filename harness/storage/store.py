"""runs/<run>/: a manifest, and one Parquet file a shard; a finished shard is never redone.

    runs/<run>/manifest.json        what was run: config, jobs with what made them, environment, starts; checksummed
    runs/<run>/samples.parquet      the samples that the config asks for
    runs/<run>/shards/<job>/<sha256>.parquet   the records of some samples of one job, written whole or not at all
    runs/<run>/results.parquet      all rows of the current config, sorted; the manifest has its SHA-256
    runs/<run>/report.md            its tables
    runs/<run>/lock.json            while it is being written: by whom

A job is a method on a data set. The header of each shard names its samples and what made the rows, so a resumed run
needs no other memory, and a run that loses its manifest loses only the record of its starts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from harness import messages, places
from harness.storage.folder import Folder
from harness.storage.manifest import (
    MANIFEST,
    PARTS,
    JobFacts,
    Samples,
    difference,
    metrics_of,
    read_manifest,
    save_manifest,
    save_samples,
)
from harness.storage.rows import as_frame, give_back, joined, ordered, schema, with_dictionaries
from harness.storage.shards import Header, changed, header_of, is_name, name_of, of_samples, rows_of, shard
from harness.structures import Record, UserError

READERS = 8
"""How many shards are read at once: in a bucket, most of the time is spent waiting for answers."""

NAMED = 20
"""How many runs a message names at most, the newest ones."""

RESULTS, REPORT = "results.parquet", "report.md"

_log = logging.getLogger(__name__)


class Store:
    """A run's folder, on a disk or in a bucket."""

    def __init__(self, place: Folder | Path | str) -> None:
        self.folder = place if isinstance(place, Folder) else Folder.at(place)
        self._known: dict[tuple[str, str], Header] = {}

    def __reduce__(self) -> tuple[type[Store], tuple[Folder]]:
        return Store, (self.folder,)  # Workers do not need the headers of the shards.

    def open(
        self,
        config: Mapping[str, Any],
        jobs: Sequence[JobFacts],
        start: Mapping[str, Any],
        samples: Samples | None = None,
    ) -> None:
        """Add this start to the manifest, which the first start creates; incomplete shards are removed.

        Args:
            config: The config, as JSON.
            jobs: The jobs that it asks for.
            start: Facts about this start, such as its time and host.
            samples: The samples that it asks for.

        Raises:
            UserError: Rows with the same labels were made by something else, or by something unknown.
        """
        manifest = self.manifest()
        self.remove_left_over()
        self._remove_damaged(jobs)
        # Before anything is written: a config that does not fit the rows must leave the manifest as it was.
        self.check(jobs)
        manifest["config"] = config
        manifest.pop(PARTS, None)  # A start that is no part has all the images.
        manifest["jobs"] = manifest.get("jobs", {}) | {job.key: asdict(job) for job in jobs}
        manifest["samples"] = save_samples(self.folder, samples or {})
        manifest["starts"] = [*manifest.get("starts", []), start]
        save_manifest(self.folder, manifest)

    def close(self, start: str = "", /, **facts: Any) -> None:
        """Add facts to the manifest's last start, or to the one with this id, which has others behind it."""
        manifest = self.begun()
        starts = [one for one in manifest["starts"] if one.get("id") == start] if start else manifest["starts"][-1:]
        for one in starts:
            one.update(facts)
        save_manifest(self.folder, manifest)

    def begun(self) -> dict[str, Any]:
        """The manifest of a run that this start has opened.

        Raises:
            UserError: It was removed since.
        """
        manifest = self.manifest()
        if not manifest:
            raise UserError(
                f"{self.folder / MANIFEST}: removed since this start began. The rows are kept; wanted the file, "
                "which the same command writes again."
            )
        return manifest

    def manifest(self) -> dict[str, Any]:
        """The content of the manifest; empty before the first start."""
        return read_manifest(self.folder)

    def check(self, jobs: Sequence[JobFacts]) -> None:
        """Refuse rows that these jobs would make differently.

        Rows are not refused if another of the jobs has the same parts: then labels changed places (`storage.labels`).

        Raises:
            UserError: There are such rows; the message names the parts that differ.
        """
        for job in jobs:
            for name, header in self.headers(job.key).items():
                differing = changed(header.parts, job.parts)
                if differing and not any(header.made_by(other.parts) for other in jobs):
                    raise self._made_otherwise(job, name, header.parts, differing)

    def done(self, job: JobFacts) -> set[str]:
        """The ids of the samples whose records are there."""
        return {one for header in self.own(job).values() for one in header.samples}

    def write(
        self,
        job: JobFacts,
        sample_ids: Sequence[str],
        records: Sequence[Record],
        given_up: bool = False,
        words: Mapping[str, Sequence[int]] = {},
    ) -> str:
        """Write a finished shard, whole or not at all; `given_up` and `words` as in its `Header`.

        Returns:
            Its file, within the run's folder.

        Raises:
            UserError: It cannot be written, as on a full disk; earlier shards are kept.
        """
        content = shard(records, job.metrics, Header(tuple(sample_ids), job.parts, job.code, given_up, words))
        file = file_of(job.key, content)
        self.folder.write(file, content)
        return file

    def rows(
        self,
        jobs: Sequence[JobFacts],
        sample_ids: Mapping[str, Collection[str]],
        masks: bool = False,
        coded: bool = False,
    ) -> pd.DataFrame:
        """All rows of these jobs, sorted.

        Args:
            jobs: The current config's. Rows of other jobs in the folder, and rows made by other parts, are not read.
            sample_ids: Data set label -> the samples that count.
            masks: Whether to read the predicted masks, too, which are most of the bytes and which no table needs.
            coded: Whether text columns are the categoricals of `rows.coded`.
        """
        tables = [schema(metrics_of(jobs), masks).empty_table(), *self.tables(jobs, sample_ids, masks)]
        return as_frame(pa.concat_tables(map(with_dictionaries, tables) if coded else tables))

    def tables(
        self, jobs: Sequence[JobFacts], sample_ids: Mapping[str, Collection[str]], masks: bool = True
    ) -> Iterator[pa.Table]:
        """The same in pieces, so that never more than one job's rows must be in memory at once."""
        columns = schema(metrics_of(jobs), masks)
        for job in sorted(jobs, key=lambda job: (job.dataset, job.method)):
            parts = list(joined(self._parts(job, set(sample_ids[job.dataset]), columns)))
            yield from ordered(parts) if parts else ()
            del parts
            give_back()

    def headers(self, key: str) -> dict[str, Header]:
        """File name -> header, of every whole shard of a job, sorted."""
        # A shard's name is the hash of its content, so the content under a name never changes. Each header is read once
        # and kept; a later call opens only the files that came since. A file without a readable header is tried again,
        # for it may be on its way.
        names = self.folder_of(key).files(".parquet")
        new = [name for name in names if (key, name) not in self._known]
        with ThreadPoolExecutor(READERS) as pool:
            for name, header in zip(new, pool.map(lambda name: self._header(key, name), new), strict=True):
                if header:
                    self._known[key, name] = header
        if new:
            give_back()
        return {name: self._known[key, name] for name in names if (key, name) in self._known}

    def read(self, key: str, name: str) -> pa.Table:
        """All rows of one shard, with the columns that it has.

        Raises:
            UserError: Its content does not match its name.
        """
        return self._read(key, name, self._content(key, name))

    def _content(self, key: str, name: str) -> bytes:
        try:
            return self.folder.read(f"shards/{key}/{name}")
        except FileNotFoundError as error:
            raise UserError(
                f"{self.folder_of(key) / name}: removed since it was listed, by another start at this run or by hand. "
                "Give the same command again."
            ) from error

    def _read(self, key: str, name: str, content: bytes, columns: pa.Schema | None = None) -> pa.Table:
        header = self._known.get((key, name))
        try:
            if header and name != name_of(content):
                raise ValueError("its content is not what its name says")
            return rows_of(content, columns)
        except ValueError as error:
            raise UserError(
                f"{self.folder_of(key) / name}: damaged ({error}). Delete it and run again: its samples are redone."
            ) from error

    def folder_of(self, key: str) -> Folder:
        """The folder of a job's shards."""
        return self.folder / "shards" / key

    def _parts(self, job: JobFacts, wanted: set[str], columns: pa.Schema) -> Iterator[pa.Table]:
        """The rows of some samples, shard by shard; the next files are fetched meanwhile, but not decoded."""
        parts = list(self.counting(job, wanted))
        with ThreadPoolExecutor(READERS) as pool:
            contents = pool.map(lambda part: self._content(job.key, part[0]), parts)
            for (name, _, fresh), content in zip(parts, contents, strict=True):
                yield of_samples(self._read(job.key, name, content, columns), fresh)

    def counting(self, job: JobFacts, wanted: Collection[str]) -> Iterator[tuple[str, Header, set[str]]]:
        """The file and the header of each shard that counts, and the wanted samples that count in it."""
        #    shard 1    a b c      wanted a c d      shard 1 counts for a c
        #    shard 2    c d                          shard 2 counts for d, for c is taken
        left = set(wanted)
        for name, header in self.own(job).items():
            # A sample may be in two shards if a start was killed while its workers went on; the first one counts.
            fresh = left.intersection(header.samples)
            left -= fresh
            if fresh:
                yield name, header, fresh

    def own(self, job: JobFacts) -> dict[str, Header]:
        """File name -> header, of the shards with the job's own parts; two of them may have the same sample."""
        return {name: header for name, header in self.headers(job.key).items() if header.made_by(job.parts)}

    def _header(self, key: str, name: str) -> Header | None:
        try:
            with self.folder_of(key).opened(name) as file:
                return header_of(file)
        except (ValueError, FileNotFoundError):
            return None

    def remove_left_over(self) -> None:
        """Remove the temporary files of killed writers. Only the owner of the run's lock may call this.

        If a worker of a killed start still runs, its write fails, which does no harm: this start counts its samples as
        not done anyway.
        """
        shards = self.folder / "shards"
        for folder in (self.folder, *(shards / key for key in shards.folders())):
            folder.remove_left_over()

    def _remove_damaged(self, jobs: Sequence[JobFacts]) -> None:
        """Remove shards that are not whole."""
        for job in jobs:
            folder, whole = self.folder_of(job.key), self.headers(job.key)
            for name in folder.files():
                if is_name(name) and name not in whole:
                    _log.warning("%s: no whole shard; removed, and its samples are redone.", folder / name)
                    folder.remove(name)

    def _made_otherwise(self, job: JobFacts, name: str, then: Mapping[str, str], differing: Sequence[str]) -> UserError:
        known = self.manifest().get("jobs", {}).get(job.key, {})
        details = "; ".join(_difference(part, then, job, known) for part in differing)
        return UserError(
            f"{self.folder}: found rows of {job.method} on {job.dataset} that were made with other settings or files "
            f"({details}), as in shards/{job.key}/{name}; wanted the same. Give this run another name (`run:`), the "
            f"method another `label:`, or delete {self.folder_of(job.key)} to redo these rows."
        )


def file_of(key: str, content: pa.Buffer) -> str:
    """The path of a job's shard, within the run's folder."""
    return f"shards/{key}/{name_of(content)}"


def _difference(part: str, then: Mapping[str, str], job: JobFacts, known: Mapping[str, Any]) -> str:
    """Describes how a part differs: value by value, if the manifest describes the same state as the shard."""
    same = known and known["parts"].get(part) == then.get(part)
    said = difference(part, known["about"], job.about) if same else ""
    return said or f"{part}: {then.get(part, 'unknown')} then, {job.parts[part]} now"


def store_of(run: str, runs: str | Path | None = None) -> Store:
    """The store of a run by its name.

    Args:
        run: The run's name.
        runs: The folder or bucket of all runs; by default the one in HARNESS_RUNS, or runs/ in the checkout.
    """
    return Store(Folder.at(runs or _runs()) / run)


def found_at(place: str | Path) -> Store:
    """The store of a run that was made, by its folder, its bucket or its name.

    A relative folder counts from the current one or, if no run is there, from ROOT, as the paths in configs do. A name
    is that of a run in the folder of all runs. If no run is found, the store has no manifest.
    """
    here = Store(place)
    if "://" in str(place) or here.folder.exists(MANIFEST):
        return here
    if "/" not in str(place):
        return store_of(str(place))
    at_root = Store(places.ROOT / place)
    return at_root if at_root.folder.exists(MANIFEST) else here


def no_run(store: Store) -> UserError:
    """The error for a folder without a run: it names runs that are kept where runs are, on a disk the newest ones."""
    names = _kept(Folder.at(_runs()))[-NAMED:]
    name = store.folder.path.rpartition("/")[2]
    there = messages.suggest(name, names) if names else "There is none yet: python -m harness run CONFIG makes one."
    return UserError(f"{store.folder}: no manifest.json in it; wanted the folder of a run, or its name. {there}")


def _kept(runs: Folder) -> list[str]:
    """The names of the runs in a folder, the newest last, or in a bucket, sorted."""
    if runs.local is None:
        return [name for name in runs.folders() if (runs / name).exists(MANIFEST)]
    found = sorted(runs.local.glob(f"*/{MANIFEST}"), key=lambda file: file.stat().st_mtime)
    return [file.parent.name for file in found]


def _runs() -> str | Path:
    """The folder or bucket of all runs: the one in HARNESS_RUNS, or runs/ under ROOT."""
    return os.environ.get("HARNESS_RUNS") or places.ROOT / "runs"
