"""Class by class: the mean over classes beside the mean over instances, and the text's gain on each class.

With the IoUs 0.9, 0.7 and 0.8 of cups and 0.4 of a plate, the mean over instances is 0.70 and the mean over classes is
(0.80 + 0.40) / 2 = 0.60: a frequent class counts no more than a rare one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.baselines import baselines
from harness.report.comparison import answers, interval_cell
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, cells, share, with_interval
from harness.report.scores import (
    NO_ROWS,
    about,
    clicks_note,
    gaps,
    iou_heading,
    named,
    numbers,
    of_line,
    scored,
    scores,
)
from harness.statistics.contrasts import mean_gain, paired
from harness.statistics.final_clicks import INSTANCE, FinalClicks
from harness.statistics.means import NO_GAIN, Gain
from harness.statistics.stratified import class_mean, stratified

HALVES: Mapping[str, bool | None] = {"all": None, "seen": True, "unseen": False}

NO_CLASS = "No instance of this run was scored and has a class."

_NOTE = (
    "In percent. The first lines are means over classes of the classes' means, each class counting once; the others "
    "are means over a class's instances. Gain: over the same instances and clicks without text, in points, with its 95 "
    "% interval by images; in the first lines the mean over classes of the classes' gains."
)


@register_table("classes")
def classes(final: FinalClicks, context: Context) -> Table:
    """Mean IoU and the text's gain for each class, and the means over classes; each method has a column."""
    lines = answers(scores(final, context), context)
    found = _classed(scored(final, ["category"]))
    against = baselines(lines, final, context)
    shown = list(dict.fromkeys(named(line) for _, line in lines.iterrows()))
    gained = list(
        dict.fromkeys(name for data, names in against.texts.items() for name in names if against.of(data, name))
    )
    body: list[Row] = []
    for dataset in lines["dataset"].unique():
        here = lines[lines["dataset"] == dataset]
        own = {named(line): (line, of_line(found, line)) for _, line in here.iterrows()}
        pairs = {name: _pairs(final, here, name, str(against.of(dataset, name))) for name in gained}
        body += _rows(str(dataset), own, pairs, shown, final, context)
    made = final.clicks_made
    names = [Column("Dataset"), Column("Class"), Column("Half"), Column("n", align="right")]
    means = [Column(name, iou_heading(made), "right") for name in shown]
    gains = [Column(name, f"Gain over {against.said}", "right") for name in gained]
    said = (*clicks_note(made), _NOTE, *against.notes) if body else (NO_CLASS if len(lines) else NO_ROWS,)
    return Table("Class by class", (*names, *means, *gains), tuple(body), said)


def _classed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of instances that have a class, which those of some data sets have not."""
    return rows[rows["category"].notna() & rows["category"].ne("")]


Own = Mapping[str, tuple["pd.Series[Any]", pd.DataFrame]]
"""A method as tables name it -> its line of `scores` and its rows."""


def _pairs(final: FinalClicks, lines: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """The instances that both methods scored, with the gain of the first over the second; none if either lacks rows."""
    every = _classed(scored(final, ["category"], by_draw=True))
    whole = {line["method"]: line for _, line in lines[lines["mean"].notna()].iterrows()}
    first, second = (of_line(every, whole[name]) if name in whole else every.iloc[:0] for name in (a, b))
    return paired(first, second)


def _rows(
    dataset: str,
    own: Own,
    pairs: Mapping[str, pd.DataFrame],
    shown: list[str],
    final: FinalClicks,
    context: Context,
) -> Iterator[Row]:
    every = pd.concat([rows for _, rows in own.values()])
    # First the means over classes: of all, of the seen and of the unseen, as far as there are any. Then a line for each
    # class.
    for half, seen in HALVES.items():
        part = {name: (line, _of(rows, "seen", seen)) for name, (line, rows) in own.items()}
        if any(len(rows) for _, rows in part.values()):
            over = {name: _of(rows, "seen", seen) for name, rows in pairs.items()}
            # A method that failed on all instances of a class lacks it; the label says how many classes the fullest
            # mean is over.
            count = max(rows["category"].nunique() for _, rows in part.values())
            label = Cell(f"mean over {count} class{'es' * (count != 1)}")
            gains = [interval_cell(_class_gain(rows), "") for rows in over.values()]
            means = _means(part, shown, context, class_mean)
            note = tuple(dict.fromkeys(said for line, _ in own.values() for said in about(line, final, context)))
            names = [Cell(dataset, note if seen is None else ()), label, Cell(half)]
            counted = Cell(str(max(len(rows) for _, rows in part.values())))
            yield Row((*names, counted, *means, *gains), starts_section=seen is None)
    for category, half in _halves(every).items():
        part = {name: (line, _of(rows, "category", category)) for name, (line, rows) in own.items()}
        count = max(len(rows) for _, rows in part.values())
        gains = [interval_cell(mean_gain(_of(rows, "category", category)), "") for rows in pairs.values()]
        names = cells([dataset, str(category), half, str(count)])
        yield Row((*names, *_means(part, shown, context, _mean), *gains))


def _halves(rows: pd.DataFrame) -> pd.Series[str]:
    """Class -> its half, the seen classes first; "by method" if methods differ, "" if no method has halves."""
    seen = numbers(rows["seen"]).groupby(rows["category"].astype(str)).agg(["max", "min"])
    #    max   min    of all methods' rows of a class
    #    1     1      seen
    #    1     0      by method: one was trained on the class, another was not
    #    0     0      unseen
    names = {(1.0, 1.0): "seen", (1.0, 0.0): "by method", (0.0, 0.0): "unseen"}
    ordered = seen.sort_values(["max", "min", "category"], ascending=[False, False, True])
    return pd.Series([names.get(ends, "") for ends in ordered.itertuples(index=False, name=None)], ordered.index)


def _of(rows: pd.DataFrame, column: str, value: Any) -> pd.DataFrame:
    """The rows that have this value; all rows for None."""
    return rows if value is None else rows[rows[column].eq(value).fillna(False).astype(bool)]


def _mean(rows: pd.DataFrame) -> Gain:
    return stratified(rows, "iou", rows["category"], dict.fromkeys(rows["category"].unique(), 1.0))


def _class_gain(pairs: pd.DataFrame) -> Gain:
    # Over the draws of an instance first, so that one that was asked five times counts once in its class.
    over = pairs.groupby([*INSTANCE, "category"])["gain"].mean().reset_index()
    return class_mean(over, "gain")


def _means(part: Own, shown: list[str], context: Context, mean: Any) -> Iterator[Cell]:
    for name in shown:
        if name not in part:
            yield Cell("")
            continue
        line, rows = part[name]
        found = mean(rows) if line["missing"] == 0 else NO_GAIN
        cell = share(found.difference, gaps(line), n=found.n)
        yield with_interval(cell, found.low, found.high) if context.intervals else cell
