"""Counts the instances that every method must have a row of: all that any method's rows name on the same data set.

A method's own rows cannot tell which instances of a finished image are missing; the rows of other methods can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from harness.statistics.final_clicks import ENTRY, INSTANCE, FinalClicks
from harness.storage.rows import repeats
from harness.structures import NOT_LISTED

Jobs = dict[tuple[str, str], int]
"""(method's label, data set's label) -> a number of instances."""


def expected_of(rows: pd.DataFrame, beside: Sequence[pd.DataFrame] = ()) -> Jobs:
    """How many instances each method of the rows was asked for, in the images of which there are rows.

        image  rows of a      rows of b             expected of a and b
        1      cup, plate     cup                   2
        2      cup, plate     one for all, failed   a: 2, b: 1

    If an image could not be opened and its listing does not name its instances, one failed row represents all of them.
    Nothing more is expected of that method on this image.

    Args:
        rows: The rows of a run.
        beside: The rows of other runs that were asked for the same instances.
    """
    columns = [*INSTANCE, "method"]
    own = rows.loc[~repeats(rows, columns), columns].drop_duplicates()
    held = _held(pd.concat([own[INSTANCE], *(other[INSTANCE] for other in beside)]))
    stands = own[_stands(own)]
    images = stands[INSTANCE[:2]].itertuples(index=False, name=None)
    # If a row represents a whole image, and other rows name three instances of it, the method has one row where three
    # are expected, and is excused two.
    excused = (
        stands.assign(more=[int(held[image]) - 1 for image in images]).groupby(["method", "dataset"])["more"].sum()
    )
    of = held.groupby("dataset").sum()
    jobs = own[["method", "dataset"]].drop_duplicates().itertuples(index=False, name=None)
    return {(method, dataset): int(of[dataset]) - int(excused.get((method, dataset), 0)) for method, dataset in jobs}


def lacking(final: FinalClicks, expected: Mapping[tuple[str, str], int]) -> Jobs:
    """How many instances have no final row, for each method and data set.

    If a method has several rankings, the one that lacks most counts. A data set whose rows are withheld is left out.
    """
    lines = final.rows.groupby(ENTRY).size()
    least = lines.groupby(["method", "dataset"]).min()
    return {
        job: max(0, count - int(least.get(job, 0))) for job, count in expected.items() if job[1] not in final.withheld
    }


def no_rows(partial: int) -> str:
    """The verb of a sentence whose subject is the instances that are missing; `partial` of them lack only a draw."""
    return "have no row, or not one of every draw" if partial else "have no row"


def told_of(final: FinalClicks, metric: str) -> dict[str, int]:
    """Data set -> on how many of its instances any method has a value of the metric, or failed."""
    rows = final.rows[final.rows[metric].notna() | (final.rows["status"] != "ok")]
    return {str(dataset): int(count) for dataset, count in _held(rows[INSTANCE]).groupby("dataset").sum().items()}


def _held(asked: pd.DataFrame) -> pd.Series[int]:
    """(Data set, image) -> how many instances the rows name in it; at least one."""
    named = asked.drop_duplicates()
    held = named.assign(held=(~_stands(named)).astype(int)).groupby(INSTANCE[:2])["held"].sum()
    # If every row of an image represents all of its instances, no instance is named, but each method has one row.
    return held.clip(lower=1)


def _stands(rows: pd.DataFrame) -> pd.Series[bool]:
    """Whether a row represents all instances of its image."""
    ids = rows["instance_id"].astype("category").cat
    # Millions of rows share few texts, so each text is tested once and rows look their result up by its code. A row
    # without a text has the code -1, which picks the False that is appended at the end.
    ends = np.append(ids.categories.astype("str").str.endswith(NOT_LISTED).astype(bool), False)
    stands = ends[ids.codes.to_numpy()]
    some = rows[stands]
    stands[stands] = some["instance_id"].astype("str") == some["image_id"].astype("str") + NOT_LISTED
    return pd.Series(stands, rows.index)
