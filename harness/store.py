"""runs/<run>/: a manifest, and one Parquet file a shard; a finished shard is never redone.

    runs/<run>/manifest.json            what was run: config, jobs with what made them, environment, starts
    runs/<run>/shards/<job>/<ids>.parquet   the records of some samples of one job, written whole or not at all
    runs/<run>/results.parquet          all rows of the current config, sorted
    runs/<run>/report.md                its tables

A job is a method on a data set. Each shard's file names the samples it holds, so a resumed run needs no other memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.compute
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
    "text_rule": pa.string(),
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
            UserError: Rows of the same labels were made from something else, or nobody knows from what.
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
            manifest = json.loads(path.read_bytes())
            if manifest.keys() >= {"config", "jobs", "starts"}:
                return dict(manifest)
            reason = f"its keys are {', '.join(manifest)}; wanted config, jobs and starts"
        except (ValueError, AttributeError) as error:
            reason = str(error)
        raise UserError(f"{path}: damaged ({reason}). Move {self.root} away and run again.")

    def done(self, job: JobFacts) -> set[str]:
        """The ids of the samples whose records are there."""
        found: set[str] = set()
        for path in sorted(self._shards(job).glob("*.parquet")):
            found.update(samples_in(path))
        return found

    def write(self, job: JobFacts, sample_ids: Sequence[str], records: Sequence[Record]) -> None:
        """Write a finished shard, whole or not at all.

        Raises:
            UserError: It cannot be written, as on a full disk; what was written before is kept.
        """
        path = self._shards(job) / f"{fingerprint(list(sample_ids))}.parquet"
        write_parquet(path, table(records, sample_ids))

    def rows(self, jobs: Sequence[JobFacts], sample_ids: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        """All rows of these jobs, sorted.

        Args:
            jobs: Of the current config; what others left in the folder is not read.
            sample_ids: Data set label -> the samples that count.
        """
        parts = [part for job in jobs for part in self._parts(job, set(sample_ids[job.dataset]))]
        rows = pa.concat_tables([table([], []), *parts]).to_pandas()
        return rows.sort_values(ORDER, kind="stable", na_position="first", ignore_index=True)

    def _parts(self, job: JobFacts, wanted: set[str]) -> Iterator[pa.Table]:
        for path in sorted(self._shards(job).glob("*.parquet")):
            # A sample may lie in two shards, if a start was killed while its workers went on: the first one counts.
            fresh = wanted.intersection(samples_in(path))
            wanted = wanted - fresh
            if fresh:
                yield _of_samples(path, fresh)

    def _shards(self, job: JobFacts) -> Path:
        return self.root / "shards" / job.key

    def _check(self, job: JobFacts, before: Mapping[str, Any] | None) -> None:
        if not any(self._shards(job).glob("*.parquet")):
            return
        then = before["parts"] if before else {}
        changed = [part for part, value in job.parts.items() if then.get(part) != value]
        if changed:
            details = "; ".join(f"{part}: {then.get(part, 'unknown')} then, {job.parts[part]} now" for part in changed)
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
    rows = pa.table(columns, schema=schema())
    return rows.replace_schema_metadata({_SAMPLES: json.dumps(list(sample_ids))} if sample_ids else None)


def samples_in(path: Path) -> list[str]:
    """The ids of the samples that a shard's file is complete for; one that is no whole file is removed: none."""
    try:
        return list(json.loads(pq.read_schema(path).metadata[_SAMPLES]))
    except (pa.ArrowInvalid, KeyError, TypeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The disk's word, not Arrow's on what it read.
        path.unlink(missing_ok=True)
        return []


def _of_samples(path: Path, samples: set[str]) -> pa.Table:
    """The rows of some of a shard's samples."""
    try:
        rows = pq.read_table(path, schema=schema())
    except (OSError, pa.ArrowInvalid) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: damaged ({reason}). Delete it and run again: its samples are redone.") from error
    return rows.replace_schema_metadata().filter(
        pa.compute.is_in(rows["image_id"], pa.array(sorted(samples), pa.string()))
    )


def write_parquet(path: Path, rows: pa.Table) -> None:
    """Write a table under its name only once it is whole."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    write_bytes(path, sink.getvalue())


def write_bytes(path: Path, content: bytes | pa.Buffer) -> None:
    """Write a file under its name only once it is whole.

    Raises:
        UserError: It cannot be written, as on a full disk.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path}: cannot be written ({error.strerror}). What was written before is kept: "
            "free some space, or mend what else is wrong there, and run the same command again."
        ) from error
