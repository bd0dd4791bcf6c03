"""Every method, ranking and data set of a run: the means of its metrics, best first, with ranks as far as they hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from string import ascii_lowercase
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.plugins.scale import Scale
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong
from harness.report.scores import NO_ROWS, about, clicks_note, mean_cell, metric_heading, scores
from harness.statistics.comparisons import ranks
from harness.statistics.final_clicks import ENTRY, SHOWN, FinalClicks
from harness.statistics.resampling import RESAMPLES

ORACLE = "Of a click's masks the one with the best IoU, chosen with the ground truth: a bound, not a method."

RANKED = (
    "Rank: 1 + how many are surely better, up to how many are not surely worse, by paired tests on the same instances "
    f"and clicks ({RESAMPLES} sign flips of the images, Holm's correction, 5 %). Letters are tie groups: none is "
    "surely worse than the first of its letter."
)


@register_table("leaderboard")
def leaderboard(final: FinalClicks, context: Context) -> Table:
    """One line a data set, method and ranking; within a data set the best mean first, blank ones last."""
    metrics = _metrics(context)
    lines = _lines(final, context, metrics)
    starts = ~lines.duplicated("dataset")
    whole = pd.MultiIndex.from_frame(lines.loc[lines["mean"].notna(), ENTRY[:2]])
    shown = pd.MultiIndex.from_frame(final.rows[ENTRY[:2]]).isin(whole)
    places = places_of(final.where(shown), context) if len(whole) else {}
    body = tuple(
        _row(line, metrics, places, about(line, final, context), bool(starts[index]))
        for index, (_, line) in enumerate(lines.iterrows())
    )
    made = final.clicks_made
    said = f"{means_said(metrics, context.scale)}; w is the share of seen instances."
    notes = (said, RANKED, *clicks_note(made))
    shown_best = best_strong(body, range(4, 4 + len(metrics)))
    return Table("Leaderboard", _columns(made, metrics, context), shown_best, notes if body else (NO_ROWS,))


def means_said(metrics: Sequence[str], scale: Callable[[str], Scale]) -> str:
    """What the columns of means hold: `Means over instances, in percent but for missed_px (px, lower is better)`."""
    own = [f"{name}{scale(name).said}" for name in metrics if not scale(name).is_share]
    return f"Means over instances, in percent{' but for ' if own else ''}{', '.join(own)}"


def _metrics(context: Context) -> tuple[str, ...]:
    """The metrics of the columns, the one that ranks first."""
    return tuple(dict.fromkeys([context.leading_metric, *SHOWN, *context.own_metrics]))


def places_of(final: FinalClicks, context: Context) -> dict[tuple[str, str, str], str]:
    """The `place` of each data set, method and ranking, by the run's leading metric."""
    metric = context.leading_metric
    lines = ranks(final, metric, context.scale(metric)).to_dict("records")
    return {(line["dataset"], line["method"], line["ranking"]): place(line) for line in lines}


def place(line: Mapping[Any, Any]) -> str:
    """A method's place, from its line of `ranks`: `1 a`, or `2–4 b` where the rows cannot tell three methods apart."""
    low, high, group = (int(line[name]) for name in ("rank_low", "rank_high", "tie_group"))
    letter = ascii_lowercase[group - 1] if group <= len(ascii_lowercase) else f"({group})"
    return f"{low}{f'–{high}' * (high > low)} {letter}"


def _lines(final: FinalClicks, context: Context, metrics: Sequence[str]) -> pd.DataFrame:
    """The lines of `scores` of the first metric, best first, with a column of cells for each metric."""
    found = {metric: scores(final, context, metric) for metric in metrics}
    lines = found[metrics[0]]
    cells = {
        f"cell {metric}": pd.Series([mean_cell(line) for _, line in own.iterrows()], index=lines.index, dtype=object)
        for metric, own in found.items()
    }
    place = {name: number for number, name in enumerate(lines["dataset"].unique())}
    loss = -context.scale(metrics[0]).sign * lines["mean"]
    lines = lines.assign(**cells, place=lines["dataset"].map(place), loss=loss)
    return lines.sort_values(["place", "loss"], kind="stable", na_position="last", ignore_index=True)


def _columns(made: tuple[int, int] | None, metrics: Sequence[str], context: Context) -> tuple[Column, ...]:
    names = [Column("Dataset"), Column("Rank", align="right"), Column("Method"), Column("Ranking")]
    means = [metric_heading(made, metric, context) for metric in metrics]
    return (*names, *[Column(heading, align="right") for heading in [*means, "n", "w", "Failed"]])


def _row(
    line: pd.Series[Any],
    metrics: Sequence[str],
    places: Mapping[tuple[str, str, str], str],
    said: tuple[str, ...],
    starts: bool,
) -> Row:
    share = "–" if math.isnan(line["w"]) else f"{line['w']:.3f}"
    place = places.get((line["dataset"], line["method"], line["ranking"]), "")
    cells = (
        Cell(line["dataset"]),
        Cell(place),
        Cell(line["method"], said),
        Cell(line["ranking"] or "–", (ORACLE,) if line["ranking"] == "oracle" else ()),
        *[line[f"cell {metric}"] for metric in metrics],
        *[Cell(text) for text in (str(line["n"]), share, str(line["failed"]))],
    )
    return Row(cells, starts_section=starts, bound=line["ranking"] == "oracle")
