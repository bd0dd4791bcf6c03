"""People's clicks against simulated ones: the same method, the same instances and words, clicked by either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.comparison import answers, base, gain_cell, interval, text_rules
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, share
from harness.report.scores import (
    NO_ROWS,
    about,
    clicks_note,
    failures,
    gaps,
    iou_heading,
    of_line,
    scored,
    scores,
    with_intervals,
)
from harness.statistics.contrasts import mean_gain, paired
from harness.statistics.final_clicks import FinalClicks

PEOPLES = ("recorded/", "human/")
"""The names of rules that replay people's clicks begin with one of these."""

_GENERAL = (
    "Means in percent over the n instances that were segmented by the clicks of both; over several draws an instance "
    "counts by its mean. Difference: simulated less people's, in points: above zero, simulated clicks flatter the "
    "method. Failed: instances without a mask by people's clicks, most of them because nobody clicked on them."
)
_NOBODY = "No method of this run has a variant by people's clicks (recorded/v1, human/v1) and one by simulated ones."


@register_table("people")
def people(final: FinalClicks, context: Context) -> Table:
    """A line for each data set, method and simulator: mIoU by people's clicks, by the simulator's, the difference."""
    lines = answers(scores(final, context), context)
    made = final.clicks_made
    body: list[Row] = []
    notes: list[str] = []
    found = scored(final)
    for one, other in _pairs(lines, final, context):
        # Without `draw`: the simulator's third draw and the third person's click have nothing in common, so an
        # instance's mean over one side's draws is compared with its mean over the other's.
        by_people, simulated = (of_line(found, line).drop(columns="draw", errors="ignore") for line in (one, other))
        pairs = paired(simulated, by_people, same_clicks=False)
        # Other than a failure, a missing row may still come, and then changes the means: until then they stay blank.
        pairs = pairs.iloc[:0] if one["missing"] or other["missing"] else pairs
        starts = not body or body[-1].cells[0].text != one["dataset"]
        body.append(_row(one, other, pairs, final, context, starts))
        if len(pairs):
            who = f"{one['dataset']}, {one['method']} and {other['method']}"
            notes.append(f"{who}: simulated less people's {interval(mean_gain(pairs))} (n = {len(pairs)}).")
    heads = [Column(name) for name in ("Dataset", "Method", "People", "Simulated")]
    means = [Column(name, iou_heading(made), "right") for name in ("People", "Simulated")]
    tails = [Column(name, align="right") for name in ("Difference", "n", "Failed")]
    said = (*notes, *clicks_note(made), _GENERAL) if body else (_NOBODY if len(lines) else NO_ROWS,)
    return Table("People's clicks and simulated ones", (*heads, *means, *tails), tuple(body), said)


def _pairs(
    lines: pd.DataFrame, final: FinalClicks, context: Context
) -> Iterator[tuple[pd.Series[Any], pd.Series[Any]]]:
    """Each line by people's clicks, with each line of the same method, data set and words by simulated clicks."""
    rules, words = _click_rules(final), text_rules(final.rows)
    for _, one in lines.iterrows():
        if not rules.get(one["method"], "").startswith(PEOPLES):
            continue
        for _, other in lines[lines["dataset"] == one["dataset"]].iterrows():
            # The same network and the same words, clicked by a rule and not by people.
            same = base(other["method"], context) == base(one["method"], context)
            simulated = rules.get(other["method"]) and not rules[other["method"]].startswith(PEOPLES)
            if same and simulated and words.get(other["method"]) == words.get(one["method"]):
                yield one, other


def _click_rules(final: FinalClicks) -> dict[str, str]:
    """Method's label -> the rule that clicked for it."""
    known = final.rows.reindex(columns=["method", "click_strategy"]).dropna().drop_duplicates("method")
    return dict(zip(known["method"].astype(str), known["click_strategy"].astype(str), strict=True))


def _row(
    one: pd.Series[Any],
    other: pd.Series[Any],
    pairs: pd.DataFrame,
    final: FinalClicks,
    context: Context,
    starts: bool,
) -> Row:
    name = base(one["method"], context)
    ways = [Cell(_way(line, name), failures(line, final)) for line in (one, other)]
    # Both means are over the same instances, so how many each method has alone is no doubt; rows that are missing are.
    doubts = tuple(dict.fromkeys(note for line in (one, other) if line["missing"] for note in gaps(line)))
    values = pairs[["score_b", "score"]]
    means = [share(float(values[column].mean()), doubts, n=len(pairs)) for column in values]
    shown = with_intervals(means, values, pairs, context) if len(pairs) else means
    difference = gain_cell(mean_gain(pairs), context) if len(pairs) else Cell("–")
    names = (Cell(one["dataset"]), Cell(name, about(one, final, context)), *ways)
    counts = [Cell(str(len(pairs)), doubts), Cell(str(one["failed"]), doubts)]
    return Row((*names, *shown, difference, *counts), starts_section=starts)


def _way(line: pd.Series[Any], name: str) -> str:
    return str(line["method"]).removeprefix(f"{name}, ")
