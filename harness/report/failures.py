"""Shows why instances failed, as a table and in a single line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.report.layout import Cell, Column, Row, Table
from harness.statistics.reasons import Reason

SAID = 3
"""The number of reasons that the line spells out."""

_MOST = 200
"""Characters of a reason in a line."""


def failures_table(reasons: Sequence[Reason], run: str) -> Table:
    """A line for each reason, the most frequent first."""
    columns = (Column("Method"), Column("Dataset"), Column("Instances", align="right"), Column("Reason"), Column("At"))
    body = tuple(
        Row((Cell(one.method), Cell(one.dataset), Cell(str(one.instances)), Cell(one.text), Cell(one.image_id)))
        for one in reasons
    )
    note = "Reasons that differ only in names and numbers share one line, which quotes the first of them."
    return Table(f"Failed instances (run {run})", columns, body, (note,))


def in_a_line(reasons: Sequence[Reason]) -> str:
    """`Reasons: 2 x load: OSError: cut off; 1 x segment: ... `, the most frequent ones; "" for none."""
    counts = Counter[str]()
    for one in reasons:
        counts[one.text] += one.instances
    ordered = counts.most_common()
    told = [f"{count} x {_cut(text)}" for text, count in ordered[:SAID]]
    more = sum(count for _, count in ordered[SAID:])
    said = "; ".join([*told, *([f"{more} for other reasons, in report.md"] if more else [])])
    return f"Reasons: {said}. " if said else ""


def _cut(text: str) -> str:
    return text.rstrip(".") if len(text) <= _MOST else f"{text[:_MOST].rstrip()} ..."
