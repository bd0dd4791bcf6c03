"""Iterative prompts: how many clicks a method needs for a quality, and its mean IoU click by click.

How the numbers are made, for two instances with at most four clicks each:

    IoU after click     1     2     3     4       NoC@85   NoC@90   in NoF@90
    a mug               0.50  0.86  0.91  0.93    2        3
    a fork              0.20  0.40  0.60  0.70    4        4        strict and RITM's

    mean                0.35  0.63  0.755 0.815   3.0      3.5      1

A failure counts as the last click, so NoC alone looks better the fewer clicks were allowed; NoF shows that. An instance
that reaches 90 % with its very last click is a success for the strict count, and a failure for RITM's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.comparison import answers
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, cells, number, share, spread
from harness.report.scores import NO_ROWS, about, bounds, failures, gaps, named, scores, with_intervals
from harness.statistics.clicks_needed import QUALITIES, Sequences, sequences
from harness.statistics.final_clicks import FinalClicks

FAILED_AT = 0.9
SHOWN = (1, 2, 3, 5, 10, 20)
"""After how many clicks the table shows the mean IoU, as far as the protocol goes."""

Line = tuple["pd.Series[Any]", Sequences]

_NOTES = (
    "NoC@q: mean clicks until the IoU is at least q %; an instance that never reaches it counts with all its clicks. "
    "NoF@90: instances that never reach 90 % (strict), or that need the last click (>=, as RITM counts). AuC: area "
    "under the mean IoU against clicks, in percent of the whole.",
    "Over instances with a mask after every click; the others count as failed. For a method with several rankings, "
    "these are the masks that the next clicks corrected.",
)


@register_table("noc")
def noc(final: FinalClicks, context: Context) -> Table:
    """NoC at four qualities, both counts of failure, mIoU after some clicks and the area under its curve."""
    every = _lines(final, context)
    found = [one for one in every if not _by_text_alone(one[1])]
    unclicked = [
        f"{line['dataset']}, {named(line)}: asked without clicks." for line, own in every if _by_text_alone(own)
    ]
    last = max((int(own.clicks.max(initial=0)) for _, own in found), default=0)
    shown = [k for k in SHOWN if k <= last]
    names = [Column(name) for name in ("Dataset", "Method")]
    clicks = [Column(f"{100 * q:.0f}", "NoC@", "right") for q in QUALITIES]
    failed = [Column(name, "NoF@90", "right") for name in ("strict", "RITM's")]
    means = [Column(str(k), "mIoU@", "right") for k in shown]
    columns = (*names, *clicks, *failed, *means, *[Column(name, align="right") for name in ("AuC", "n", "Failed")])
    starts = _starts(found)
    body = tuple(
        Row(_cells(line, own, shown, final, context), starts_section=start)
        for (line, own), start in zip(found, starts, strict=True)
    )
    said = f"Clicks per instance: at most {last}."
    notes = (said, *_NOTES) if body else () if unclicked else (NO_ROWS,)
    return Table("Clicks needed", columns, body, (*unclicked, *notes))


@register_table("iou_by_click")
def iou_by_click(final: FinalClicks, context: Context) -> Table:
    """Mean IoU after every click: one line a number of clicks, one column a data set and method."""
    found = _lines(final, context)
    columns = (Column("Clicks", align="right"), *[Column(named(line), line["dataset"], "right") for line, _ in found])
    rounds = sorted({int(k) for _, own in found for k in own.clicks})
    means = [_means(own, _after(own, rounds), (), context) for _, own in found]
    doubts = [gaps(line) for line, _ in found]
    # A method's footnotes belong to its column; they stand at its first number only.
    body = tuple(
        Row(
            (
                Cell(str(k)),
                *[replace(own[index], notes=() if index else said) for own, said in zip(means, doubts, strict=True)],
            )
        )
        for index, k in enumerate(rounds)
    )
    notes = [f"{line['dataset']}, {named(line)}: n = {len(own.ious)}, failed {own.failed}." for line, own in found]
    return Table("mIoU by clicks", columns, body, (*notes, _NOTES[1]) if body else (NO_ROWS,))


def _by_text_alone(own: Sequences) -> bool:
    """Whether the method was asked without clicks, so that there is no number of clicks to count."""
    return len(own.clicks) > 0 and not own.clicks.any()


def _lines(final: FinalClicks, context: Context) -> list[Line]:
    """Every line of `scores` that is a method's answer, with its sequences; empty ones if rows are missing."""
    lines = answers(scores(final, context), context)
    return [(line, sequences_of(line, final)) for _, line in lines.iterrows()]


def sequences_of(line: pd.Series[Any], final: FinalClicks) -> Sequences:
    """A line's IoUs click by click; none if rows are missing."""
    # Failed rows have no ranking and belong to every one: an instance that failed at click 3 is failed as a whole.
    rows = final.every
    own = rows[(rows["dataset"] == line["dataset"]) & (rows["method"] == line["method"])]
    found = sequences(own[(own["ranking"] == line["ranking"]) | (own["status"] != "ok")])
    whole = line["missing"] == 0
    return found if whole else found.none()


def _starts(found: Sequence[Line]) -> list[bool]:
    datasets = [line["dataset"] for line, _ in found]
    return [index == 0 or name != datasets[index - 1] for index, name in enumerate(datasets)]


def _cells(
    line: pd.Series[Any], own: Sequences, shown: Sequence[int], final: FinalClicks, context: Context
) -> tuple[Cell, ...]:
    doubts, n = gaps(line), len(own.ious)
    # Over no instance a count would be 0, which reads as a perfect score.
    counts = [str(count) if n else "–" for count in (own.nof_strict(FAILED_AT), own.nof_ritm(FAILED_AT))]
    means = _means(own, _after(own, shown).assign(area=own.areas()), doubts, context)
    clicks = [needed(own, quality, doubts, context) for quality in QUALITIES]
    names = (Cell(line["dataset"]), Cell(named(line), about(line, final, context) + failures(line, final)))
    return (*names, *clicks, *cells(counts, doubts), *means, *cells([str(n), str(own.failed)]))


def _means(own: Sequences, values: pd.DataFrame, doubts: tuple[str, ...], context: Context) -> Sequence[Cell]:
    """The mean of each column of shares."""
    means = [share(float(mean), doubts, n=len(values)) for mean in values.mean()]
    return with_intervals(means, values, own.instances.to_frame(index=False), context)


def needed(own: Sequences, quality: float, doubts: tuple[str, ...], context: Context) -> Cell:
    """NoC at a quality: in clicks, so that no format takes it for a share."""
    cell = Cell(number(own.noc(quality)), doubts)
    if not context.intervals or not len(own.ious):
        return cell
    clicks = pd.DataFrame({"needed": own.needed(quality)})
    ((low, high),) = bounds(clicks, own.instances.to_frame(index=False))
    return replace(cell, spread=spread(number(low), number(high), len(clicks)), n=len(clicks))


def mean_iou(own: Sequences, clicks: int, doubts: tuple[str, ...], context: Context) -> Cell:
    """The mean IoU after `clicks` clicks, from 0 to 1."""
    (cell,) = _means(own, _after(own, [clicks]), doubts, context)
    return cell


def _after(own: Sequences, shown: Sequence[int]) -> pd.DataFrame:
    """Each instance's IoU after each number of clicks in `shown`; NaN where no round ended at that number."""
    return pd.DataFrame(own.ious, columns=own.clicks).reindex(columns=list(shown))
