"""results.parquet: all rows of the current config in one file, made from the shards.

It is a convenience: one file is faster to read than many. Readers use it only if it is unchanged and made from exactly
the shards that are there now; otherwise they read the shards, which have the same rows.
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
    """Write results.parquet, note its SHA-256 in the manifest, and remove report.md, which shows the former rows.

    Returns:
        How many rows.
    """
    content, count = as_parquet(store, jobs, sample_ids, {_MADE_OF: _state(store, jobs, sample_ids)})
    # The order matters if a kill comes in between. The report goes first, since it shows the former rows. Between the
    # next two steps the file's SHA-256 is not the one in the manifest, so readers use the shards instead.
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
        store: The run's store.
        jobs: The jobs whose rows are written.
        sample_ids: Data set's label -> the samples that the run asks for.
        metadata: Entries for the file's schema.
        changed: A function that is applied to each part of the rows before it is written.
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
    """As `Store.rows`, but read from results.parquet, one file instead of many, if `results_hold`."""
    rows = read_results(store, masks, coded) if results_hold(store, jobs, sample_ids) else None
    return store.rows(jobs, sample_ids, masks, coded) if rows is None else rows


def results_hold(store: Store, jobs: Sequence[JobFacts], sample_ids: Mapping[str, Collection[str]]) -> bool:
    """Whether results.parquet is unchanged, and made from these jobs' samples and the shards that are there now.

    Logs a warning if its hash is not the one in the manifest.
    """
    try:
        if not results_intact(store):
            if "results" in store.manifest():  # A manifest that was lost and made anew has no hash of the file yet.
                _log.warning(
                    "%s: not the file that manifest.json describes: it was altered, or a run was killed while it "
                    "wrote it. The shards are read instead; python -m harness report %s writes it again.",
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
    """Whether results.parquet has the SHA-256 that the manifest gives.

    Raises:
        FileNotFoundError: There is none.
    """
    return store.folder.sha256(RESULTS) == store.manifest().get("results", {}).get("sha256")


def read_results(store: Store, masks: bool = False, coded: bool = False) -> pd.DataFrame | None:
    """The rows of results.parquet, without reading the shards; None where the file is absent or damaged."""
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
    """A fingerprint of all that results.parquet is made from: the wanted samples, the shards, the metrics."""
    # The names of the shards are hashes of their contents: one more, one less or another one changes this list.
    of = {job.key: list(store.own(job)) for job in jobs}
    wanted = {name: list(ids) for name, ids in sample_ids.items()}
    return fingerprint([of, wanted, metrics_of(jobs)]).encode()
