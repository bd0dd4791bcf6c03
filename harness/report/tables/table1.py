"""The paper's Table 1: the text's gain over a click alone, on all, seen and unseen classes.

Gains are paired: means over the instances that both methods segmented, from the same clicks. If text and click has the
IoUs 0.8, 0.7 and 0.3, and click alone 0.6, 0.6 and a failure, the means are 0.60 and 0.60, and the gain is
((0.8 - 0.6) + (0.7 - 0.6)) / 2 = +15 points. The difference of the means is 0, as only one has the third.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.baselines import Baselines, baselines
from harness.report.comparison import PARTS, gains, printed_beside, printed_cell, quoted_note, with_text
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong, signed
from harness.report.paper.rows import Published
from harness.report.scores import NO_ROWS, about, clicks_note, counted, iou_heading, mean_cell, scores
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import Gain
from harness.statistics.resampling import RESAMPLES

MEANS_SAID = (
    "Means over instances, in percent; w is the share of seen instances. In parentheses and in the notes: the gain "
    "over the same instances from the same clicks, in points, with its 95 % interval "
    f"({RESAMPLES} resamples of the images)."
)


@register_table("table1")
def table1(final: FinalClicks, context: Context) -> Table:
    """Every method that answers with one mask, those with text first; their gains over click-only."""
    every = scores(final, context)
    # One mask a click, as in the paper's table. Methods with several candidates are in the leaderboard, by ranking; a
    # note names them. The ranking "" is kept too: it marks a method that segmented nothing, which must not vanish.
    lines = every[every["ranking"].isin(["single", ""])]
    against = baselines(lines, final, context)
    body: list[Row] = []
    notes: list[str] = []
    for dataset in lines["dataset"].unique():
        own, said = section(final, lines[lines["dataset"] == dataset], context, against)
        body += [*own, *_published(dataset, final, context)]
        notes += said
    rankers = every.loc[~every["ranking"].isin(["single", ""]), "method"].unique()
    made = final.clicks_made
    notes += [*clicks_note(made), *_general(body, list(rankers))]
    notes += quoted_note(1, body, final, context) if body else []
    columns = (Column("Dataset"), Column("Method"), Column("Text", align="center"), *mean_columns(iou_heading(made)))
    title = f"Table 1: text and click against {against.said}"
    return Table(title, columns, best_strong(body, (3, 4, 5)), (*notes, *against.notes))


def mean_columns(heading: str) -> tuple[Column, ...]:
    """The columns of the overall, seen and unseen means."""
    return tuple(Column(name.capitalize(), heading, "right") for name in PARTS.values())


def section(
    final: FinalClicks, lines: pd.DataFrame, context: Context, against: Baselines
) -> tuple[list[Row], list[str]]:
    """A line of the table for each of one data set's lines of `scores`, and the notes on them."""
    lines = lines.assign(text=[with_text(method, final, context) for method in lines["method"]])
    lines = lines.sort_values("text", ascending=False, kind="stable")
    body: list[Row] = []
    notes: list[str] = []
    for _, line in lines.iterrows():
        over, said = _gains(final, lines, line, against.of(line["dataset"], line["method"]))
        body.append(_row(line, over, about(line, final, context), starts=not body))
        notes += [f"{line['dataset']}, {line['method']}: {counted(line)}.", *said]
    return body, notes


def _row(line: pd.Series[Any], over: Mapping[str, Gain], said: tuple[str, ...], starts: bool) -> Row:
    means = [
        mean_cell(line, column, f" ({signed(over[name].difference)})" if name in over else "")
        for column, name in PARTS.items()
    ]
    names = (Cell(line["dataset"]), Cell(line["method"], said), Cell("✓" if line["text"] else ""))
    return Row((*names, *means), starts_section=starts)


def _gains(
    final: FinalClicks, lines: pd.DataFrame, line: pd.Series[Any], baseline: str | None
) -> tuple[dict[str, Gain], list[str]]:
    """The gains of a method with text, by part, and a note with their intervals; none if either mean is blank."""
    whole = lines[lines["mean"].notna()]["method"].tolist()
    if not line["text"] or line["method"] not in whole or baseline is None or baseline not in whole:
        return {}, []
    return gains(final, line["dataset"], (line["method"], "single"), (baseline, "single"))


def _published(dataset: str, final: FinalClicks, context: Context) -> Iterator[Row]:
    for row in printed_beside(1, dataset, final, context):
        check = Cell("" if row.text == "none" else "✓")
        yield Row((Cell(dataset), Cell(row.label, row.whole), check, *printed_means(row)), quoted=True)


def printed_means(row: Published) -> Iterator[Cell]:
    """The printed means, their printed gains in parentheses."""
    for name in PARTS.values():
        gain = row.gains.get(name)
        yield printed_cell(row, name, "" if gain is None else f" ({gain:+.2f})")


def _general(body: list[Row], rankers: list[str]) -> Iterator[str]:
    if not body:
        yield NO_ROWS
        return
    yield MEANS_SAID
    if rankers:
        yield f"Only in the leaderboard, since they give several masks per click: {', '.join(rankers)}."
