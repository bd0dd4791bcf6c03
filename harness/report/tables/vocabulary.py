"""One network, one click, one text, contrasted with other names: how much of a result is due to the vocabulary.

A saliency compares a text with other names: a pixel is "cup" if it fits "cup" better than "plate", "fork" and so on.
The choice of these names is a part of what a method is given. With unseen classes among them, it is given more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.comparison import PARTS, answers, gain_cell, gains
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong
from harness.report.scores import about, clicks_note, failures, gaps, iou_heading, mean_cell, scores
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import Gain

CALLED = {
    "dataset": "the data set's names",
    "checkpoint": "the training's names",
    "none": "nothing",
    "present": "the names in the image (ground truth)",
}
"""A method's `vocabulary` -> how the table calls it; a file is called by its name."""

_GENERAL = (
    "Means over instances, in percent. Against: the difference in points to the first method of the data set that "
    "contrasts the text with the data set's names, over the instances that both segmented from the same clicks."
)


@register_table("vocabulary")
def vocabulary(final: FinalClicks, context: Context) -> Table:
    """Other names to contrast a text with: a line for each choice, with its difference to the data set's names."""
    lines = answers(scores(final, context), context)
    lines = lines[[bool(context.facts(name).vocabulary) for name in lines["method"]]] if len(lines) else lines
    body: list[Row] = []
    notes: list[str] = []
    for dataset in lines["dataset"].unique():
        own = lines[lines["dataset"] == dataset]
        # The data set's names are the base, as they are a run's default.
        base = next((line for _, line in own.iterrows() if context.facts(line["method"]).vocabulary == "dataset"), None)
        for _, line in own.iterrows():
            gain, told = _gain(line, base, final)
            notes += told
            body.append(_row(line, gain, final, context, starts=line["method"] == own["method"].iloc[0]))
    made = final.clicks_made
    means = [Column(name.capitalize(), iou_heading(made), "right") for name in PARTS.values()]
    tails = [Column(name, align="right") for name in ("Against", "n", "Failed")]
    columns = (Column("Dataset"), Column("Method"), Column("Text contrasted with"), *means, *tails)
    said = (*notes, *clicks_note(made), _GENERAL) if body else ("No method of this run takes a `vocabulary`.",)
    return Table("Text contrasted with other names", columns, best_strong(body, (3, 4, 5)), tuple(said))


def _gain(line: pd.Series[Any], base: pd.Series[Any] | None, final: FinalClicks) -> tuple[Gain | None, list[str]]:
    """The difference to the data set's names, with its note; none for these names, or if either mean is blank."""
    if base is None or line["method"] == base["method"] or pd.isna(line["mean"]) or pd.isna(base["mean"]):
        return None, []
    pair = [(one["method"], one["ranking"]) for one in (line, base)]
    found, said = gains(final, line["dataset"], pair[0], pair[1])
    return found.get("overall"), said


def _row(line: pd.Series[Any], gain: Gain | None, final: FinalClicks, context: Context, starts: bool) -> Row:
    chosen = context.facts(line["method"]).vocabulary
    names = (Cell(line["dataset"]), Cell(line["method"], about(line, final, context) + failures(line, final)))
    counts = [Cell(str(line[name]), gaps(line)) for name in ("n", "failed")]
    means = [mean_cell(line, column) for column in PARTS]
    return Row((*names, Cell(CALLED.get(chosen, Path(chosen).name)), *means, gain_cell(gain, context), *counts), starts)
