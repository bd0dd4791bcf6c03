"""Measures how much a method's answer depends on where an object is clicked.

The positions are the variants of one method. Each variant clicks every object in its own cell of a grid (`grid/v1`) or
in its own group of likely places (`rclicks/v1`). For an object with the IoUs 0.9, 0.8, 0.8 and 0.1 from four positions:

    mean 0.65     std 0.32     worst 0.1, best 0.9 (a tenth of four is less than one, so one each)

The mean of these over all objects is shown. The std of all positions' means would be near 0 even if every object had
one bad position, as long as it is another one each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from harness.plugins.registry import register_table
from harness.report.comparison import answers, base
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, cells, percent, share
from harness.report.scores import (
    NO_ROWS,
    about,
    clicks_note,
    failures,
    gaps,
    iou_heading,
    of_line,
    scored,
    scores,
    with_intervals,
)
from harness.statistics.final_clicks import INSTANCE, FinalClicks

_GENERAL = (
    "In percent, means over the instances that were segmented from every position. Std: the standard deviation of an "
    "instance's IoUs over the positions (as of a whole population). Worst: the mean of the lowest tenth of its IoUs, "
    "rounded up. Best: that of the highest tenth."
)


@register_table("robustness")
def robustness(final: FinalClicks, context: Context) -> Table:
    """Other places of the click: the mean over places, the spread within instances, the worst tenth."""
    lines, found = answers(scores(final, context), context), scored(final)
    body: list[Row] = []
    notes: list[str] = []
    for dataset, name, own in _groups(lines, final, context):
        starts = not body or body[-1].cells[0].text != dataset
        body.append(_row(dataset, name, own, _ious(own, found), final, context, starts))
        means = ", ".join(f"{_position(line, context)} {percent(line['mean'])}" for _, line in own.iterrows())
        notes.append(f"{dataset}, {name}, by position: {means}.")
    made = final.clicks_made
    heads = [Column("Dataset"), Column("Method")]
    values = ["Positions", iou_heading(made), "Std", "Worst", "Best", "n", "Failed"]
    columns = (*heads, *[Column(value, align="right") for value in values])
    said = (*notes, *clicks_note(made), _GENERAL)
    return Table("Where an object is clicked", columns, tuple(body), said if body else (NO_ROWS,))


def spread(ious: Float64[np.ndarray, "n positions"]) -> pd.DataFrame:
    """Mean, std, worst and best of each instance's IoUs over its positions, of which there is at least one."""
    tenth, ordered = math.ceil(ious.shape[1] / 10), np.sort(ious, axis=1)
    return pd.DataFrame(
        {
            "mean": ious.mean(axis=1),
            "std": ious.std(axis=1),
            "worst": ordered[:, :tenth].mean(axis=1),
            "best": ordered[:, -tenth:].mean(axis=1),
        }
    )


def _groups(lines: pd.DataFrame, final: FinalClicks, context: Context) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Data set, method, and the lines of its variants with one text rule: a variant with other words is no position."""
    known = final.rows.reindex(columns=["method", "text_rule"]).dropna().drop_duplicates("method")
    # A method without any row has no rule in the rows.
    rules = lines["method"].map(known.astype(str).set_index("method")["text_rule"]).fillna("")
    named = lines.assign(base=[base(method, context) for method in lines["method"]], rule=rules)
    # The rule stands in the name only where a method was asked by several.
    several = {name for name, own in named.groupby("base") if own["rule"].nunique() > 1}
    for (dataset, name, rule), own in named.groupby(["dataset", "base", "rule"], sort=False):
        yield str(dataset), f"{name} ({rule})" if name in several else str(name), own


def _position(line: pd.Series[Any], context: Context) -> str:
    method = str(line["method"])
    return method.removeprefix(f"{base(method, context)}, ")


def _ious(own: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """IoUs (instances, positions) of the instances that have one from every position; no rows if any are missing."""
    # An inner join: an instance that failed from one position has fewer IoUs than the others, and its worst tenth would
    # be over other positions than theirs.
    parts = [of_line(found, line).set_index(INSTANCE)["iou"] for _, line in own.iterrows()]
    ious = pd.concat(parts, axis=1, join="inner").sort_index()
    return ious if (own["missing"] == 0).all() else ious.iloc[:0]


def _row(
    dataset: str,
    name: str,
    own: pd.DataFrame,
    ious: pd.DataFrame,
    final: FinalClicks,
    context: Context,
    starts: bool,
) -> Row:
    said = [(about(line, final, context) + failures(line, final), gaps(line)) for _, line in own.iterrows()]
    names, doubts = (tuple(dict.fromkeys(note for pair in said for note in pair[part])) for part in (0, 1))
    # The instances that failed from at least one position: those listed less those with an IoU from every position.
    listed = int((own["n"] + own["failed"] + own["unscored"]).max())
    failed = str(listed - len(ious)) if (own["missing"] == 0).all() else "–"
    found = spread(ious.to_numpy(dtype=np.float64))
    means = [share(float(value), doubts, n=len(ious)) for value in found.mean()]
    values = with_intervals(means, found, ious.index.to_frame(index=False), context)
    shown = [Cell(str(len(own))), *values, *cells([str(len(ious)), failed])]
    return Row((Cell(dataset), Cell(name, names), *shown), starts_section=starts)
