"""The paper's Table 2: the text's gain over a click alone, by the number of classes seen in training.

Seen and unseen are the data set's split in every line, whatever a method was trained on. The paper does so, too: its
lines for 34 and 23 classes have the halves of its 64. So a column compares the same instances down the table.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.baselines import baselines
from harness.report.comparison import CLICK, OURS, absent, players, printed_beside, quoted_note
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong
from harness.report.paper.rows import Published
from harness.report.scores import NO_ROWS, clicks_note, iou_heading, scores
from harness.report.tables.table1 import MEANS_SAID, mean_columns, printed_means, section
from harness.statistics.final_clicks import FinalClicks


@register_table("table2")
def table2(final: FinalClicks, context: Context) -> Table:
    """Text and click against click alone by the number of training classes: overall, seen and unseen means."""
    lines = scores(final, context)
    parts = (OURS, CLICK)
    played = [label for part in parts for label in players(part, lines, final, context)]
    lines = lines[lines["method"].isin(played) & lines["ranking"].isin(["single", ""])]
    lines = lines.assign(classes=[context.facts(method).trained_classes or 0 for method in lines["method"]])
    body: list[Row] = []
    notes: list[str] = []
    for dataset in lines["dataset"].unique():
        own, said = _section(final, lines[lines["dataset"] == dataset], context)
        body += own
        notes += said
    made = final.clicks_made
    notes += [*clicks_note(made), *([MEANS_SAID, *quoted_note(2, body, final, context)] if body else [])]
    notes += absent(parts, scores(final, context), final, context) if len(final.rows) else [NO_ROWS]
    head = (Column("Dataset"), Column("Seen classes", align="right"), Column("Method"), Column("Text", align="center"))
    columns = (*head, *mean_columns(iou_heading(made)))
    title = "Table 2: text and click by the number of classes seen in training"
    return Table(title, columns, best_strong(body, (4, 5, 6)), tuple(notes))


def _section(final: FinalClicks, lines: pd.DataFrame, context: Context) -> tuple[list[Row], list[str]]:
    """One data set's lines, those with the most classes first; below each the paper's with as many classes."""
    dataset = str(lines["dataset"].iloc[0])
    printed: dict[int, list[Published]] = {}
    for row in printed_beside(2, dataset, final, context):
        printed.setdefault(int(row.train_classes.removeprefix("seen")), []).append(row)
    body: list[Row] = []
    notes: list[str] = []
    # The baseline is sought among methods with as many classes, so a gain compares two networks of one training set.
    for classes in sorted({*lines["classes"], *printed}, reverse=True):
        own = lines[lines["classes"] == classes]
        if len(own):
            against = baselines(own, final, context)
            found, said = section(final, own, context, against)
            body += [_with_classes(row, classes) for row in found]
            notes += [*said, *against.notes]
        body += _printed(dataset, classes, printed.get(classes, []), starts=not len(own))
    return body, notes


def _with_classes(row: Row, classes: int) -> Row:
    cells = (row.cells[0], Cell(str(classes or "–")), *row.cells[1:])
    return Row(cells, row.starts_section, row.quoted)


def _printed(dataset: str, classes: int, printed: list[Published], starts: bool) -> Iterator[Row]:
    for row in printed:
        head = (Cell(dataset), Cell(str(classes)), Cell(row.label, row.whole), Cell("" if row.text == "none" else "✓"))
        yield Row((*head, *printed_means(row)), starts_section=starts, quoted=True)
        starts = False
