"""Lists what is wrong in the paper's tables and in those of a run: all findings that are footnotes elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table
from harness.report.paper.published import known_findings, load_published
from harness.report.scores import NO_ROWS, gaps, named, scores
from harness.statistics.final_clicks import FinalClicks

Finding = tuple[str, ...]
"""The place, the line, its means and a sentence on what is wrong."""

CLEAN = "Nothing is wrong in this run's own means."


@register_table("audit")
def audit(final: FinalClicks, context: Context) -> Table:
    """The faults and doubts in the paper's tables and in the run's own means."""
    own = _grouped(own_findings(final, context))
    body = [*_rows("published", _grouped(printed_findings())), *_rows(f"run {context.run}", own)]
    said = f"{len(own)} finding{'s' * (len(own) > 1)} in this run." if own else CLEAN
    notes = (said, "Every table that shows the numbers of a finding has it as a footnote.")
    return Table("Audit", COLUMNS, tuple(body), notes if len(final.rows) else (NO_ROWS,))


COLUMNS = tuple(Column(name) for name in ("Of", "Where", "Lines", "Means", "Finding"))


def published_audit() -> Table:
    """The findings in the paper's tables alone."""
    body = tuple(_rows("published", _grouped(printed_findings())))
    return Table("Audit of the paper's tables", COLUMNS, body, (f"{len(body)} findings.",))


def printed_findings() -> Iterator[Finding]:
    """Table and data set, line, means and finding, in the paper's order; at the end those of its text alone."""
    for row in load_published():
        where, line = f"Table {row.table}, {row.dataset}", f"{row.method} ({row.train_data}, {row.train_classes})"
        for flag in row.flags:
            means = [name for name, texts in row.doubts.items() if flag in texts]
            yield where, line, ", ".join(means) or "all", flag
    for one in known_findings():
        if one.row is None:
            yield one.where, "the text", "–", one.text


def own_findings(final: FinalClicks, context: Context) -> Iterator[Finding]:
    """Data set, line, means and finding, of the run's means of each metric."""
    lines = {metric: scores(final, context, metric) for metric in ("iou", "boundary_iou")}
    for metric, found in lines.items():
        asked = found["n"].sum() > 0 or metric == "iou"
        for _, line in found.iterrows() if asked else ():
            yield from ((line["dataset"], named(line), metric, said) for said in (*gaps(line), *_identity(line)))
    yield from _boundaries(lines["iou"], lines["boundary_iou"])


def _identity(line: pd.Series[Any]) -> Iterator[str]:
    """A finding if the mean is not that of its halves, w seen + (1 - w) unseen.

    For 3 seen instances with a mean of 0.60 and 1 unseen with 0.40, w = 0.75 and the mean must be 0.55. Otherwise rows
    were counted in one number and not in the other.
    """
    halves = [share * line[name] for name, share in (("seen", line["w"]), ("unseen", 1 - line["w"])) if share > 0]
    whole = line["n_seen"] + line["n_unseen"] == line["n"] > 0
    if whole and not math.isnan(line["mean"]) and abs(sum(halves) - line["mean"]) > 1e-9:
        yield f"The overall mean is {line['mean']:.6f}, but the means of seen and unseen give {sum(halves):.6f}."


def _boundaries(masks: pd.DataFrame, boundaries: pd.DataFrame) -> Iterator[Finding]:
    # A single mask may well have a better outline than area. A mean above the masks' mean is possible, but so rare that
    # two columns are more likely to be exchanged, or two methods.
    key = ["dataset", "method", "ranking"]
    both = boundaries.merge(masks[[*key, "mean"]], on=key, suffixes=("", "_mask"))
    for _, line in both[both["mean"] > both["mean_mask"]].iterrows():
        said = f"Boundary IoU {100 * line['mean']:.2f} above mask IoU {100 * line['mean_mask']:.2f}: unusual."
        yield line["dataset"], named(line), "boundary_iou", said


def _grouped(found: Iterable[Finding]) -> list[Finding]:
    """Join equal findings of one table or data set, with all lines and means that they are about."""
    about: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
    for where, line, means, said in found:
        lines, columns = about.setdefault((where, said), ({}, {}))
        lines[line] = columns[means] = None
    return [(where, "; ".join(lines), ", ".join(columns), said) for (where, said), (lines, columns) in about.items()]


def _rows(of: str, found: Iterable[Finding]) -> Iterator[Row]:
    for index, texts in enumerate(found):
        yield Row((Cell(of), *[Cell(text) for text in texts]), starts_section=index == 0)
