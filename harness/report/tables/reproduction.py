"""Published checkpoints on the data that their authors measured: the authors' numbers beside ours.

A difference of clicks that is near 0 says that weights, preprocessing and click rule are the authors'. So the footnote
of each difference says how we clicked: another rule, or another limit, changes NoC without any fault.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.plugins.scale import NUMBER
from harness.report.comparison import answers
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, cells
from harness.report.scores import about, failures, gaps, named, scores
from harness.report.tables.noc import mean_iou, needed, sequences_of
from harness.statistics.clicks_needed import Sequences
from harness.statistics.final_clicks import FinalClicks

NOC, MEAN_IOU = "NoC@", "mIoU@"

_NOTES = (
    "NoC@q: mean clicks until the IoU is at least q %; an instance that never reaches it counts with all its clicks. "
    "mIoU@k: mean IoU after k clicks, in percent. Difference: ours minus the published number; above zero, ours "
    "needed more clicks (NoC) or has better masks (mIoU).",
    "The published numbers are as printed, not measured here.",
)
NONE = "The authors of this run's methods print no number for these weights on these data sets."


@register_table("reproduction")
def reproduction(final: FinalClicks, context: Context) -> Table:
    """Published NoC and mIoU beside ours: a line for each data set, method and measure that its authors print."""
    body: list[Row] = []
    for _, line in answers(scores(final, context), context).iterrows():
        if printed := context.published.get((line["method"], line["dataset"])):
            body += _section(line, printed, final, context)
    names = [Column(name) for name in ("Dataset", "Method", "Measure")]
    numbers = [Column(name, align="right") for name in ("Published", "Ours", "Difference", "n", "Failed")]
    whole = context.limits.keys().isdisjoint(dataset for _, dataset in context.published)
    notes = _NOTES if whole else (*_NOTES, "published: whole data sets; here: a part (limited).")
    return Table("Published numbers and ours", (*names, *numbers), tuple(body), notes if body else (NONE,))


def _section(line: pd.Series[Any], printed: Mapping[str, float], final: FinalClicks, context: Context) -> Iterator[Row]:
    """The lines of one data set and method."""
    own = sequences_of(line, final)
    where = f"Published: {context.facts(line['method']).published_in}"
    said = (where, *about(line, final, context), *failures(line, final))
    known = [(name, value) for name, value in printed.items() if name.startswith((NOC, MEAN_IOU))]
    for index, (measure, value) in enumerate(known):
        ours, measured = _ours(measure, own, gaps(line), context)
        difference = measured - value
        shown = Cell(NUMBER.signed(difference), (_asked(line, own, final),))
        names = (Cell(line["dataset"]), Cell(named(line), said), Cell(measure))
        counts = cells([str(len(own.ious)), str(own.failed)])
        yield Row((*names, Cell(f"{value:.2f}"), ours, shown, *counts), starts_section=index == 0)


def _ours(measure: str, own: Sequences, doubts: tuple[str, ...], context: Context) -> tuple[Cell, float]:
    """Our value of a measure as a cell, and as a number in the unit of the published one: clicks or percent."""
    if measure.startswith(NOC):
        # NoC is in clicks and mIoU in percent, as they are printed; the cell's value is a share of 1.
        quality = float(measure.removeprefix(NOC)) / 100
        return needed(own, quality, doubts, context), own.noc(quality)
    cell = mean_iou(own, int(measure.removeprefix(MEAN_IOU)), doubts, context)
    return cell, math.nan if cell.value is None else 100 * cell.value


def _asked(line: pd.Series[Any], own: Sequences, final: FinalClicks) -> str:
    """Names our click rule and the most clicks, so that a reader can compare them with the authors'."""
    rows = final.rows.reindex(columns=["method", "dataset", "click_strategy"])
    mine = rows[(rows["method"] == line["method"]) & (rows["dataset"] == line["dataset"])]
    rules = ", ".join(sorted(mine["click_strategy"].dropna().unique()))
    return f"Our clicks: {rules or 'unknown rule'}, at most {own.clicks.max(initial=0)}."
