"""The paper's Table 8, for any methods: which words and clicks each gets, and how well it then segments.

The paper compares ours, with a class name and clicks, with referring segmentation by a phrase and no click. Its single
column mixes metrics: a mean over objects for ours, and for the others the number of their papers, which may be an
overall IoU. Here each measure has a column of its own (see the example in the table `referring`), and a printed number
stands in the column that it measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from harness.config.texts import WORDS, read_words
from harness.plugins.registry import register_table
from harness.report.comparison import OURS, Part, absent, players, printed_beside, printed_cell, quoted_note, reads_text
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong
from harness.report.paper.lists import difference
from harness.report.paper.rows import Published
from harness.report.scores import NO_ROWS, about, counted, named, of_line, plugin_of, scored, scores
from harness.report.tables.leaderboard import ORACLE
from harness.report.tables.referring import measured, objects_of
from harness.statistics.final_clicks import FinalClicks, at_click
from harness.storage.clicks import click_counts

FIRST = (Part(("lavt",)), Part(("vlt",)))

TEXT = "text"
"""The ranking of a method's answer to the text alone, wherever one clicks (methods/shared/text_masks.py)."""

PIXELS = ("intersection_px", "union_px", "text", "category")
PRINTED = {"miou": "object", "sentence_iou": "sentence", "overall_iou": "overall"}
"""The measure of a printed number -> the name of its column, as in `referring`."""
SHOWN = {"sentence": "by sentence", "overall": "overall IoU", "P@0.5": "P@0.5", "P@0.7": "P@0.7", "P@0.9": "P@0.9"}
COLUMNS = ("object", *SHOWN)
GIVEN = {
    "none": "",
    "class_name": "Class name",
    "synonym": "Synonym",
    "hypernym": "Hypernym",
    "wrong_present": "Wrong name",
    "wrong_absent": "Wrong name",
}
"""A text rule -> the name of its words in the column `Input`; for other rules the words themselves decide."""


@register_table("table8")
def table8(final: FinalClicks, context: Context) -> Table:
    """Each method's input, with mean IoU over objects and over sentences, overall IoU and precision."""
    context = _by_objects(final, context)
    body: list[Row] = []
    notes: list[str] = []
    lines = scores(final, context)
    for dataset in lines["dataset"].unique():
        methods = _in_the_papers_order(lines[lines["dataset"] == dataset], final, context)
        section = [shown for method in methods for shown in _shown(method, dataset, final, context)]
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
    marked = best_strong(body, range(3, len(columns)))
    return Table(title, columns, marked, (*notes, *(general if body else ()), *missing))


def _by_objects(final: FinalClicks, context: Context) -> Context:
    """The context with the run's objects compared to the paper's list, not its instances."""
    # A run that asks with every sentence has more instances than the paper's list, but the same objects. This table
    # takes means over objects.
    rows = final.rows
    splits = {dataset: asked.split for (_, dataset), asked in context.asked.items()}
    others: dict[str, str] = {}
    for dataset in context.other_lists:
        objects = objects_of(rows[rows["dataset"] == dataset]).nunique()
        whole = dataset not in context.limits
        how = difference(plugin_of(final, dataset), splits.get(dataset, ""), objects, whole)
        others |= {dataset: how} if how else {}
    return replace(context, other_lists=others)


def _in_the_papers_order(lines: pd.DataFrame, final: FinalClicks, context: Context) -> list[str]:
    """The paper's methods come first, ours last, and any others between them."""
    first = [one for part in FIRST for one in players(part, lines, final, context)]
    ours = players(OURS, lines, final, context)
    others = [one for one in lines["method"].unique() if one not in (*first, *ours)]
    return [*first, *others, *ours]


def _shown(method: str, dataset: str, final: FinalClicks, context: Context) -> Iterator[tuple[Row, str]]:
    """A method's lines with their notes: after all its clicks and, if it had several, after the first."""
    rows, every = final.rows, final.every
    last = final.where((rows["method"] == method) & (rows["dataset"] == dataset))
    asked = every[(every["method"] == method) & (every["dataset"] == dataset)]
    several = click_counts(asked["clicks"]).max(initial=0) > 1
    for some in [last, FinalClicks.of(at_click(asked, 1))] if several else [last]:
        expected = {key: n for key, n in context.expected_instances.items() if key == (method, dataset)}
        only = replace(context, labels={method: context.facts(method)}, expected_instances=expected)
        lines = scores(some, only)
        own = lines[(lines["method"] == method) & (lines["dataset"] == dataset)]
        for _, line in own.iterrows():
            # An answer to the text alone is the same after any number of clicks, so it is shown once.
            if line["ranking"] != TEXT or some is last:
                yield _row(line, some, context)


def _row(line: pd.Series[Any], final: FinalClicks, context: Context) -> tuple[Row, str]:
    said = _input(line, final, context)
    cells = measured(of_line(scored(final, PIXELS, by_draw=True), line), line, context)
    shown = [cells[name] for name in COLUMNS]
    bound = line["ranking"] == "oracle"
    doubts = (*about(line, final, context), *([ORACLE] if bound else []))
    names = (Cell(line["dataset"]), Cell(named(line), doubts), Cell(said))
    return Row((*names, *shown), bound=bound), f"{line['dataset']}, {named(line)}, {said}: {counted(line)}."


def _input(line: pd.Series[Any], final: FinalClicks, context: Context) -> str:
    """`Class name + 1 click`, by the rows; for an answer to the text alone, the words without clicks."""
    rows = of_line(final.segmented, line)
    clicks = 0 if line["ranking"] == TEXT else int(click_counts(rows["clicks"]).max(initial=0))
    given = f"{clicks} click{'s' if clicks != 1 else ''}" if clicks else ""
    return " + ".join(filter(None, [_words(rows) if reads_text(line, final, context) else "", given])) or "–"


def _words(rows: pd.DataFrame) -> str:
    """The kind of words in the rows: that of their text rule, or "Class name" if all are class names, else "Phrase"."""
    own = rows[["text", "category"]].dropna().astype("str") if "text" in rows else rows.iloc[:0]
    rule = str(rows["text_rule"].iloc[0]) if len(rows) and "text_rule" in rows else ""
    if rule in GIVEN or own.empty:
        return GIVEN.get(rule, "")
    words = read_words(WORDS)
    # Either as the data set prints a name ("tvmonitor") or as it is said ("tv monitor").
    names = (own["text"] == own["category"]) | (own["text"] == own["category"].map(words.said))
    return "Class name" if names.all() else "Phrase"


def _published(dataset: str, final: FinalClicks, context: Context) -> Iterator[Row]:
    for row in printed_beside(8, dataset, final, context):
        names = (Cell(dataset), Cell(row.label, row.whole), Cell(_asked(row)))
        means = [printed_cell(row, "overall") if PRINTED[row.measured] == name else Cell("–") for name in COLUMNS]
        yield Row((*names, *means), quoted=True)


def _asked(row: Published) -> str:
    clicks = row.positive_clicks + row.negative_clicks
    given = f"{clicks} click{'s' if clicks != 1 else ''}" if clicks else ""
    return " + ".join(filter(None, ["Phrase" if row.text == "phrase" else "Class name", given]))
