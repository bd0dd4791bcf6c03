"""The same click with other words: none, the right ones, a synonym, a hypernym, a wrong class.

A dose is a text rule. Doses are compared on the instances that were segmented with every dose: in some images there is
one class only, so no wrong class is present, and some names have no synonym.

    mean IoU      none 0.50     class name 0.60     wrong 0.35
    over none                   +10 points          -15 points
    gullibility                                     0.60 - 0.35 = 25 points

A method that ignores the text has a gullibility of 0, and gains nothing either. One that uses the text well gains much
from the right words; a large gullibility beside that says that it follows the words against the click.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.baselines import baselines
from harness.report.comparison import RIGHT_WORDS, answers, base, gain_cell, interval, text_rules, with_text
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, cells, share
from harness.report.scores import (
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
from harness.statistics.final_clicks import INSTANCE, FinalClicks
from harness.statistics.means import Gain, paired_gain
from harness.structures import UserError

DOSES = {
    "none": "none",
    "class_name": "class name",
    "given": "as given",
    "synonym": "synonym",
    "hypernym": "hypernym",
    "auto/v1": "guessed",
    "wrong_present": "wrong, present",
    "wrong_absent": "wrong, absent",
}
"""Rule -> how the table calls it, in the order of its lines; other rules follow."""

_GENERAL = (
    "Means over the instances that were segmented with every dose of a method (n), in percent. Over none: the gain "
    "over no text, from the same clicks, in points. Gullibility: what the wrong text loses against the right one, in "
    "points; the larger, the more the method believes it."
)


@dataclass(frozen=True, eq=False)
class Dose:
    """A method's answers to one kind of text, on one data set.

    Attributes:
        kind: The rule of the texts; "none" for a method that reads no text, whatever it was given.
        line: The line of `scores`.
        found: The scored rows after the last click.
    """

    kind: str
    line: pd.Series[Any]
    found: pd.DataFrame

    @property
    def entry(self) -> tuple[str, str]:
        """Label and ranking."""
        return str(self.line["method"]), str(self.line["ranking"])

    @property
    def whole(self) -> bool:
        """Whether no row is missing, and something was segmented."""
        return bool(self.line["missing"] == 0) and len(self.found) > 0


Gains = dict[str, Gain]
"""A dose's gains, by the keys "over none" and "gullibility"; a gain that cannot be computed is left out."""


@register_table("text_dose")
def text_dose(final: FinalClicks, context: Context) -> Table:
    """Right, wider and wrong words: mean, gain over no text, gullibility; a line for each data set, method and rule."""
    lines = answers(scores(final, context), context)
    body: list[Row] = []
    notes: list[str] = []
    for doses in _series(lines, final, context):
        common = _common([dose for dose in doses if dose.whole])
        try:
            found = _gains(doses, final, common)
        except UserError as error:
            found, notes = [{} for _ in doses], [*notes, f"{doses[0].line['dataset']}: no gains. {error}"]
        for index, (dose, own) in enumerate(zip(doses, found, strict=True)):
            body.append(_row(dose, own, common, index == 0, final, context))
            notes += [_said(dose, own)] if own else []
    made = final.clicks_made
    heads = [Column("Dataset"), Column("Method"), Column("Text"), Column(iou_heading(made), align="right")]
    tails = [Column(name, align="right") for name in ("Over none", "Gullibility", "n", "Failed")]
    said = (*notes, *clicks_note(made), _GENERAL) if body else ("No method of this run was given text.",)
    return Table("Other words, same clicks", (*heads, *tails), tuple(body), said)


def _series(lines: pd.DataFrame, final: FinalClicks, context: Context) -> Iterator[list[Dose]]:
    """The doses of each data set and method that was given text, in order.

    If a method segments nothing without text, as a network that was trained with it does, click-only is its "none".
    """
    found, rules = scored(final), text_rules(final.rows)
    spoken = {name: with_text(name, final, context) for name in lines["method"]}
    against = baselines(lines, final, context)
    for dataset in lines["dataset"].unique():
        doses = [
            Dose(rules.get(line["method"], "") if spoken[line["method"]] else "none", line, of_line(found, line))
            for _, line in lines[lines["dataset"] == dataset].iterrows()
        ]
        named = {base(dose.entry[0], context): None for dose in doses if spoken[dose.entry[0]]}
        for name in named:
            own = [dose for dose in doses if base(dose.entry[0], context) == name]
            if not any(dose.kind == "none" and dose.whole for dose in own):
                other = against.of(dataset, own[0].entry[0])
                own = [*[dose for dose in doses if dose.entry[0] == other], *own]
            yield sorted(own, key=lambda dose: list(DOSES).index(dose.kind) if dose.kind in DOSES else len(DOSES))


def _common(doses: Sequence[Dose]) -> pd.MultiIndex:
    """The instances that were segmented with every one of these doses."""
    several = [pd.MultiIndex.from_frame(dose.found[INSTANCE]) for dose in doses]
    return reduce(pd.MultiIndex.intersection, several) if several else pd.MultiIndex.from_arrays([[]] * len(INSTANCE))


def _gains(doses: Sequence[Dose], final: FinalClicks, common: pd.MultiIndex) -> list[Gains]:
    """The gains of each dose, over the instances that were segmented with all of them."""
    whole = [dose for dose in doses if dose.whole]
    if not whole:
        return [{} for _ in doses]
    # All gains are over the common instances, not each over those of its own pair: so a table's gains may be compared,
    # and a dose that exists for easy instances only does not look better for it.
    paired = final.where(pd.MultiIndex.from_frame(final.rows[INSTANCE]).isin(common))
    none = next((dose for dose in whole if dose.kind == "none"), None)
    # The first rule of RIGHT_WORDS that has a dose, not the first dose with one of these rules.
    right = next((dose for kind in RIGHT_WORDS for dose in whole if dose.kind == kind), None)
    found: list[Gains] = []
    for dose in doses:
        own = {}
        if dose.whole and none and dose is not none:
            own["over none"] = paired_gain(paired, dose.entry, none.entry)
        if dose.whole and right and dose.kind.startswith("wrong"):
            own["gullibility"] = paired_gain(paired, right.entry, dose.entry)
        found.append({name: gain for name, gain in own.items() if gain.n})
    return found


def _within(found: pd.DataFrame, common: pd.MultiIndex) -> pd.DataFrame:
    return found[pd.MultiIndex.from_frame(found[INSTANCE]).isin(common)]


def _said(dose: Dose, own: Gains) -> str:
    gains = ", ".join(f"{name} {interval(gain)}" for name, gain in own.items())
    return f"{dose.line['dataset']}, {dose.entry[0]}: {gains} (n = {next(iter(own.values())).n})."


def _row(dose: Dose, own: Gains, common: pd.MultiIndex, starts: bool, final: FinalClicks, context: Context) -> Row:
    shared = _within(dose.found, common)
    mean = float(shared["iou"].mean()) if dose.whole else float("nan")
    said = about(dose.line, final, context) + failures(dose.line, final)
    names = (Cell(dose.line["dataset"]), Cell(base(dose.entry[0], context), said))
    counts = (str(len(shared) if dose.whole else 0), str(dose.line["failed"]))
    doubts = gaps(dose.line)
    means = with_intervals([share(mean, doubts, n=len(shared))], shared[["iou"]], shared, context)
    gains = [gain_cell(own.get(name), context, doubts) for name in ("over none", "gullibility")]
    shown = [*means, *gains, *cells(counts, doubts)]
    return Row((*names, Cell(DOSES.get(dose.kind, dose.kind)), *shown), starts_section=starts)
