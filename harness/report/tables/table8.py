"""The paper's Table 8: ours, with a class name and clicks, beside referring segmentation with a phrase and no click.

The paper's one column mixes metrics, so the measures of both fields stand here in columns of their own: the mean over
objects (ours), the mean over sentences and the overall IoU (theirs), as the table `referring` defines them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.comparison import OURS, Part, absent, line_of, players, printed_beside, printed_cell, quoted_note
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong
from harness.report.paper.rows import Published
from harness.report.scores import NO_ROWS, about, counted, named, of_line, scored, scores
from harness.report.tables.referring import measured
from harness.statistics.final_clicks import FinalClicks, at_click
from harness.storage.clicks import click_counts

PARTS = (Part(("lavt",)), Part(("vlt",)), OURS)
PIXELS = ("intersection_px", "union_px", "text", "category")
PRINTED = {"miou": "object", "sentence_iou": "sentence", "overall_iou": "overall"}
"""What a printed number measures -> the column that it stands in, by its name in `referring`."""
SHOWN = {"sentence": "by sentence", "overall": "overall IoU", "P@0.5": "P@0.5", "P@0.7": "P@0.7", "P@0.9": "P@0.9"}
COLUMNS = ("object", *SHOWN)


@register_table("table8")
def table8(final: FinalClicks, context: Context) -> Table:
    """Ours against referring segmentation: mean IoU over objects and sentences, overall IoU and precision."""
    body: list[Row] = []
    notes: list[str] = []
    lines = scores(final, context)
    for dataset in lines["dataset"].unique():
        found = [one for part in PARTS for one in players(part, lines, final, context)]
        section = [shown for method in found for shown in _shown(method, dataset, final, context)]
        for index, (row, note) in enumerate(section):
            body.append(replace(row, starts_section=index == 0))
            notes.append(note)
        body += _published(dataset, final, context) if section else []
    means = (Column("by object", "mIoU", "right"), Column(SHOWN["sentence"], "mIoU", "right"))
    others = [Column(name, align="right") for key, name in SHOWN.items() if key != "sentence"]
    columns = (Column("Dataset"), Column("Model"), Column("Input"), *means, *others)
    general = [
        "In percent. By object: the mean over objects of the mean over their sentences. Overall IoU: all intersections "
        "over all unions. P@: the share of sentences with at least that IoU.",
        *quoted_note(8, body, final, context, "each number under what it measures"),
    ]
    missing = absent((OURS,), lines, final, context) if len(lines) else [NO_ROWS]
    title = "Table 8: ours against referring segmentation"
    return Table(title, columns, best_strong(body, range(3, 8)), (*notes, *(general if body else ()), *missing))


def _shown(method: str, dataset: str, final: FinalClicks, context: Context) -> Iterator[tuple[Row, str]]:
    """A method's lines: after all its clicks, and after the first where it had several. With their notes."""
    rows = final.rows
    last = final.where((rows["method"] == method) & (rows["dataset"] == dataset))
    every = final.every
    asked = every[(every["method"] == method) & (every["dataset"] == dataset)]
    several = click_counts(asked["clicks"]).max(initial=0) > 1
    for some in [last, FinalClicks.of(at_click(asked, 1))] if several else [last]:
        expected = {key: n for key, n in context.expected_instances.items() if key == (method, dataset)}
        only = replace(context, labels={method: context.facts(method)}, expected_instances=expected)
        line = line_of(scores(some, only), dataset, method, OURS.rankings)
        if line is not None:
            yield _row(line, some, context)


def _row(line: pd.Series[Any], final: FinalClicks, context: Context) -> tuple[Row, str]:
    said = _input(final, context.facts(line["method"]).uses_text)
    cells = measured(of_line(scored(final, PIXELS, by_draw=True), line), line, context)
    shown = [cells[name] for name in COLUMNS]
    names = (Cell(line["dataset"]), Cell(named(line), about(line, final, context)), Cell(said))
    return Row((*names, *shown)), f"{line['dataset']}, {named(line)}, {said}: {counted(line)}."


def _input(final: FinalClicks, uses_text: bool) -> str:
    """`Class name + 1 click`, by the rows."""
    rows = final.segmented
    counts = click_counts(rows["clicks"])
    clicks = int(counts.max(initial=0))
    own = rows[["text", "category"]].dropna() if "text" in rows else rows.iloc[:0]
    words = ("Class name" if (own["text"] == own["category"]).all() else "Phrase") if uses_text and len(own) else ""
    given = f"{clicks} click{'s' if clicks != 1 else ''}" if clicks else ""
    return " + ".join(filter(None, [words, given])) or "–"


def _published(dataset: str, final: FinalClicks, context: Context) -> Iterator[Row]:
    for row in printed_beside(8, dataset, final, context):
        names = (Cell(dataset), Cell(row.label, row.whole), Cell(_asked(row)))
        means = [printed_cell(row, "overall") if PRINTED[row.measured] == name else Cell("–") for name in COLUMNS]
        yield Row((*names, *means), quoted=True)


def _asked(row: Published) -> str:
    clicks = row.positive_clicks + row.negative_clicks
    given = f"{clicks} click{'s' if clicks != 1 else ''}" if clicks else ""
    return " + ".join(filter(None, ["Phrase" if row.text == "phrase" else "Class name", given]))
