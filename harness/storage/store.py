"""runs/<run>/: a manifest, and one Parquet file a shard; a finished shard is never redone.

    runs/<run>/manifest.json        what was run: config, jobs with what made them, environment, starts; checksummed
    runs/<run>/samples.parquet      the samples that the config asks for
    runs/<run>/shards/<job>/<sha256>.parquet   the records of some samples of one job, written whole or not at all
    runs/<run>/results.parquet      all rows of the current config, sorted; the manifest has its SHA-256
    runs/<run>/report.md            its tables
    runs/<run>/lock.json            while it is being written: by whom

A job is a method on a data set. Each shard says which samples it holds and what made them, so a resumed run needs no
other memory, and a run whose manifest is lost loses only the record of its starts.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness import places
from harness.config.parts import fingerprint
from harness.storage.folder import Folder
from harness.storage.manifest import (
    MANIFEST,
    JobFacts,
    Samples,
    difference,
    metrics_of,
    read_manifest,
    save_manifest,
    save_samples,
)
from harness.storage.rows import ORDER, TEXTS, as_frame, give_back, joined, ordered, schema, with_dictionaries
from harness.storage.shards import Header, changed, header_of, is_name, name_of, of_samples, packed, rows_of, shard
from harness.structures import Record, UserError

READERS = 8
"""Shards read at once; in a bucket each waits for its answer."""

RESULTS, REPORT = "results.parquet", "report.md"

_MADE_OF = b"harness.made_of"

_log = logging.getLogger(__name__)


class Store:
    """A run's folder, on a disk or in a bucket."""

    def __init__(self, place: Folder | Path | str) -> None:
        self.folder = place if isinstance(place, Folder) else Folder.at(place)
        self._known: dict[tuple[str, str], Header] = {}

    def __reduce__(self) -> tuple[type[Store], tuple[Folder]]:
        return Store, (self.folder,)  # Workers need not be told what the shards hold.

    def open(
        self,
        config: Mapping[str, Any],
        jobs: Sequence[JobFacts],
        start: Mapping[str, Any],
        samples: Samples | None = None,
    ) -> None:
        """Add this start to the manifest, creating it at the first; what is no whole shard is removed.

        Args:
            config: As JSON.
            jobs: What it asks for.
            start: What is known of this start.
            samples: What it asks for.

        Raises:
            UserError: Rows of the same labels were made from something else, or nobody knows from what.
        """
        manifest = self.manifest()
        self.remove_left_over()
        self._remove_damaged(jobs)
        # Before anything is written: a config that does not fit the rows must leave the manifest as it was.
        self.check(jobs)
        manifest["config"] = config
        manifest["jobs"] = manifest.get("jobs", {}) | {job.key: asdict(job) for job in jobs}
        manifest["samples"] = save_samples(self.folder, samples or {})
        manifest["starts"] = [*manifest.get("starts", []), start]
        save_manifest(self.folder, manifest)

    def close(self, **facts: Any) -> None:
        """Add facts to the manifest's last start."""
        manifest = self.begun()
        manifest["starts"][-1].update(facts)
        save_manifest(self.folder, manifest)

    def begun(self) -> dict[str, Any]:
        """The manifest of a run that this start has opened.

        Raises:
            UserError: Somebody has removed it since.
        """
        manifest = self.manifest()
        if not manifest:
            raise UserError(
                f"{self.folder / MANIFEST}: removed since this start began. The rows are kept; wanted the file, which "
                "the same command writes anew."
            )
        return manifest

    def manifest(self) -> dict[str, Any]:
        """What the manifest says; empty before the first start."""
        return read_manifest(self.folder)

    def check(self, jobs: Sequence[JobFacts]) -> None:
        """Refuse rows that were made otherwise than these jobs would make them.

        Rows that another of the jobs would make so are none of these: labels changed places (`storage.labels`).

        Raises:
            UserError: Naming the parts that differ.
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
            UserError: It cannot be written, as on a full disk; what was written before is kept.
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
            jobs: Of the current config; what others left in the folder, or what was made otherwise, is not read.
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

    def write_results(self, jobs: Sequence[JobFacts], sample_ids: Mapping[str, Collection[str]]) -> int:
        """Write results.parquet, note its SHA-256 in the manifest, and remove report.md, which is of the former rows.

        Returns:
            How many rows.
        """
        sink, count = pa.BufferOutputStream(), 0
        columns = schema(metrics_of(jobs)).with_metadata({_MADE_OF: self._state(jobs, sample_ids)})
        with pq.ParquetWriter(sink, columns, compression="zstd", write_page_checksum=True) as writer:
            for rows in self.tables(jobs, sample_ids):
                writer.write_table(rows)
                count += len(rows)
        # The order matters if a kill comes in between. The report goes first, for it tells of the former rows. Between
        # the next two steps the file does not have the SHA-256 in the manifest, so that readers take the shards
        # instead.
        content = sink.getvalue()
        self.folder.remove(REPORT)
        self.folder.write(RESULTS, content)
        if manifest := self.manifest():
            save_manifest(self.folder, manifest | {"results": {"sha256": hashlib.sha256(content).hexdigest()}})
        return count

    def latest(
        self,
        jobs: Sequence[JobFacts],
        sample_ids: Mapping[str, Collection[str]],
        masks: bool = False,
        coded: bool = False,
    ) -> pd.DataFrame:
        """As `rows`, but read from results.parquet, one file instead of many, if it holds as `results_hold` says."""
        rows = self.results(masks, coded) if self.results_hold(jobs, sample_ids) else None
        return self.rows(jobs, sample_ids, masks, coded) if rows is None else rows

    def results_hold(self, jobs: Sequence[JobFacts], sample_ids: Mapping[str, Collection[str]]) -> bool:
        """Whether results.parquet is as it was written, of these jobs' samples and of the shards that are there now.

        A warning says if it is another file than the manifest tells of.
        """
        try:
            if not self.results_intact():
                if "results" in self.manifest():  # A manifest that was lost and made anew tells of no file yet.
                    _log.warning(
                        "%s: not the file that manifest.json tells of: it was altered, or a start was killed while it "
                        "wrote it. The shards are read instead; python -m harness report %s writes it anew.",
                        self.folder / RESULTS,
                        self.folder,
                    )
                return False
            with self.folder.opened(RESULTS) as file:
                told = pq.read_schema(file).metadata or {}
        except (pa.ArrowException, OSError, UserError):
            return False
        return told.get(_MADE_OF) == self._state(jobs, sample_ids)

    def results_intact(self) -> bool:
        """Whether results.parquet has the SHA-256 that the manifest says.

        Raises:
            FileNotFoundError: There is none.
        """
        return self.folder.sha256(RESULTS) == self.manifest().get("results", {}).get("sha256")

    def results(self, masks: bool = False, coded: bool = False) -> pd.DataFrame | None:
        """The rows of results.parquet, without a look at the shards; None where the file is absent or damaged."""
        try:
            with self.folder.opened(RESULTS) as file:
                dictionaries = list(TEXTS) if coded else None
                found = pq.ParquetFile(file, page_checksum_verification=True, read_dictionary=dictionaries)
                names = [name for name in found.schema_arrow.names if masks or name != "mask"]
                rows = found.read(columns=names)
        except (pa.ArrowException, OSError, UserError):
            return None
        return as_frame(rows) if set(ORDER) - {"draw"} <= set(names) else None  # Early runs have no draws.

    def forget_failed(self, job: JobFacts) -> int:
        """Remove the rows of samples in which an instance failed, so that these samples count as not done.

        Returns:
            How many samples.
        """
        forgotten: set[str] = set()
        for name, header in self.own(job).items():
            rows = self.read(job.key, name)
            failed = set(rows.filter(pc.not_equal(rows["status"], "ok"))["image_id"].to_pylist())
            if failed:
                kept = tuple(one for one in header.samples if one not in failed)
                if kept:  # Written before the other goes: of what is in both, the first one counts.
                    content = packed(of_samples(rows, set(kept)), replace(header, samples=kept))
                    self.folder.write(file_of(job.key, content), content)
                self.folder.remove(f"shards/{job.key}/{name}")
                forgotten |= failed
        return len(forgotten)

    def forget_edited(self, job: JobFacts) -> int:
        """Remove the shards that other code of the job's plugins made, so that their samples count as not done.

        Returns:
            How many samples.
        """
        return self._forget(job, lambda header: bool(header.edited(job.code)))

    def forget_given_up(self, job: JobFacts) -> int:
        """Remove the failed rows of images on which workers died: the cause may lie outside, and may be gone.

        Returns:
            How many samples.
        """
        return self._forget(job, lambda header: header.given_up)

    def _forget(self, job: JobFacts, chosen: Callable[[Header], bool]) -> int:
        old = {name: header for name, header in self.own(job).items() if chosen(header)}
        for name in old:
            self.folder.remove(f"shards/{job.key}/{name}")
        return len({one for header in old.values() for one in header.samples})

    def headers(self, key: str) -> dict[str, Header]:
        """File name -> header, of every whole shard of a job, sorted."""
        # A shard's name is the hash of its content, so what stands under a name never changes: one header read is
        # enough for the whole run, and a second look opens only the files that came since. What is no shard is looked
        # at again.
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
            UserError: It is not as it was written.
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

    def _state(self, jobs: Sequence[JobFacts], sample_ids: Mapping[str, Collection[str]]) -> bytes:
        """A fingerprint of all that results.parquet is made of: the samples asked for, the shards, the metrics."""
        # The names of the shards are hashes of their contents: one more, one less or another one changes this list.
        of = {job.key: list(self.own(job)) for job in jobs}
        wanted = {name: list(ids) for name, ids in sample_ids.items()}
        return fingerprint([of, wanted, metrics_of(jobs)]).encode()

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
        """Where a job's shards lie."""
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
            # A sample may lie in two shards if a start was killed while its workers went on; the first one counts.
            fresh = left.intersection(header.samples)
            left -= fresh
            if fresh:
                yield name, header, fresh

    def own(self, job: JobFacts) -> dict[str, Header]:
        """File name -> header, of those shards that were made as the job would make them, in the order that counts."""
        return {name: header for name, header in self.headers(job.key).items() if header.made_by(job.parts)}

    def _header(self, key: str, name: str) -> Header | None:
        try:
            with self.folder_of(key).opened(name) as file:
                return header_of(file)
        except (ValueError, FileNotFoundError):
            return None

    def remove_left_over(self) -> None:
        """Remove the temporary files of killed writers: who holds the run's lock knows that they write no more.

        A worker of theirs that lives on fails to write its shard, whose samples this start counts as not done anyway.
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
            f"{self.folder}: holds rows of {job.method} on {job.dataset} that were made otherwise ({details}), as in "
            f"shards/{job.key}/{name}. Wanted the same. Give this run another name (`run:`), the method another "
            f"`label:`, or delete {self.folder_of(job.key)} to redo these rows."
        )


def file_of(key: str, content: pa.Buffer) -> str:
    """Where a shard of a job lies, within the run's folder."""
    return f"shards/{key}/{name_of(content)}"


def _difference(part: str, then: Mapping[str, str], job: JobFacts, known: Mapping[str, Any]) -> str:
    """How a part differs: value by value, where the manifest speaks of the same state as the shard."""
    same = known and known["parts"].get(part) == then.get(part)
    said = difference(part, known["about"], job.about) if same else ""
    return said or f"{part}: {then.get(part, 'unknown')} then, {job.parts[part]} now"


def store_of(run: str, runs: str | Path | None = None) -> Store:
    """The store of a run by its name.

    Args:
        run: The run's name.
        runs: Where runs are kept, a folder or a bucket; by default what HARNESS_RUNS says, or runs/ in the checkout.
    """
    return Store(Folder.at(runs or os.environ.get("HARNESS_RUNS") or places.ROOT / "runs") / run)
