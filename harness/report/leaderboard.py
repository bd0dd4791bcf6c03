"""Every method, ranking and data set of a run: mask and boundary IoU, best first."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from harness.report import Context, about, clicks_note, gaps, iou_heading, scores, table
from harness.report.layout import Cell, Column, Row, Table, percent
from harness.summaries import clicks_made

ORACLE = "Of a click's masks the one with the best IoU, chosen with the ground truth: a bound, not a method."


@table("leaderboard")
def leaderboard(rows: pd.DataFrame, context: Context) -> Table:
    """One line a data set, method and ranking; within a data set the largest mean first, blank ones last."""
    lines = _both_metrics(rows, context)
    starts = ~lines.duplicated("dataset")
    body = tuple(
        _row(line, about(line, rows, context), bool(starts[index])) for index, (_, line) in enumerate(lines.iterrows())
    )
    made = clicks_made(rows)
    notes = ("Means over instances, in percent; w is the share of seen instances.", *clicks_note(made))
    return Table("Leaderboard", _columns(made), body, notes if body else ("No rows.",))


def _both_metrics(rows: pd.DataFrame, context: Context) -> pd.DataFrame:
    lines = scores(rows, context)
    boundary = scores(rows, context, "boundary_iou")
    doubts = pd.Series([gaps(line) for _, line in boundary.iterrows()], index=lines.index, dtype=object)
    lines = lines.assign(boundary=boundary["mean"], boundary_gaps=doubts)
    place = {name: number for number, name in enumerate(lines["dataset"].unique())}
    lines = lines.assign(place=lines["dataset"].map(place), loss=-lines["mean"])
    return lines.sort_values(["place", "loss"], kind="stable", na_position="last", ignore_index=True)


def _columns(made: tuple[int, int] | None) -> tuple[Column, ...]:
    names = [Column(name) for name in ("Dataset", "Method", "Ranking")]
    means = [iou_heading(made), iou_heading(made, "boundary mIoU")]
    return (*names, *[Column(heading, align="right") for heading in [*means, "n", "w", "Failed"]])


def _row(line: pd.Series[Any], said: tuple[str, ...], starts: bool) -> Row:
    share = "–" if math.isnan(line["w"]) else f"{line['w']:.3f}"
    cells = (
        Cell(line["dataset"]),
        Cell(line["method"], said),
        Cell(line["ranking"] or "–", (ORACLE,) if line["ranking"] == "oracle" else ()),
        Cell(percent(line["mean"]), gaps(line)),
        Cell(percent(line["boundary"]), line["boundary_gaps"]),
        *[Cell(text) for text in (str(line["n"]), share, str(line["failed"]))],
    )
    return Row(cells, starts_section=starts)
