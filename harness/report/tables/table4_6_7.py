"""The paper's Tables 4, 6 and 7: ours against others that get the click alone, on seen and unseen classes.

All three have the same form, so `Versus` builds them: a line for each method that plays a part, the paper's lines
below, and a note with the paired gain of ours over each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.plugins.scale import Scale
from harness.report.comparison import (
    CLICK_SYSTEMS,
    OURS,
    PARTS,
    SAM,
    Part,
    absent,
    gains,
    line_of,
    players,
    printed_beside,
    printed_cell,
    quoted_note,
)
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong
from harness.report.scores import NO_ROWS, about, clicks_note, counted, iou_heading, mean_cell, named, scores
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.resampling import RESAMPLES

HALVES = (
    "Seen and unseen are the halves of the data set's split; weights that name no classes of their training, as "
    "published SAM's and RITM's, have both means."
)

Shown = tuple[Part, "pd.Series[Any]"]
"""A line of `scores` and the part that its method plays."""


@dataclass(frozen=True)
class Versus:
    """A table of ours against others: a line for each data set and method: overall, seen and unseen means.

    Attributes:
        number: The paper's table.
        title: The title, without the run's name.
        parts: The parts that are compared, in the order of the lines.
        metric: The column of the rows with the metric.
        mean: The name of its mean in the column's heading.
        trained: Whether a column says what the weights were trained on.
    """

    number: int
    title: str
    parts: tuple[Part, ...]
    metric: str = "iou"
    mean: str = "mIoU"
    trained: bool = False

    def build(self, final: FinalClicks, context: Context) -> Table:
        """The table, with a note for each part that no method plays."""
        lines = scores(final, context, self.metric)
        made = final.clicks_made
        body: list[Row] = []
        notes: list[str] = []
        for dataset in lines["dataset"].unique():
            shown = self._shown(dataset, lines, final, context)
            body += self._section(dataset, [line for _, line in shown], final, context)
            notes += [f"{dataset}, {named(line)}: {counted(line)}." for _, line in shown]
            notes += self._gains(dataset, shown, final, context.scale(self.metric))
        missing = absent(self.parts, lines, final, context) if len(lines) else [NO_ROWS]
        notes += [*clicks_note(made), *(self._general(body, final, context) if body else []), *missing]
        columns = self._columns(iou_heading(made, self.mean))
        # The means are the last three columns; how many names come before them depends on `trained`.
        first = len(columns) - len(PARTS)
        return Table(self.title, columns, best_strong(body, range(first, len(columns))), tuple(notes))

    def _shown(self, dataset: str, lines: pd.DataFrame, final: FinalClicks, context: Context) -> list[Shown]:
        found = [
            (part, line_of(lines, dataset, method, part.rankings))
            for part in self.parts
            for method in players(part, lines, final, context)
        ]
        return [(part, line) for part, line in found if line is not None]

    def _columns(self, heading: str) -> tuple[Column, ...]:
        names = ("Model", "Train data", "Eval data") if self.trained else ("Dataset", "Model")
        means = [Column(name.capitalize(), heading, "right") for name in PARTS.values()]
        return (*[Column(name) for name in names], *means)

    def _section(
        self, dataset: str, shown: Sequence[pd.Series[Any]], final: FinalClicks, context: Context
    ) -> Iterator[Row]:
        """One data set's lines, and the paper's beneath them."""
        for index, line in enumerate(shown):
            model = Cell(named(line), about(line, final, context))
            means = [mean_cell(line, column) for column in PARTS]
            names = self._names(dataset, model, context.facts(line["method"]).trained_on or "–")
            yield Row((*names, *means), starts_section=index == 0)
        for row in printed_beside(self.number, dataset, final, context) if shown else []:
            names = self._names(dataset, Cell(row.label, row.whole), f"{row.train_data} ({row.train_classes})")
            yield Row((*names, *[printed_cell(row, name) for name in PARTS.values()]), quoted=True)

    def _names(self, dataset: str, model: Cell, train: str) -> tuple[Cell, ...]:
        return (model, Cell(train), Cell(dataset)) if self.trained else (Cell(dataset), model)

    def _gains(self, dataset: str, shown: Sequence[Shown], final: FinalClicks, scale: Scale) -> Iterator[str]:
        """A note for each pair of ours and another method; none if either mean is blank."""
        whole = [(part, line) for part, line in shown if not math.isnan(line["mean"])]
        for ours, a in whole:
            for other, b in whole:
                # Ours against each other, once: not two of ours, and not the same pair the other way round.
                if ours == OURS and other != OURS:
                    pair = (a["method"], a["ranking"]), (b["method"], b["ranking"])
                    yield from gains(final, dataset, *pair, self.metric, scale)[1]

    def _general(self, body: Sequence[Row], final: FinalClicks, context: Context) -> list[str]:
        means = (
            "Means over instances, in percent; w is the share of seen instances. Against: the gain over the same "
            f"instances from the same clicks, in points, with its 95 % interval ({RESAMPLES} resamples of the images)."
        )
        return [means, HALVES, *quoted_note(self.number, body, final, context)]


@register_table("table4")
def table4(final: FinalClicks, context: Context) -> Table:
    """Ours, trained on the seen classes, against SAM by its own confidence: overall, seen and unseen means."""
    return Versus(4, "Table 4: ours against SAM, on seen and unseen classes", (OURS, SAM)).build(final, context)


@register_table("table6")
def table6(final: FinalClicks, context: Context) -> Table:
    """RITM, or another click system, against ours, with training and evaluation data: overall, seen, unseen means."""
    title = "Table 6: RITM against ours, on seen and unseen classes"
    return Versus(6, title, (CLICK_SYSTEMS, OURS), trained=True).build(final, context)


@register_table("table7")
def table7(final: FinalClicks, context: Context) -> Table:
    """Table 4 by boundary IoU."""
    versus = Versus(7, "Table 7: ours against SAM, by boundary IoU", (OURS, SAM), "boundary_iou", "boundary mIoU")
    return versus.build(final, context)
