"""A run's folder -> its rows as a DataFrame, and what the tables must know of it. No data, no weights, no GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyarrow import fs

from harness.folder import Folder
from harness.store import Store, store_of
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.plan import Job
    from harness.report import Context


def load(run: str | Path, masks: bool = False) -> pd.DataFrame:
    """All rows of a run, as docs/results.md describes them.

    Args:
        run: Its folder or bucket, or its name.
        masks: Whether to read the predicted masks, too, which are most of the bytes.

    Returns:
        A row a mask. `clicks` is one Arrow column, so that three million rows take a gigabyte; each element is a list
        of mappings, as it is in results.parquet.

    Raises:
        UserError: No such run, or its files are damaged.
    """
    store = _store(run)
    rows = store.results(masks) if _finished(store) else None
    if rows is None:
        _, jobs = _recorded(store)
        rows = store.rows([job.facts for job in jobs], {job.facts.dataset: job.sample_ids for job in jobs}, masks)
    return rows


def described(run: str | Path, rows: pd.DataFrame) -> Context:
    """What a run's config and manifest add to its rows.

    Where a sample has no row and the data are not at hand, so that nobody can say how many instances it holds, it
    counts as one: enough for its data set's means to stay blank.
    """
    from harness.run import context_of

    store = _store(run)
    config, jobs = _recorded(store)
    try:
        return context_of(config, jobs, store, rows)
    except UserError:
        lean = [replace(job, sample_ids=tuple(sorted(store.done(job.facts)))) for job in jobs]
        known = context_of(config, lean, store, rows)
        return replace(known, expected_instances=_at_least(jobs, lean, known))


def _at_least(jobs: Sequence[Job], lean: Sequence[Job], known: Context) -> dict[tuple[str, str], int]:
    absent = {
        (job.facts.method, job.facts.dataset): len(set(job.sample_ids) - set(done.sample_ids))
        for job, done in zip(jobs, lean, strict=True)
    }
    return {key: count + absent.get(key, 0) for key, count in known.expected_instances.items()}


def _store(run: str | Path) -> Store:
    """Of a folder or bucket, or, where there is no such folder, of a run by that name."""
    if not Folder.at(run).exists("manifest.json") and "/" not in str(run):
        return store_of(str(run))
    return Store(run)


def _recorded(store: Store) -> tuple[Any, Sequence[Job]]:
    from harness.run import recorded

    return recorded(store)


def _finished(store: Store) -> bool:
    """Whether results.parquet is there and holds what the shards hold: the last start ended, and none is younger."""
    starts = store.manifest().get("starts", [])
    if starts and "ended" not in starts[-1]:
        return False
    folder = store.folder
    (results,) = folder.system.get_file_info([f"{folder.path}/results.parquet"])
    if results.type != fs.FileType.File:
        return False
    shards = folder.system.get_file_info(fs.FileSelector(f"{folder.path}/shards", recursive=True, allow_not_found=True))
    return all(one.mtime <= results.mtime for one in shards if one.is_file)


def manifest_of(run: str | Path) -> dict[str, Any]:
    """What a run's manifest says."""
    return _store(run).manifest()
