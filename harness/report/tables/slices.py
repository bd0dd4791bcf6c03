"""Slices of the same rows: by distractors, as in the paper's Figure 8, by size, and by how deep the click lies.

A slice is a range of one column, with its lower end and without its upper one: an object of 1024 pixels is medium, one
of 1023 is small. Each number is a plain mean over the slice's instances, with their count in parentheses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.plugins.registry import register_table
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, share
from harness.report.scores import (
    NO_ROWS,
    about,
    clicks_note,
    failures,
    gaps,
    iou_heading,
    numbers,
    of_line,
    scored,
    scores,
    with_intervals,
)
from harness.report.tables.leaderboard import ORACLE
from harness.statistics.final_clicks import FinalClicks, over_draws
from harness.statistics.means import part

CLASSES = ("all", "unseen")


@dataclass(frozen=True)
class Slices:
    """A column of the rows, cut into ranges.

    Attributes:
        title: The table's title.
        column: The column of the rows that is cut.
        ranges: The slice's heading -> its least value, and the value that it stays below.
        note: A sentence on what the column means.
    """

    title: str
    column: str
    ranges: Mapping[str, tuple[float, float]]
    note: str

    def build(self, final: FinalClicks, context: Context) -> Table:
        """A line for each data set, method, ranking and half of the classes; a column for each slice."""
        lines, found = scores(final, context), scored(final, [self.column], by_draw=True)
        body: list[Row] = []
        for _, line in lines.iterrows():
            own = of_line(found, line)
            for classes in CLASSES:
                some = own if classes == "all" else part(own, False)
                starts = not body or body[-1].cells[0].text != line["dataset"]
                names = self._names(line, classes, final, context)
                body.append(Row((*names, *self._cells(line, some, own, context)), starts_section=starts))
        made = final.clicks_made
        heads = [Column(name) for name in ("Dataset", "Method", "Ranking", "Classes")]
        means = [Column(name, iou_heading(made), "right") for name in self.ranges]
        said = (f"Means over instances, in percent, and how many in parentheses. {self.note}", *clicks_note(made))
        return Table(self.title, (*heads, *means), tuple(body), said if body else (NO_ROWS,))

    def _names(self, line: pd.Series[Any], classes: str, final: FinalClicks, context: Context) -> list[Cell]:
        said = (about(line, final, context) + failures(line, final)) if classes == CLASSES[0] else ()
        ranking = Cell(line["ranking"] or "–", (ORACLE,) if line["ranking"] == "oracle" else ())
        return [Cell(line["dataset"]), Cell(line["method"], said), ranking, Cell(classes)]

    def _cells(self, line: pd.Series[Any], some: pd.DataFrame, own: pd.DataFrame, context: Context) -> Sequence[Cell]:
        values = numbers(some[self.column])
        unknown = int(numbers(own[self.column]).isna().sum())
        doubts = gaps(line)
        if unknown:
            doubts += (f"{unknown} of {len(own)} rows have no {self.column}.",)
        # Rows without a value may belong to any slice, so if there are some, every slice's mean is blank.
        whole = line["missing"] == 0 and not unknown
        bounds = self.ranges.items()
        parts = pd.DataFrame(
            {name: some["iou"].where((values >= low) & (values < high)) for name, (low, high) in bounds}
        )
        # A column for each slice, NaN outside of it. Draws of one instance may lie in several slices (each draw has a
        # click depth of its own); the instance then counts in each of them by the mean of its draws there.
        parts = over_draws(parts, some)
        counts = [int(parts[name].count()) for name in parts]
        means = [float(parts[name].mean()) if whole else np.nan for name in parts]
        shown = [share(mean, doubts, f" ({n})", n) for mean, n in zip(means, counts, strict=True)]
        return with_intervals(shown, parts, some.loc[parts.index], context)


DISTRACTORS = Slices(
    "Distractors: how many objects of the class the image holds",
    "same_class_count",
    {"1": (0, 2), "2": (2, 3), "3": (3, 4), "4": (4, 5), "5 and more": (5, np.inf)},
    "The asked object is counted. Figure 8 of the paper shows unseen classes.",
)

SIZES = Slices(
    "Size of the object",
    "gt_area_px",
    {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)},
    "COCO's bounds, of the area that counts, in pixels of the image: 32 x 32 and 96 x 96.",
)

DEPTHS = Slices(
    "Depth of the click",
    "click_depth_px",
    {"under 5 px": (0, 5), "5 to 10": (5, 10), "10 to 20": (10, 20), "20 to 40": (20, 40), "40 and more": (40, np.inf)},
    "From the first positive click to the object's nearest border, in pixels of the image.",
)


@register_table("distractors")
def distractors(final: FinalClicks, context: Context) -> Table:
    """Slices by the number of objects of the same class in the image, as in the paper's Figure 8."""
    return DISTRACTORS.build(final, context)


@register_table("object_size")
def object_size(final: FinalClicks, context: Context) -> Table:
    """Slices by the area of the object that was asked for."""
    return SIZES.build(final, context)


@register_table("click_depth")
def click_depth(final: FinalClicks, context: Context) -> Table:
    """Slices by the distance of the first click to the object's border."""
    return DEPTHS.build(final, context)
