"""results.parquet: all rows of the current config in one file, made of the shards.

It is a convenience. Whoever reads rows takes it only if it is as it was written and of the shards that are there now;
otherwise the shards are read, which say the same.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.config.parts import fingerprint
from harness.storage.manifest import JobFacts, metrics_of, save_manifest
from harness.storage.rows import ORDER, TEXTS, as_frame, schema
from harness.storage.store import REPORT, RESULTS, Store
from harness.structures import UserError

_MADE_OF = b"harness.made_of"

_log = logging.getLogger(__name__)


def write_results(store: Store, jobs: Sequence[JobFacts], sample_ids: Mapping[str, Collection[str]]) -> int:
    """Write results.parquet, note its SHA-256 in the manifest, and remove report.md, which is of the former rows.

    Returns:
        How many rows.
    """
    content, count = as_parquet(store, jobs, sample_ids, {_MADE_OF: _state(store, jobs, sample_ids)})
    # The order matters if a kill comes in between. The report goes first, for it tells of the former rows. Between
    # the next two steps the file does not have the SHA-256 in the manifest, so that readers take the shards
    # instead.
    store.folder.remove(REPORT)
    store.folder.write(RESULTS, content)
    if manifest := store.manifest():
        save_manifest(store.folder, manifest | {"results": {"sha256": hashlib.sha256(content).hexdigest()}})
    return count


def as_parquet(
    store: Store,
    jobs: Sequence[JobFacts],
    sample_ids: Mapping[str, Collection[str]],
    metadata: Mapping[bytes, bytes],
    changed: Callable[[pa.Table], pa.Table] = lambda rows: rows,
) -> tuple[pa.Buffer, int]:
    """All rows as one Parquet file, a part in memory at a time; also, how many rows they are.

    Args:
        store: The run's.
        jobs: Whose rows.
        sample_ids: Data set's label -> the samples that were asked for.
        metadata: For the file's head.
        changed: What is written in place of each part of the rows.
    """
    sink, count = pa.BufferOutputStream(), 0
    columns = schema(metrics_of(jobs)).with_metadata(dict(metadata))
    with pq.ParquetWriter(sink, columns, compression="zstd", write_page_checksum=True) as writer:
        for rows in store.tables(jobs, sample_ids):
            writer.write_table(changed(rows))
            count += len(rows)
    return sink.getvalue(), count


def latest_rows(
    store: Store,
    jobs: Sequence[JobFacts],
    sample_ids: Mapping[str, Collection[str]],
    masks: bool = False,
    coded: bool = False,
) -> pd.DataFrame:
    """As `Store.rows`, but read from results.parquet, one file instead of many, if it holds as `results_hold` says."""
    rows = read_results(store, masks, coded) if results_hold(store, jobs, sample_ids) else None
    return store.rows(jobs, sample_ids, masks, coded) if rows is None else rows


def results_hold(store: Store, jobs: Sequence[JobFacts], sample_ids: Mapping[str, Collection[str]]) -> bool:
    """Whether results.parquet is as it was written, of these jobs' samples and of the shards that are there now.

    A warning says if it is another file than the manifest tells of.
    """
    try:
        if not results_intact(store):
            if "results" in store.manifest():  # A manifest that was lost and made anew tells of no file yet.
                _log.warning(
                    "%s: not the file that manifest.json tells of: it was altered, or a start was killed while it "
                    "wrote it. The shards are read instead; python -m harness report %s writes it anew.",
                    store.folder / RESULTS,
                    store.folder,
                )
            return False
        with store.folder.opened(RESULTS) as file:
            told = pq.read_schema(file).metadata or {}
    except (pa.ArrowException, OSError, UserError):
        return False
    return told.get(_MADE_OF) == _state(store, jobs, sample_ids)


def results_intact(store: Store) -> bool:
    """Whether results.parquet has the SHA-256 that the manifest says.

    Raises:
        FileNotFoundError: There is none.
    """
    return store.folder.sha256(RESULTS) == store.manifest().get("results", {}).get("sha256")


def read_results(store: Store, masks: bool = False, coded: bool = False) -> pd.DataFrame | None:
    """The rows of results.parquet, without a look at the shards; None where the file is absent or damaged."""
    try:
        with store.folder.opened(RESULTS) as file:
            there = pq.read_schema(file).names  # Earlier versions had fewer columns.
            dictionaries = [name for name in TEXTS if name in there] if coded else None
            found = pq.ParquetFile(file, page_checksum_verification=True, read_dictionary=dictionaries)
            names = [name for name in found.schema_arrow.names if masks or name != "mask"]
            rows = found.read(columns=names)
    except (pa.ArrowException, OSError, UserError):
        return None
    return as_frame(rows) if set(ORDER) - {"draw"} <= set(names) else None  # Early runs have no draws.


def _state(store: Store, jobs: Sequence[JobFacts], sample_ids: Mapping[str, Collection[str]]) -> bytes:
    """A fingerprint of all that results.parquet is made of: the samples asked for, the shards, the metrics."""
    # The names of the shards are hashes of their contents: one more, one less or another one changes this list.
    of = {job.key: list(store.own(job)) for job in jobs}
    wanted = {name: list(ids) for name, ids in sample_ids.items()}
    return fingerprint([of, wanted, metrics_of(jobs)]).encode()
