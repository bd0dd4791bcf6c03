"""A rough input refined, a box or a mask: IoU in, IoU out, and how often the result is worse.

For a first instance with 0.60 in and 0.80 out, and a second with 0.90 in and 0.85 out: IoU in 75.00, IoU out 82.50,
change +7.50, worse 50.00. The mean change hides that a good input was spoilt; `Worse` shows it.

Paper: Warner et al., BMVC 2023, https://arxiv.org/abs/2311.14822, section 5, leaves "how to produce refined
segmentation masks from a rough or low quality input (bounding box, point, low quality mask)" to others. It has no such
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.comparison import answers, ends, gain_cell
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, percent, share, signed
from harness.report.scores import about, bounds, failures, gaps, named, of_line, scored, scores, with_intervals
from harness.statistics.final_clicks import ENTRY, FinalClicks, at_click, over_draws
from harness.statistics.means import Gain

_GENERAL = (
    "IoU in: the IoU of what a prompt began with (a rough mask, or the filled box) with the ground truth; out: that "
    "of the mask after the given number of clicks. Change: out minus in, in points. Worse: the share of instances "
    "whose IoU fell. Means over the instances that began with something, in percent."
)

OUT, IN = "iou", "start_iou"

CLICKS = (0, 1, 2, 3, 5, 10, 20)
"""The numbers of clicks that have lines of their own; a method's last number has one as well."""


@register_table("refinement")
def refinement(final: FinalClicks, context: Context) -> Table:
    """Rough masks or boxes made better: IoU before and after some clicks, a line for each method and rough input.

    For a method with several rankings, the line is of the ranking whose masks the next clicks correct (`answers`).
    """
    body: list[Row] = []
    notes: list[str] = []
    # `final` holds the rows after each method's last click. For a line after fewer clicks, the same scores are made of
    # the rows at that click, once for all methods that show it.
    last_lines = answers(scores(final, context), context)
    shown = [(last, number) for _, last in last_lines.iterrows() for number in _numbers(last, final)]
    earlier = {number for last, number in shown if number < last["clicks"]}
    parts = {number: FinalClicks.of(at_click(final.every, number)) for number in earlier}
    lines = {number: scores(part, context) for number, part in parts.items()}
    for last, number in shown:
        line, part = last, final
        if number < last["clicks"]:
            some, part = lines[number], parts[number]
            line = some[(some[ENTRY] == last[ENTRY]).all(axis=1)].iloc[0]
        for row, note in _rows(line, number, part, context):
            body.append(row)
            notes += [note] if note else []
    heads = [Column("Dataset"), Column("Method"), Column("Began with"), Column("Clicks", align="right")]
    tails = [Column(name, align="right") for name in ("IoU in", "IoU out", "Change", "Worse", "n", "Failed")]
    said = (*notes, _GENERAL) if body else ("No prompt of this run began with a box or a mask.",)
    return Table("A rough input refined", (*heads, *tails), tuple(body), said)


def _numbers(line: pd.Series[Any], final: FinalClicks) -> list[int]:
    """The numbers of clicks after which a method is shown; none if its prompts began with nothing."""
    began = final.every.get(IN, pd.Series(dtype=float))
    own = (final.every["method"] == line["method"]) & (final.every["dataset"] == line["dataset"])
    if began.empty or began[own].isna().all() or pd.isna(line["clicks"]):
        return []
    there = set(final.every.loc[own & (final.every["status"] == "ok"), "click_index"].astype(int))
    return [number for number in sorted({*CLICKS, int(line["clicks"])} & there) if number <= line["clicks"]]


def _rows(line: pd.Series[Any], number: int, final: FinalClicks, context: Context) -> Iterator[tuple[Row, str]]:
    """A line for all inputs and, if there are several kinds of rough input, one for each kind."""
    rows = of_line(scored(final, ["start", IN], by_draw=True), line)
    rows = rows[rows[IN].notna()]
    kinds = sorted(rows["start"].astype(str).unique())
    if not kinds:
        return
    yield _row(line, rows, "all" if len(kinds) > 1 else kinds[0], number, int(line["failed"]), final, context)
    lost = of_line(final.rows[final.rows["status"] != "ok"], line)
    for kind in kinds if len(kinds) > 1 else ():
        # A failure before there was a prompt, as on a picture that cannot be read, is of no kind.
        own, failed = (some[some["start"].astype(str) == kind] for some in (rows, lost))
        yield _row(line, own, kind, number, len(failed), final, context)


def _row(
    line: pd.Series[Any],
    rows: pd.DataFrame,
    kind: str,
    number: int,
    failed: int,
    final: FinalClicks,
    context: Context,
) -> tuple[Row, str]:
    """The line of some inputs, and a note with its intervals; no note if there is no mean."""
    values = _values(rows)
    own = rows.loc[values.index]
    whole = pd.notna(line["mean"])  # If rows are missing, a mean would be over a part.
    means = {name: float(values[name].mean()) if whole else math.nan for name in values}
    between = dict(zip(values, bounds(values, own), strict=True))
    n = len(values) if whole else 0
    cells = [share(means[name], gaps(line), n=n) for name in (IN, OUT, "worse")]
    shown_in, shown_out, worse = with_intervals(cells, values[[IN, OUT, "worse"]], own, context)
    low, high = between["change"]
    change = gain_cell(Gain(means["change"], low, high, n), context, gaps(line))
    names = (Cell(line["dataset"]), Cell(named(line), about(line, final, context) + failures(line, final)))
    counts = (Cell(str(n)), Cell(str(failed)))
    row = Row((*names, Cell(kind), Cell(str(number)), shown_in, shown_out, change, worse, *counts), kind == "all")
    told = (
        f"{line['dataset']}, {named(line)}, {kind}, {number} click{'s' * (number != 1)}: change "
        f"{signed(means['change'])} {ends(low, high, signed)}, worse {percent(means['worse'])} "
        f"{ends(*between['worse'], percent)} (n = {n})."
    )
    return row, told if whole else ""


def _values(rows: pd.DataFrame) -> pd.DataFrame:
    """Each instance's IoU in and out, their difference, and whether that is below 0: means over its draws."""
    # Worse of 1 draw in 4 is 0.25 for the instance, so the share is over draws within an instance, then over instances.
    change = rows[OUT].astype(float) - rows[IN].astype(float)
    drawn = rows[[IN, OUT]].astype(float).assign(change=change, worse=(change < 0).astype(float))
    return over_draws(drawn, rows)
