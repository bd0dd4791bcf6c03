"""Seen against unseen classes where objects are equally large: how much of the gap is size.

Small objects are harder, and seen classes may have larger ones. So objects are compared within bins of about one size:

    area in pixels     seen             unseen           weight n m / (n + m)
    512 to 1024        1 x 0.50         3 x 0.50         1 x 3 / 4 = 0.75
    1024 to 2048       3 x 0.80         1 x 0.80         3 x 1 / 4 = 0.75

    plain              0.725            0.575            gap +15 points
    at matched size    0.65             0.65             gap 0: all of it was size

The weight is the one that gives the gap the smallest variance if all IoUs vary alike; a bin with one object on a side
counts little, as it says little.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.comparison import interval_cell
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, cells, share
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
)
from harness.report.tables.leaderboard import ORACLE
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import NO_GAIN
from harness.statistics.stratified import matched_weights, octave, stratified

_NOTE = (
    "In percent. Gap: seen less unseen, in points, with its 95 % interval by images. At matched size: objects are "
    "sorted by their area into bins from 2^k to 2^(k+1) pixels, and a bin weighs the same in both halves: "
    "n m / (n + m) for n seen and m unseen objects. Left out: objects in bins that hold one half only."
)


@register_table("matched_size")
def matched_size(final: FinalClicks, context: Context) -> Table:
    """The gap between seen and unseen classes, over all objects and at matched size: a line for each method."""
    found = scored(final, ["gt_area_px"])
    body: list[Row] = []
    for _, line in scores(final, context).iterrows():
        starts = not body or body[-1].cells[0].text != line["dataset"]
        body.append(_row(line, of_line(found, line), starts, final, context))
    made = final.clicks_made
    heading = iou_heading(made)
    columns = (
        *[Column(name) for name in ("Dataset", "Method", "Ranking")],
        *[Column(name, heading, "right") for name in ("Seen", "Unseen", "Gap")],
        *[Column(name, f"{heading} at matched size", "right") for name in ("Seen", "Unseen", "Gap")],
        *[Column(name, align="right") for name in ("n", "Left out")],
    )
    return Table(
        "Seen and unseen, at matched size", columns, tuple(body), (*clicks_note(made), _NOTE) if body else (NO_ROWS,)
    )


def _row(line: pd.Series[Any], own: pd.DataFrame, starts: bool, final: FinalClicks, context: Context) -> Row:
    own = own[own["seen"].notna()]
    seen = own["seen"].astype(bool)
    bins = octave(numbers(own["gt_area_px"]))
    # Both gaps are sums of means of strata: (+1, seen), (-1, unseen) for the plain one, and each bin's two halves with
    # plus and minus its weight at matched size. So one function gives both, with intervals from the same images.
    weights = matched_weights(bins, seen)
    strata = pd.Series(list(zip(bins, seen, strict=True)), index=own.index, dtype=object)
    by_half = pd.Series([(half,) for half in seen], index=own.index, dtype=object)
    whole = line["missing"] == 0 and seen.nunique() == 2
    plain = {(True,): 1.0, (False,): -1.0}
    matched = {(one, half): weight * (1 if half else -1) for one, weight in weights.items() for half in (True, False)}
    shown: list[Cell] = []
    for where, parts in ((by_half, plain), (strata, matched)):
        for half in (True, False):
            # The mean of one half is the same weighted sum with positive weights; their difference is the gap.
            some = {key: abs(weight) for key, weight in parts.items() if key[-1] == half}
            found = stratified(own, "iou", where, some) if whole else NO_GAIN
            shown.append(share(found.difference, gaps(line), n=found.n))
        gap = stratified(own, "iou", where, parts) if whole else NO_GAIN
        shown.append(interval_cell(gap, "–", gaps(line)))
    kept = int(bins.isin(list(weights)).sum())
    ranking = Cell(line["ranking"] or "–", (ORACLE,) if line["ranking"] == "oracle" else ())
    names = [Cell(line["dataset"]), Cell(line["method"], about(line, final, context) + failures(line, final)), ranking]
    counts = cells([str(kept), str(len(own) - kept)])
    return Row((*names, *shown, *counts), starts_section=starts, bound=line["ranking"] == "oracle")
