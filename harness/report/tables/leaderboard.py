"""Every method, ranking and data set of a run: the means of its metrics, best first, with ranks as far as they hold.

How the numbers are made, for method A with the IoUs 0.8 and 0.6 and one failure, and B with 0.7, 0.5 and 0.6:

    mIoU      A (0.8 + 0.6) / 2 = 0.70        B (0.7 + 0.5 + 0.6) / 3 = 0.60      over what was segmented
    n, Failed A 2, 1                          B 3, 0
    as 0      A (0.8 + 0.6 + 0) / 3 = 0.47    B 0.60                              decides on the order: B is first

No rank is given here, since the two means are not over the same instances.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from string import ascii_lowercase
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.plugins.scale import Scale
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong, comparable
from harness.report.scores import NO_ROWS, about, clicks_note, mean_cell, metric_heading, scores
from harness.statistics.final_clicks import ENTRY, SHOWN, FinalClicks
from harness.statistics.ranks import ranks
from harness.statistics.resampling import RESAMPLES

ORACLE = "The mask with the best IoU among a click's masks, chosen with the ground truth: an upper bound, not a method."

AS_WORST = (
    "Failed as {0}: the mean if every instance that failed or has no score counts as {0}; lines are sorted by it."
)

RANKED = (
    "Rank: from 1 + the number of methods that are surely better, to the number that are not surely worse, by paired "
    f"tests on the same instances and clicks ({RESAMPLES} sign flips of the images, Holm's correction, 5 %). A "
    "letter is a tie group: none of its methods is surely worse than the first of them. Only means over the same "
    "instances and clicks have ranks."
)


@register_table("leaderboard")
def leaderboard(final: FinalClicks, context: Context) -> Table:
    """A line for each data set, method and ranking; within a data set the best mean first, blank ones last."""
    metrics = _metrics(context)
    lines = _lines(final, context, metrics)
    starts = ~lines.duplicated("dataset")
    ranked = pd.MultiIndex.from_frame(lines.loc[lines["ranked"], ENTRY])
    shown = pd.MultiIndex.from_frame(final.rows[ENTRY]).isin(ranked)
    places = places_of(final.where(shown), context) if len(ranked) else {}
    worst = context.scale(metrics[0]).worst
    # A distance has no worst value, so its failures cannot be counted in; the column is then left out.
    failing = bool(lines["failed"].any()) and math.isfinite(worst)
    body = tuple(
        _row(line, metrics, places, (*other_clicks(line), *about(line, final, context)), bool(starts[index]), failing)
        for index, (_, line) in enumerate(lines.iterrows())
    )
    made = final.clicks_made
    said = f"{means_said(metrics, context.scale)}; w is the share of seen instances."
    notes = (said, RANKED, *([AS_WORST.format(f"{worst:g}")] if failing else []), *clicks_note(made))
    columns = [*_columns(made, metrics, context), *([Column(f"Failed as {worst:g}", align="right")] if failing else [])]
    # Four columns of names come first, then the metrics, then n, w and Failed, which have no best, and at last the mean
    # with failures as the worst value, if it is shown.
    best = best_strong(body, [*range(4, 4 + len(metrics)), *range(7 + len(metrics), len(columns))])
    return Table("Leaderboard", tuple(columns), best, notes if body else (NO_ROWS,))


def placed(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines of a leaderboard with what decides of their places.

    Args:
        lines: With `dataset`, `ranking`, `asked_by` (how each was clicked, in words) and `cell` (its mean).

    Returns:
        With `ranked`: whether the line's mean is over the same instances as the others', from clicks that were made
        alike, so that it may have a rank; `usual`: how most of the data set's methods were clicked; and `apart`:
        whether this one was clicked in another way.
    """
    # The oracle never has a rank: it chooses with the ground truth. Those with other clicks than most go below the
    # others (`apart`), since more clicks make better masks of any method.
    parts = []
    for _, own in lines.groupby("dataset", sort=False):
        own = own.assign(ranked=False)
        competing = own[own["ranking"] != "oracle"]
        own.loc[competing.index, "ranked"] = comparable(list(competing["cell"]))
        most = own.loc[own["ranked"], "asked_by"] if own["ranked"].any() else own["asked_by"]
        usual = Counter(most).most_common(1)[0][0]
        parts.append(own.assign(usual=usual, apart=own["asked_by"] != usual))
    return pd.concat(parts).loc[lines.index] if parts else lines.assign(ranked=False, usual="", apart=False)


def other_clicks(line: Mapping[Any, Any] | pd.Series[Any]) -> tuple[str, ...]:
    """A footnote for a line whose clicks differ from those of most others: how it was clicked."""
    if not line["apart"]:
        return ()
    return (
        f"Asked with {line['asked_by']}, others with {line['usual']}: it has no rank among them and is never marked "
        "as the best.",
    )


def means_said(metrics: Sequence[str], scale: Callable[[str], Scale]) -> str:
    """A note on the columns of means: `Means over instances, in percent but for missed_px (px, lower is better)`."""
    own = [f"{name}{scale(name).said}" for name in metrics if not scale(name).is_share]
    return f"Means over instances, in percent{' except ' if own else ''}{', '.join(own)}"


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
    # In the order of the mean over all instances, failures included: no method rises by failing on the hard ones.
    # The least loss comes first: the sign is +1 where more is better, so an IoU of 0.7 has the loss -0.7, and 3 missed
    # pixels have the loss 3. A blank mean has none and comes last.
    loss = -context.scale(metrics[0]).sign * lines["as_worst"].where(lines["mean"].notna())
    lines = lines.assign(**cells, cell=cells[f"cell {metrics[0]}"], place=lines["dataset"].map(place), loss=loss)
    return placed(lines).sort_values(["place", "apart", "loss"], kind="stable", na_position="last", ignore_index=True)


def _columns(made: tuple[int, int] | None, metrics: Sequence[str], context: Context) -> tuple[Column, ...]:
    names = [Column("Dataset"), Column("Rank", align="right"), Column("Method"), Column("Ranking")]
    means = [metric_heading(made, metric, context) for metric in metrics]
    return (*names, *[Column(heading, align="right") for heading in [*means, "n", "w", "Failed"]])


def as_worst_cell(value: float, line: Mapping[Any, Any] | pd.Series[Any]) -> Cell:
    """The mean with failures counted as the worst value; blank where rows are missing. All of them are comparable."""
    value = math.nan if line["missing"] else value
    return Cell(line["scale"].shown(value), value=value, scale=line["scale"], alike=line["asked_by"])


def _row(
    line: pd.Series[Any],
    metrics: Sequence[str],
    places: Mapping[tuple[str, str, str], str],
    said: tuple[str, ...],
    starts: bool,
    failing: bool,
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
        *([as_worst_cell(line["as_worst"], line)] if failing else []),
    )
    return Row(cells, starts_section=starts, bound=line["ranking"] == "oracle")
