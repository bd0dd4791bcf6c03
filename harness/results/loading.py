"""Loads a run's rows as a DataFrame. It needs no data, weights, plugins or GPU."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from harness.results.recorded import recorded_at
from harness.storage.results_file import latest_rows


def load(run: str | Path, masks: bool = False) -> pd.DataFrame:
    """Load all rows of a run, as docs/results.md describes them; a warning says what an unfinished run lacks.

    Args:
        run: The run's folder or bucket, or its name, which is its config's `run:`.
        masks: Whether to read the predicted masks as well, which are most of the bytes.

    Returns:
        A row for each mask, with a column for each metric that the run measured. The frame's attributes hold the
        scale of each metric (whether more is better, bounds, unit), for `harness.compare` and others. `clicks` is one
        Arrow column, so that three million rows take a gigabyte; each element is a list of mappings, as in
        results.parquet.

    Raises:
        UserError: There is no such run, or its files are damaged.
    """
    found = recorded_at(run)
    for job in found.jobs:
        if absent := found.absent(job):
            total = f"{len(absent)} of {len(found.samples[job.dataset])}"
            warnings.warn(f"{run}: {total} images of {job.dataset} have no rows of {job.method}.", stacklevel=2)
    return found.told(latest_rows(found.store, found.jobs, found.samples, masks))
