"""runs/<run>/: a manifest, and one Parquet file a shard; a finished shard is never redone.

    runs/<run>/manifest.json            what was run: config, jobs with what made them, environment, starts
    runs/<run>/shards/<job>/<ids>.parquet   the records of some samples of one job, written whole or not at all
    runs/<run>/results.parquet          all rows of the current config, sorted
    runs/<run>/report.md                its tables

A job is a method on a data set. Each shard's file names the samples it holds, so a resumed run needs no other memory.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.config import fingerprint
from harness.metrics import METRICS
from harness.structures import Record, UserError

_CLICKS = pa.list_(pa.struct([("x", pa.int32()), ("y", pa.int32()), ("positive", pa.bool_())]))

COLUMNS: dict[str, pa.DataType] = {
    "run": pa.string(),
    "dataset": pa.string(),
    "dataset_plugin": pa.string(),
    "method": pa.string(),
    "method_plugin": pa.string(),
    "ranking": pa.string(),
    "image_id": pa.string(),
    "instance_id": pa.string(),
    "category": pa.string(),
    "seen": pa.bool_(),
    "text": pa.string(),
    "click_strategy": pa.string(),
    "clicks": _CLICKS,
    "click_index": pa.int32(),
    "candidate": pa.int32(),
    "intersection": pa.int64(),
    "union": pa.int64(),
    "gt_area": pa.int64(),
    "pred_area": pa.int64(),
    "same_class_count": pa.int32(),
    "height": pa.int32(),
    "width": pa.int32(),
    "mask": pa.binary(),
    "encode_ms": pa.float32(),
    "segment_ms": pa.float32(),
    "device": pa.string(),
    "status": pa.string(),
    "error": pa.string(),
}
"""Every column but the metrics, which are float64 columns of their names."""

ORDER = ["dataset", "method", "image_id", "instance_id", "click_index", "ranking"]
"""How result rows are sorted, whatever the order in which shards came."""

MEASURED = ("encode_ms", "segment_ms")
"""The only columns that differ between two runs of one config."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SAMPLES = b"harness.samples"


@dataclass(frozen=True)
class JobFacts:
    """What made a job's rows; each part is a fingerprint or a readable value.

    Attributes:
        method: The method's label.
        dataset: The data set's label.
        parts: Part -> its state, a fingerprint or readable: "method", "weights", "dataset", "clicks", ...
        about: For people: plugin names, parameters, checkpoint hashes.
    """

    method: str
    dataset: str
    parts: Mapping[str, str]
    about: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The job's folder: a readable start and a hash of the labels."""
        readable = "".join(c if c.isalnum() else "-" for c in f"{self.method}-{self.dataset}")[:48].strip("-")
        return f"{readable}-{fingerprint([self.method, self.dataset])[:8]}"


class Store:
    """A run's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, config: Mapping[str, Any], jobs: Sequence[JobFacts], start: Mapping[str, Any]) -> None:
        """Add this start to the manifest, creating it at the first.

        Raises:
            UserError: An earlier start made rows of the same labels from something else.
        """
        manifest = self.manifest()
        known = manifest.get("jobs", {})
        for job in jobs:
            self._check(job, known.get(job.key))
        manifest["config"] = config
        manifest["jobs"] = known | {job.key: asdict(job) for job in jobs}
        manifest["starts"] = [*manifest.get("starts", []), start]
        self._save(manifest)

    def close(self, **facts: Any) -> None:
        """Add to the last start what is known at its end."""
        manifest = self.manifest()
        manifest["starts"][-1].update(facts)
        self._save(manifest)

    def manifest(self) -> dict[str, Any]:
        """The manifest; empty before the first start.

        Raises:
            UserError: The file is damaged.
        """
        path = self.root / "manifest.json"
        if not path.is_file():
            return {}
        try:
            return dict(json.loads(path.read_text()))
        except ValueError as error:
            raise UserError(f"{path}: damaged ({error}). Move {self.root} away and run again.") from error

    def done(self, job: JobFacts) -> set[str]:
        """The ids of the samples whose records are there."""
        found: set[str] = set()
        for path in sorted(self._shards(job).glob("*.parquet")):
            found.update(samples_in(path))
        return found

    def write(self, job: JobFacts, sample_ids: Sequence[str], records: Sequence[Record]) -> None:
        """Write a finished shard, whole or not at all.

        Raises:
            UserError: The disk is full; what was written before is kept.
        """
        path = self._shards(job) / f"{fingerprint(list(sample_ids))}.parquet"
        write_parquet(path, table(records, sample_ids))

    def rows(self, jobs: Sequence[JobFacts], sample_ids: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        """All rows of these jobs, sorted.

        Args:
            jobs: Of the current config; what others left in the folder is not read.
            sample_ids: Data set label -> the samples that count.
        """
        parts = [self._job_rows(job, set(sample_ids[job.dataset])) for job in jobs]
        rows = pd.concat(parts, ignore_index=True) if parts else table([], []).to_pandas()
        return rows.sort_values(ORDER, kind="stable", na_position="first", ignore_index=True)

    def _job_rows(self, job: JobFacts, wanted: set[str]) -> pd.DataFrame:
        files = sorted(self._shards(job).glob("*.parquet"))
        tables = [pq.read_table(path) for path in files] or [table([], [])]
        rows = pa.concat_tables([one.replace_schema_metadata() for one in tables]).to_pandas()
        rows = rows[rows["image_id"].isin(wanted)]
        return rows.drop_duplicates(subset=[*ORDER], ignore_index=True)

    def _shards(self, job: JobFacts) -> Path:
        return self.root / "shards" / job.key

    def _check(self, job: JobFacts, before: Mapping[str, Any] | None) -> None:
        if before is None or not any(self._shards(job).glob("*.parquet")):
            return
        changed = [part for part, value in job.parts.items() if before["parts"].get(part) != value]
        if changed:
            details = "; ".join(f"{part}: {before['parts'].get(part)} then, {job.parts[part]} now" for part in changed)
            raise UserError(
                f"{self.root}: holds rows of {job.method} on {job.dataset} that were made otherwise ({details}). "
                f"Wanted the same. Give this run another name (`run:`), the method another `label:`, or delete "
                f"{self._shards(job)} to redo these rows."
            )

    def _save(self, manifest: Mapping[str, Any]) -> None:
        write_bytes(self.root / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())


def schema() -> pa.Schema:
    """The columns of every results file."""
    metrics = [pa.field(name, pa.float64()) for name in METRICS]
    return pa.schema([pa.field(name, kind) for name, kind in COLUMNS.items()] + metrics)


def table(records: Sequence[Record], sample_ids: Sequence[str]) -> pa.Table:
    """Records as a table that names the samples it is complete for."""
    columns: dict[str, list[Any]] = {name: [getattr(record, name) for record in records] for name in COLUMNS}
    columns["clicks"] = [[vars(click) for click in clicks] for clicks in columns["clicks"]]
    columns |= {name: [record.metrics.get(name) for record in records] for name in METRICS}
    metadata = {_SAMPLES: json.dumps(list(sample_ids)).encode()}
    return pa.table(columns, schema=schema()).replace_schema_metadata(metadata)


def samples_in(path: Path) -> list[str]:
    """The ids of the samples that a shard's file is complete for; none if it is no whole file."""
    try:
        return list(json.loads(pq.read_schema(path).metadata[_SAMPLES]))
    except (pa.ArrowInvalid, KeyError, TypeError):
        path.unlink(missing_ok=True)
        return []


def write_parquet(path: Path, rows: pa.Table) -> None:
    """Write a table under its name only once it is whole."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    write_bytes(path, sink.getvalue())


def write_bytes(path: Path, content: bytes | pa.Buffer) -> None:
    """Write a file under its name only once it is whole.

    Raises:
        UserError: The disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno not in _FULL:
            raise
        raise UserError(
            f"{path.parent}: no space left to write {path.name} ({error.strerror}). "
            "All shards before it are kept: free some space and run the same command again."
        ) from error
