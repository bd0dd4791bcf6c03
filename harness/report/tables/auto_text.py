"""The words given, guessed from the click, or none: how often the guess is right, and how much of the gain it keeps.

    mean IoU      none 0.50     guessed 0.57     given 0.60     recovered (0.57 - 0.50) / (0.60 - 0.50) = 0.70

Paper: Warner et al., BMVC 2023, https://arxiv.org/abs/2311.14822, section 5: "automatically detecting the best category
present around a user's foreground click, to remove the necessity of an additional text input". It has no such numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.baselines import baselines
from harness.report.comparison import PARTS, RIGHT_WORDS, answers, base, ends, gain_cell, interval, text_rules
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, number, percent, share
from harness.report.scores import (
    about,
    bounds,
    clicks_note,
    failures,
    gaps,
    iou_heading,
    mean_cell,
    of_line,
    scored,
    scores,
    with_intervals,
)
from harness.statistics.contrasts import mean_gain, paired, share_of
from harness.statistics.final_clicks import FinalClicks, over_draws
from harness.statistics.means import Gain, part

_GENERAL = (
    "Means over instances, in percent. Right: the share of guesses that are the object's own class. Over none, against "
    "given: differences in points, over the instances that both segmented from the same clicks. Recovered: what the "
    "guess gains over none as a share of what the given words gain."
)


@dataclass(frozen=True, eq=False)
class Trio:
    """A method on a data set with no words, given words and guessed words.

    Attributes:
        lines: "none", "given", "guessed" -> the line of `scores`, if there is one.
        found: The same keys -> the scored rows after the last click, one for each draw.
    """

    lines: Mapping[str, pd.Series[Any]]
    found: Mapping[str, pd.DataFrame]

    def pairs(self, one: str, other: str) -> pd.DataFrame | None:
        """The rows of one kind of words, with their gain over another kind; None if either lacks rows."""
        if any(kind not in self.lines or pd.isna(self.lines[kind]["mean"]) for kind in (one, other)):
            return None
        return paired(self.found[one], self.found[other])


@register_table("auto_text")
def auto_text(final: FinalClicks, context: Context) -> Table:
    """Guessed words beside given words and none: three lines for each method whose words were guessed."""
    lines = answers(scores(final, context), context)
    body: list[Row] = []
    notes: list[str] = []
    for trio in _trios(lines, final, context):
        body += [_row(kind, trio, final, context, starts=kind == next(iter(trio.lines))) for kind in trio.lines]
        notes += list(_said(trio))
    made = final.clicks_made
    means = [Column(name.capitalize(), iou_heading(made), "right") for name in PARTS.values()]
    rights = [Column(name.capitalize(), "Right", "right") for name in PARTS.values()]
    tails = [Column(name, align="right") for name in ("Over none", "Against given", "n", "Failed")]
    columns = (Column("Dataset"), Column("Method"), Column("Text"), *means, *rights, *tails)
    said = (*notes, *clicks_note(made), _GENERAL) if body else ("No method of this run guessed its words (auto/v1).",)
    return Table("The words given, guessed, or none", columns, tuple(body), tuple(said))


def _trios(lines: pd.DataFrame, final: FinalClicks, context: Context) -> Iterator[Trio]:
    found, rules = scored(final, ["guess"], by_draw=True), text_rules(final.rows)
    guessing = set(found.loc[found["guess"].notna(), "method"].astype(str))
    against = baselines(lines, final, context)
    for _, guessed in lines[lines["method"].isin(guessing)].iterrows():
        here = lines[lines["dataset"] == guessed["dataset"]]
        # The method's own variants. A network that was trained with words may have no answer without them; click-only
        # then stands for "none".
        own = here[[base(name, context) == base(guessed["method"], context) for name in here["method"]]]
        given = next((line for rule in RIGHT_WORDS for line in _of_rule(own, rules, rule)), None)
        other = against.of(guessed["dataset"], guessed["method"])
        without = [*_of_rule(own, rules, "none"), *(line for _, line in here[here["method"] == other].iterrows())]
        trio = {"none": next(iter(without), None), "given": given, "guessed": guessed}
        known = {kind: line for kind, line in trio.items() if line is not None}
        yield Trio(known, {kind: of_line(found, line) for kind, line in known.items()})


def _of_rule(lines: pd.DataFrame, rules: Mapping[str, str], rule: str) -> list[pd.Series[Any]]:
    """The lines of the methods that were asked by a rule and segmented something."""
    return [line for _, line in lines.iterrows() if rules.get(line["method"]) == rule and line["n"]]


def _row(kind: str, trio: Trio, final: FinalClicks, context: Context, starts: bool) -> Row:
    line = trio.lines[kind]
    names = (Cell(line["dataset"]), Cell(base(line["method"], context), about(line, final, context)))
    means = [mean_cell(line, column) for column in PARTS]
    rights = _right_cells(line, trio.found[kind], context) if kind == "guessed" else [Cell()] * len(PARTS)
    over = _gain(trio.pairs(kind, "none") if kind != "none" else None, context)
    less = _gain(trio.pairs(kind, "given") if kind == "guessed" else None, context)
    counts = [Cell(str(line[name]), gaps(line)) for name in ("n", "failed")]
    notes = failures(line, final)
    return Row((*names, Cell(kind, notes), *means, *rights, over, less, *counts), starts_section=starts)


def _right(rows: pd.DataFrame) -> pd.DataFrame:
    """Whether each instance's guess is its class, 1 or 0, mean over draws; for all, the seen and the unseen."""
    right = pd.DataFrame({"right": (rows["guess"].astype(str) == rows["category"].astype(str)).astype(float)})
    kept = over_draws(right, rows)
    own = rows.loc[kept.index]
    # NaN for the instances of the other half: each column's mean and count are then those of its own half.
    halves = {name: kept["right"].where(own.index.isin(part(own, name == "seen").index)) for name in ("seen", "unseen")}
    return own[["dataset", "image_id"]].assign(overall=kept["right"], **halves)


def _right_cells(line: pd.Series[Any], rows: pd.DataFrame, context: Context) -> list[Cell]:
    """The shares of right guesses; blank if rows are missing, as the means are."""
    right = _right(rows if line["missing"] == 0 else rows.iloc[:0])
    values = right[list(PARTS.values())]
    means = [share(float(values[name].mean()), gaps(line), n=int(values[name].count())) for name in values]
    return list(with_intervals(means, values, right, context))


def _gain(pairs: pd.DataFrame | None, context: Context) -> Cell:
    return gain_cell(None if pairs is None or pairs.empty else mean_gain(pairs), context)


def _said(trio: Trio) -> Iterator[str]:
    """The notes: how often the guess is right, the differences with their intervals, and the recovered share."""
    line = trio.lines["guessed"]
    if line["missing"]:
        return
    who = f"{line['dataset']}, {line['method']}"
    right = _right(trio.found["guessed"])
    values = right[list(PARTS.values())]
    shares = [
        f"{name} {percent(values[name].mean())} {ends(low, high, percent)} (n = {values[name].count()})"
        for name, (low, high) in zip(values, bounds(values, right), strict=True)
        if values[name].count()
    ]
    yield f"{who}: the guess is right on {', '.join(shares)}."
    over, given, less = (trio.pairs(*two) for two in (("guessed", "none"), ("given", "none"), ("guessed", "given")))
    if less is not None:
        yield f"{who}, against given: {_by_part(less, mean_gain, interval)}."
    if over is None:
        return
    yield f"{who}, over none: {_by_part(over, mean_gain, interval)}."
    # Split by the guess itself: right guesses should gain what given words gain, and wrong ones show the cost of a
    # guess. Their mixture alone would not tell a good guesser with a weak method from a bad one with a strong method.
    is_right = over["guess"].astype(str) == over["category"].astype(str)
    halves = [
        f"where the guess is {name} {interval(gain)} (n = {gain.n})"
        for name, rows in (("right", over[is_right]), ("wrong", over[~is_right]))
        if (gain := mean_gain(rows)).n
    ]
    yield f"{who}, over none, {', '.join(halves)}."
    if given is not None:
        recovered = [
            f"{name} {number(gain.difference)} {ends(gain.low, gain.high, number)}"
            for name, (some, whole) in _parts(over, given)
            if (gain := share_of(some, whole)).n
        ]
        yield f"{who}, recovered of what the given words gain: {', '.join(recovered)}."


def _by_part(pairs: pd.DataFrame, of: Callable[[pd.DataFrame], Gain], said: Callable[[Gain], str]) -> str:
    found = {name: of(rows) for name, (rows,) in _parts(pairs)}
    return ", ".join(f"{name} {said(gain)} (n = {gain.n})" for name, gain in found.items() if gain.n)


def _parts(*frames: pd.DataFrame) -> Iterator[tuple[str, tuple[pd.DataFrame, ...]]]:
    """The rows of all instances, of the seen and of the unseen."""
    yield "overall", frames
    for name in ("seen", "unseen"):
        yield name, tuple(part(rows, name == "seen") for rows in frames)
