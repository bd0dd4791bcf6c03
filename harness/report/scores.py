"""Means and what stands beside them: what is missing, what is doubtful, what a reader must know of the weights."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pandas as pd

from harness.report.context import Context
from harness.report.layout import Cell, percent, with_interval
from harness.report.paper.findings import doubts
from harness.report.paper.published import Published
from harness.statistics.means import ENTRY, listed_instances, summarise


def scores(rows: pd.DataFrame, context: Context, metric: str = "iou") -> pd.DataFrame:
    """The summary of every method, ranking and data set, in the config's order, and blank where it is not whole.

    Returns:
        The columns of `summarise`, with intervals where the context asks for them, then `missing`: how many of the
        expected instances no row speaks of, or, below zero, how many rows are too many; and `doubts`. Expected are the
        context's, or else all that any method's rows name. Where some are missing the means are NaN: a mean over a
        part is another number. What has no row at all has a line too, with ranking "".
    """
    if metric not in rows:
        rows = rows.assign(**{metric: math.nan})  # The run did not measure it.
    lines = _with_absent(summarise(rows, ENTRY, metric, context.intervals), context)
    listed = listed_instances(rows)
    pairs = list(zip(lines["method"], lines["dataset"], strict=True))
    expected = [context.expected_instances.get(pair, listed.get(pair[1], 0)) for pair in pairs]
    lines["missing"] = pd.Series(expected, index=lines.index, dtype=int) - lines[["n", "failed", "unscored"]].sum(
        axis=1
    )
    lines["uncounted"] = [context.uncounted.get(pair, 0) for pair in pairs]
    for column in ("mean", "seen", "unseen", "w"):
        lines[column] = lines[column].astype(float).where(lines["missing"] == 0)
    return _in_order(lines.assign(doubts=pd.Series(doubts(lines), index=lines.index, dtype=object)), context)


def mean_cell(line: pd.Series[Any], column: str = "mean", more: str = "") -> Cell:
    """A mean of a line of `scores`, with what keeps it from being whole, and its interval and n where asked for.

    Args:
        line: Of `scores`.
        column: "mean", "seen" or "unseen".
        more: Stands behind the number, as a gain in parentheses does.
    """
    value, n = float(line[column]), int(line["n" if column == "mean" else f"n_{column}"])
    cell = Cell(percent(value) + more, gaps(line), value, n=n)
    return with_interval(cell, line[f"{column}_low"], line[f"{column}_high"]) if f"{column}_low" in line else cell


def printed_cell(row: Published, column: str, more: str = "") -> Cell:
    """A printed mean with the doubts about it; empty where the paper prints none."""
    value = getattr(row, column)
    if value is None:
        return Cell("–")
    return Cell(f"{value:.2f}{more}", row.doubts.get(column, ()), value / 100)


def gaps(line: pd.Series[Any]) -> tuple[str, ...]:
    """What keeps a line of `scores` from being whole, or from being compared, as footnotes."""
    found = int(line["n"] + line["failed"] + line["unscored"])
    missing, unscored = int(line["missing"]), int(line["unscored"])
    notes = []
    if missing > 0:
        some = f"{'At least ' if line.get('uncounted') else ''}{missing} of {found + missing}"
        notes.append(f"{some} instances have no row; a mean over the others is not shown.")
    if missing < 0:
        notes.append(f"{found} instances where {found + missing} were expected; their mean is not shown.")
    if unscored and line["n"]:
        notes.append(f"{unscored} of {found} instances were segmented but not scored, and are not in the mean.")
    elif unscored:
        notes.append(f"None of {unscored} segmented instances has this score: the run's metrics lack it, or it is NaN.")
    return (*notes, *line.get("doubts", ()))


def about(line: pd.Series[Any], rows: pd.DataFrame, context: Context) -> tuple[str, ...]:
    """What a reader must know of a line's weights, as footnotes."""
    facts, plugin = context.facts(line["method"]), plugin_of(rows, line["dataset"])
    notes = []
    if facts.trained_on and plugin and facts.trained_on != plugin:
        notes.append(f"Out of domain: trained on {facts.trained_on}, evaluated on {plugin}.")
    again = context.training_images_asked.get((line["method"], line["dataset"]), 0)
    if again:
        notes.append(f"Trained on {again} of the images that it is asked on here: not a result on new images.")
    if facts.weights:
        notes.append(f"Weights: {facts.weights}")
    return tuple(notes)


def plugin_of(rows: pd.DataFrame, dataset: str) -> str:
    """The plugin behind a data set's label, by its rows; "" where they name none."""
    if "dataset_plugin" not in rows:
        return ""
    named = rows.loc[rows["dataset"] == dataset, "dataset_plugin"].dropna()
    return str(named.min()) if len(named) else ""


def counted(line: pd.Series[Any]) -> str:
    """`n = 2801, w = 0.819, failed 0`: what stands behind a line of `scores`."""
    share = "–" if math.isnan(line["w"]) else f"{line['w']:.3f}"
    return f"n = {line['n']}, w = {share}, failed {line['failed']}"


def iou_heading(made: tuple[int, int] | None, name: str = "mIoU") -> str:
    """`mIoU@1`: the mean after one click; without the number where `clicks_made` differ between instances."""
    return f"{name}@{made[0]}" if made and made[0] == made[1] else name


def clicks_note(made: tuple[int, int] | None) -> tuple[str, ...]:
    """How many clicks the instances had, where they had not all the same number."""
    return (f"Clicks an instance: {made[0]} to {made[1]}.",) if made and made[0] != made[1] else ()


def _with_absent(lines: pd.DataFrame, context: Context) -> pd.DataFrame:
    present = set(zip(lines["method"], lines["dataset"], strict=True))
    wanted = context.expected_instances or itertools.product(context.labels, lines["dataset"].unique())
    absent = [
        {"dataset": dataset, "method": method, "ranking": ""}
        for method, dataset in wanted
        if (method, dataset) not in present
    ]
    if not absent:
        return lines
    added = pd.DataFrame(absent).reindex(columns=lines.columns)
    counts = ["n", "failed", "unscored", "n_seen", "n_unseen"]
    together = pd.concat([lines, added], ignore_index=True) if len(lines) else added
    return together.assign(**{count: together[count].fillna(0).astype(int) for count in counts})


def _in_order(lines: pd.DataFrame, context: Context) -> pd.DataFrame:
    """By data set, method and ranking; what the config does not name comes last, by name."""
    methods = list(context.labels)
    datasets = list(dict.fromkeys(dataset for _, dataset in context.expected_instances))

    def key(column: pd.Series[str]) -> pd.Series[str]:
        order = {"method": methods, "dataset": datasets}.get(str(column.name), [])
        return column.map(lambda name: f"{order.index(name) if name in order else len(order):09d} {name}")

    return lines.sort_values(["dataset", "method", "ranking"], key=key, ignore_index=True)
