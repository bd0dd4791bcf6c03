"""The same recipe trained with several seeds: how much of a mean, and of a gain, is chance of the training.

    mIoU with seeds 0, 1, 2      with text 60, 62, 64      click only 58, 57, 59
    means                        62.00 ± 2.00              58.00 ± 1.00
    gains seed by seed           2, 5, 5 -> +4.00 ± 1.73

The spread of a gain is taken from the gains themselves: two networks of one seed share their initial weights and the
order of their batches, so part of the chance is the same in both and cancels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.comparison import CLICK, OURS, PARTS, gains, players
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, percent, share, signed
from harness.report.scores import clicks_note, counted, gaps, iou_heading, scores
from harness.report.tables.table1 import mean_columns
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import Gain

GENERAL = (
    "Mean over the seeds of the means over instances, in percent, ± their sample standard deviation. Gains are of the "
    "same seed's two networks on the same instances and clicks, in points."
)
NONE = "No method of this run was trained with several seeds; `seeds: [0, 1, 2]` of a method's entry says so."


@register_table("seeds")
def seeds(final: FinalClicks, context: Context) -> Table:
    """Mean and spread over trainings with other seeds: a line for each method, and one for the gain of the text."""
    lines = scores(final, context)
    # Our own networks answer with one mask. The ranking "" is a network without a mask, which a note below names.
    lines = lines[lines["ranking"].isin(["single", ""])]
    lines = lines.assign(of=[context.facts(method).seed_of for method in lines["method"]])
    lines = lines[lines["of"] != ""]
    body: list[Row] = []
    notes = [f"{_named(line)}: left out. {' '.join(gaps(line))}" for _, line in lines[lines["mean"].isna()].iterrows()]
    lines = lines[lines["mean"].notna()]
    for dataset in lines["dataset"].unique():
        own = lines[lines["dataset"] == dataset]
        body += [
            _line(group, str(name), context, starts=not index)
            for index, (name, group) in enumerate(own.groupby("of", sort=False))
        ]
        notes += [f"{_named(line)}: {counted(line)}." for _, line in own.iterrows()]
        gained, said = _gains(dataset, own, final, context)
        body += gained
        notes += said
    made = final.clicks_made
    columns = (Column("Dataset"), Column("Method"), Column("Seeds"), *mean_columns(iou_heading(made)))
    if body:
        notes += [*clicks_note(made), GENERAL]
    return Table("Seeds of the training", columns, tuple(body), tuple(notes) or (NONE,))


def _named(line: pd.Series[Any]) -> str:
    return f"{line['dataset']}, {line['method']}"


def _line(group: pd.DataFrame, name: str, context: Context, starts: bool) -> Row:
    """One method's means over its seeds."""
    of = ", ".join(str(context.facts(method).seed) for method in group["method"])
    means = {part: group[column].tolist() for column, part in PARTS.items()}
    # Without a split there are no seen and unseen means.
    known = {part: values for part, values in means.items() if not any(map(isnan, values))}
    said = [f"{name}, {part}: {', '.join(map(percent, values))}." for part, values in known.items()]
    said += [note for _, line in group.iterrows() for note in gaps(line)]
    cells = [share(fmean(known[part]), more=_spread(known[part])) if part in known else Cell("–") for part in means]
    return Row((Cell(group["dataset"].iloc[0]), Cell(name, tuple(said)), Cell(of), *cells), starts_section=starts)


def _gains(dataset: str, lines: pd.DataFrame, final: FinalClicks, context: Context) -> tuple[list[Row], list[str]]:
    """The gain of the text for each pair of a text + click and a click-only recipe; notes on seeds without a gain."""
    body: list[Row] = []
    notes: list[str] = []
    ours, click = (_seeds(players(part, lines, final, context), context) for part in (OURS, CLICK))
    for name, own in ours.items():
        for other, baseline in click.items():
            # Seed by seed, and only seeds that both have: the gain of seed 0 over seed 1 would mix in their chance.
            common = [seed for seed in own if seed in baseline]
            every = {seed: gains(final, dataset, (own[seed], "single"), (baseline[seed], "single")) for seed in common}
            found = {seed: gain for seed, (gain, _) in every.items() if gain}
            notes += [note for gain, said in every.values() if not gain for note in said]
            if found:
                body.append(_gain_row(dataset, f"{name} over {other}", found))
    return body, notes


def _gain_row(dataset: str, name: str, found: Mapping[int, Mapping[str, Gain]]) -> Row:
    """The line of a gain; `found` is seed -> part -> the gain of that seed's two networks."""
    points = {part: [one[part].difference for one in found.values() if part in one] for part in PARTS.values()}
    said = [f"{name}, {part}: {', '.join(map(signed, values))}." for part, values in points.items() if values]
    cells = [
        Cell(signed(mean := fmean(values)) + _spread(values), value=mean) if values else Cell()
        for values in points.values()
    ]
    return Row((Cell(dataset), Cell(name, tuple(said)), Cell(", ".join(map(str, found))), *cells))


def _seeds(methods: Sequence[str], context: Context) -> dict[str, dict[int, str]]:
    """The label that all seeds share -> seed -> the label of that seed's entry."""
    found: dict[str, dict[int, str]] = {}
    for method in methods:
        facts = context.facts(method)
        if facts.seed is not None:
            found.setdefault(facts.seed_of, {})[facts.seed] = method
    return found


def _spread(values: Sequence[float]) -> str:
    """` ± 0.31`, in points; "" for a single value."""
    # n - 1 in the divisor (`stdev`): the seeds are a sample of all that could have been drawn.
    return f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
