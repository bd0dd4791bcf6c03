"""Every method, ranking and data set of a run: mask and boundary IoU, best first, with ranks as far as they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from string import ascii_lowercase
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong
from harness.report.scores import NO_ROWS, about, clicks_note, iou_heading, mean_cell, scores
from harness.statistics.comparisons import ranks
from harness.statistics.final_clicks import ENTRY, FinalClicks
from harness.statistics.resampling import RESAMPLES

ORACLE = "Of a click's masks the one with the best IoU, chosen with the ground truth: a bound, not a method."

RANKED = (
    "Rank: 1 + how many are surely better, up to how many are not surely worse, by paired tests on the same instances "
    f"and clicks ({RESAMPLES} sign flips of the images, Holm's correction, 5 %). Letters are tie groups: none is "
    "surely worse than the first of its letter."
)


@register_table("leaderboard")
def leaderboard(final: FinalClicks, context: Context) -> Table:
    """One line a data set, method and ranking; within a data set the largest mean first, blank ones last."""
    lines = _both_metrics(final, context)
    starts = ~lines.duplicated("dataset")
    whole = pd.MultiIndex.from_frame(lines.loc[lines["mean"].notna(), ENTRY[:2]])
    shown = pd.MultiIndex.from_frame(final.rows[ENTRY[:2]]).isin(whole)
    places = places_of(final.where(shown)) if len(whole) else {}
    body = tuple(
        _row(line, places, about(line, final, context), bool(starts[index]))
        for index, (_, line) in enumerate(lines.iterrows())
    )
    made = final.clicks_made
    notes = ("Means over instances, in percent; w is the share of seen instances.", RANKED, *clicks_note(made))
    return Table("Leaderboard", _columns(made), best_strong(body, (4, 5)), notes if body else (NO_ROWS,))


def places_of(final: FinalClicks) -> dict[tuple[str, str, str], str]:
    """The `place` of each data set, method and ranking."""
    lines = ranks(final).to_dict("records")
    return {(line["dataset"], line["method"], line["ranking"]): place(line) for line in lines}


def place(line: Mapping[Any, Any]) -> str:
    """A method's place, from its line of `ranks`: `1 a`, or `2–4 b` where the rows cannot tell three methods apart."""
    low, high, group = (int(line[name]) for name in ("rank_low", "rank_high", "tie_group"))
    letter = ascii_lowercase[group - 1] if group <= len(ascii_lowercase) else f"({group})"
    return f"{low}{f'–{high}' * (high > low)} {letter}"


def _both_metrics(final: FinalClicks, context: Context) -> pd.DataFrame:
    lines = scores(final, context)
    boundary = scores(final, context, "boundary_iou")
    cells = pd.Series([mean_cell(line) for _, line in boundary.iterrows()], index=lines.index, dtype=object)
    place = {name: number for number, name in enumerate(lines["dataset"].unique())}
    lines = lines.assign(boundary=cells, place=lines["dataset"].map(place), loss=-lines["mean"])
    return lines.sort_values(["place", "loss"], kind="stable", na_position="last", ignore_index=True)


def _columns(made: tuple[int, int] | None) -> tuple[Column, ...]:
    names = [Column("Dataset"), Column("Rank", align="right"), Column("Method"), Column("Ranking")]
    means = [iou_heading(made), iou_heading(made, "boundary mIoU")]
    return (*names, *[Column(heading, align="right") for heading in [*means, "n", "w", "Failed"]])


def _row(line: pd.Series[Any], places: Mapping[tuple[str, str, str], str], said: tuple[str, ...], starts: bool) -> Row:
    share = "–" if math.isnan(line["w"]) else f"{line['w']:.3f}"
    place = places.get((line["dataset"], line["method"], line["ranking"]), "")
    cells = (
        Cell(line["dataset"]),
        Cell(place),
        Cell(line["method"], said),
        Cell(line["ranking"] or "–", (ORACLE,) if line["ranking"] == "oracle" else ()),
        mean_cell(line),
        line["boundary"],
        *[Cell(text) for text in (str(line["n"]), share, str(line["failed"]))],
    )
    return Row(cells, starts_section=starts, bound=line["ranking"] == "oracle")
