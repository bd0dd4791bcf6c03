"""A run's folder -> its rows as a DataFrame, and what the tables must know of it. No data, no weights, no GPU."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from harness.storage.folder import Folder
from harness.storage.store import Store, store_of
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.jobs.jobs import Job
    from harness.report.context import Context


def load(run: str | Path, masks: bool = False) -> pd.DataFrame:
    """All rows of a run, as docs/results.md describes them; a warning says what an unfinished one lacks.

    Args:
        run: Its folder or bucket, or its name, which is its config's `run:`.
        masks: Whether to read the predicted masks, too, which are most of the bytes.

    Returns:
        A row a mask. `clicks` is one Arrow column, so that three million rows take a gigabyte; each element is a list
        of mappings, as it is in results.parquet.

    Raises:
        UserError: No such run, or its files are damaged.
    """
    store = _store(run)
    _, jobs = _recorded(store)
    for job in jobs:
        if absent := set(job.sample_ids) - store.done(job.facts):
            total = f"{len(absent)} of {len(job.sample_ids)}"
            warnings.warn(
                f"{run}: {total} images of {job.facts.dataset} have no rows of {job.facts.method}.", stacklevel=2
            )
    return _rows(store, jobs, masks)


def rows_of_run(run: str | Path) -> pd.DataFrame:
    """As `load`, for tables, which say themselves what is missing."""
    store = _store(run)
    _, jobs = _recorded(store)
    return _rows(store, jobs)


def _rows(store: Store, jobs: Sequence[Job], masks: bool = False) -> pd.DataFrame:
    wanted = {job.facts.dataset: job.sample_ids for job in jobs}
    return store.latest([job.facts for job in jobs], wanted, masks)


def described(run: str | Path, rows: pd.DataFrame) -> Context:
    """What a run's config and manifest add to its rows.

    Where a sample has no row and the data are not at hand, so that nobody can say how many instances it holds, it
    counts as one: enough for its data set's means to stay blank.
    """
    from harness.results.recorded import context_of

    store = _store(run)
    config, jobs = _recorded(store)
    try:
        return context_of(config, jobs, store, rows)
    except UserError:
        lean = [replace(job, sample_ids=tuple(sorted(store.done(job.facts)))) for job in jobs]
        known = context_of(config, lean, store, rows)
        return replace(known, expected_instances=_at_least(jobs, lean, known))


def gaps(run: str | Path, rows: pd.DataFrame, *methods: str) -> list[str]:
    """Sentences, one a method and data set of which some instances have no row; none where all have.

    Args:
        run: Its folder or bucket, or its name.
        rows: All of it.
        methods: Their labels.
    """
    found = rows.groupby(["method", "dataset"])["instance_id"].nunique()
    expected = described(run, rows).expected_instances
    return [
        f"{run}: {count - found.get((method, data), 0)} of {count} instances of {data} have no row of {method}."
        for method in methods
        for (label, data), count in expected.items()
        if label == method and count > found.get((method, data), 0)
    ]


def _at_least(jobs: Sequence[Job], lean: Sequence[Job], known: Context) -> dict[tuple[str, str], int]:
    absent = {
        (job.facts.method, job.facts.dataset): len(set(job.sample_ids) - set(done.sample_ids))
        for job, done in zip(jobs, lean, strict=True)
    }
    return {key: count + absent.get(key, 0) for key, count in known.expected_instances.items()}


def _store(run: str | Path) -> Store:
    """Of a folder or bucket, or, where there is no such folder, of a run by that name."""
    if Folder.at(run).exists("manifest.json"):
        return Store(run)
    named = Store(run) if "/" in str(run) else store_of(str(run))
    if Path(run).suffix in (".yaml", ".yml") and not named.folder.exists("manifest.json"):
        raise UserError(f"{run}: a config's name; wanted a run's folder, such as runs/x, or the name x, its `run:`.")
    return named


def _recorded(store: Store) -> tuple[Any, Sequence[Job]]:
    from harness.results.recorded import recorded

    return recorded(store)


def manifest_of(run: str | Path) -> dict[str, Any]:
    """What a run's manifest says."""
    return _store(run).manifest()
