"""A run's folder -> its rows as a DataFrame. No data, no weights, no plugins, no GPU."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from harness.results.recorded import recorded_at
from harness.storage.results_file import latest_rows


def load(run: str | Path, masks: bool = False) -> pd.DataFrame:
    """All rows of a run, as docs/results.md describes them; a warning says what is missing of an unfinished one.

    Args:
        run: Its folder or bucket, or its name, which is its config's `run:`.
        masks: Whether to read the predicted masks, too, which are most of the bytes.

    Returns:
        A row a mask, with a column for each metric that the run measured; what the run declares of a metric (which of
        two values is better, bounds, unit) goes with the rows, for `harness.compare` and the like. `clicks` is one
        Arrow column, so that three million rows take a gigabyte; each element is a list of mappings, as it is in
        results.parquet.

    Raises:
        UserError: No such run, or its files are damaged.
    """
    found = recorded_at(run)
    for job in found.jobs:
        if absent := found.absent(job):
            total = f"{len(absent)} of {len(found.samples[job.dataset])}"
            warnings.warn(f"{run}: {total} images of {job.dataset} have no rows of {job.method}.", stacklevel=2)
    return found.told(latest_rows(found.store, found.jobs, found.samples, masks))
