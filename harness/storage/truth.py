"""Checks that all methods of a run had the same prompts: one ground truth an instance, and one first click of a rule.

If an annotation is changed while a run works, some methods are scored by the old mask and some by the new one, and a
table would compare them:

    method   instance   gt_area_px   first click
    a        cup        5210         (40, 31)
    b        cup        5388         (41, 31)        another area and another click: the mask was changed in between

The rows show it. Each has its ground truth's area and its clicks, and the first click depends on nothing but the rule,
the seed and the ground truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.storage.clicks import click_counts, click_keys
from harness.storage.manifest import JobFacts
from harness.storage.rows import repeats

_INSTANCE = ["dataset", "image_id", "instance_id"]


def disputes(rows: pd.DataFrame) -> dict[str, str]:
    """The data sets in which methods disagree about an instance.

    Args:
        rows: The rows of a run or of several; columns that they lack are not compared. Clicks are compared within a
            run, since another run may have another seed.

    Returns:
        Data set -> a sentence that counts the instances, names the first one with both its values, and says what to do.
        Empty if all agree.
    """
    found: dict[str, str] = {}
    for what, unlike in (("ground truth", _areas(rows)), ("first click", _first_clicks(rows))):
        for dataset, own in unlike.groupby("dataset") if len(unlike) else ():
            found.setdefault(str(dataset), _said(str(dataset), what, own))
    return found


def _areas(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each area of an instance that has several, with `value`."""
    if "gt_area_px" not in rows:
        return _differing(rows.iloc[:0].assign(value=""), _INSTANCE)
    # Only the area is compared, since no row has the ground truth's mask. A mask that somebody redraws keeps its area
    # to the pixel only by chance.
    kept = [name for name in (*_INSTANCE, "method", "run") if name in rows]
    known = rows.loc[rows["gt_area_px"].notna(), [*kept, "gt_area_px"]].rename(columns={"gt_area_px": "value"})
    unlike = _differing(known, _INSTANCE)
    return unlike.assign(value=[f"{value:.0f} px" for value in unlike["value"]])


def _first_clicks(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each first click of an instance by one rule, where there are several, with `value`.

    Only the very first click is compared: later clicks may follow each method's own masks.
    """
    by = [name for name in (*_INSTANCE, "draw", "click_strategy", "click_options", "run") if name in rows]
    if "click_strategy" not in rows:  # The click rules are unknown, so clicks cannot be compared.
        return _differing(rows.iloc[:0].assign(value=""), by)
    asked = rows.loc[click_counts(rows["clicks"]) > 0, [*by, "method", "click_index", "clicks"]]
    # Each method's own first round, which need not be round 1: a rule may begin with two clicks, and the rows may be a
    # selection. `min` is taken for each method; methods whose first rounds differ are not compared, since `by` below
    # has the round.
    starts = asked.groupby([name for name in ("run", "dataset", "method") if name in rows])["click_index"]
    first = asked[asked["click_index"] == starts.transform("min")] if len(asked) else asked
    key = pd.Series(click_keys(first["clicks"], most=1), index=first.index)
    unlike = _differing(first.assign(value=key), [*by, "click_index"])
    return unlike.assign(value=[_points(one) for one in unlike["clicks"]])


def _differing(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Among rows that agree in `by` but have several `value`s: the first row with each value."""
    # Rows come sorted and most repeat the one before, so this cheap filter leaves few for `drop_duplicates`.
    each = rows[~repeats(rows, [*by, "value"])].drop_duplicates([*by, "value"])
    return each[each.duplicated(by, keep=False)]


def _points(clicks: object) -> str:
    named = [dict(click) for click in clicks] if hasattr(clicks, "__iter__") else []
    return " ".join(f"({click['x']}, {click['y']})" for click in named[:1])


def _said(dataset: str, what: str, unlike: pd.DataFrame) -> str:
    count = len(unlike[_INSTANCE].drop_duplicates())
    one, other = _first_two(unlike)
    folders = sorted({f"shards/{JobFacts(method, dataset, {}, {}).key}" for method in (one.method, other.method)})
    verb = "is at" if what == "first click" else "has"
    return (
        f"{dataset}: methods were not given the same data. The {what} of {count} instance{'s' * (count > 1)} "
        f"differs, first that of '{one.instance_id}' in image '{one.image_id}': it {verb} {one.value} for "
        f"{one.method} and {other.value} for {other.method}. The data were changed between their rows, so no number "
        f"of this data set is shown. Delete {' and '.join(folders)} and run again, on data that stay as they are."
    )


def _first_two(unlike: pd.DataFrame) -> Iterator[Any]:
    """The two lines of the first instance, which have different values."""
    first = unlike[(unlike[_INSTANCE] == unlike[_INSTANCE].iloc[0]).all(axis=1)]
    return (line for _, line in first.drop_duplicates("value").iloc[:2].iterrows())
