"""Ambiguous clicks: how good the masks are there, and which objects wrong masks hit instead.

A click is ambiguous if its pixel lies in at least two objects (`under_click`), as on the tie of a person. With a gain
of +6 points by the text on ambiguous clicks and of +2 on the others, the notes also give the difference, +4, with its
own interval: only if that leaves out 0 do the words help more where the click is ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from harness.masks.destinations import HITS
from harness.plugins.registry import register_table
from harness.report.baselines import baselines
from harness.report.comparison import BY_TEXT, CONCEPT, interval, reads_text
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, cells, share, signed
from harness.report.scores import (
    NO_ROWS,
    about,
    clicks_note,
    failures,
    gaps,
    iou_heading,
    named,
    numbers,
    of_line,
    scored,
    scores,
    with_intervals,
)
from harness.report.tables.leaderboard import ORACLE
from harness.statistics.contrasts import contrast, paired
from harness.statistics.final_clicks import FinalClicks, over_draws
from harness.statistics.means import Gain, paired_gain
from harness.structures import UserError

KINDS = {"ambiguous": (2, np.inf), "unambiguous": (1, 1)}
"""A kind of click -> the fewest and the most objects that hold its pixel."""

Entry = tuple[str, str]
"""A method's label and one of its rankings."""


@register_table("ambiguity")
def ambiguity(final: FinalClicks, context: Context) -> Table:
    """Mean IoU on ambiguous and unambiguous clicks, and the text's gain over click alone on each kind."""
    lines, found = scores(final, context), scored(final, ["under_click"], by_draw=True)
    against = baselines(lines, final, context)
    body: list[Row] = []
    notes: list[str] = []
    for line, starts in _started(lines):
        over, said = _gains(final, lines, line, against.of(line["dataset"], line["method"]), context)
        body.append(_row(line, of_line(found, line), over, final, context, starts))
        notes += said
    made = final.clicks_made
    heading = iou_heading(made)
    names = [Column("Dataset"), Column("Method"), Column("Ranking"), Column("Text", align="center")]
    means = [Column(kind.capitalize(), heading, "right") for kind in KINDS]
    counts = [Column(kind.capitalize(), "n", "right") for kind in KINDS]
    columns = (*names, *means, *counts, Column("Failed", align="right"))
    general = (
        "Ambiguous: the first click lies in at least two objects. Means over instances, in percent; in parentheses "
        "and in the notes the gain over the same instances without text, from the same clicks, in points."
    )
    title = f"Ambiguous and unambiguous clicks, gains over {against.said}"
    said_beneath = (*notes, *clicks_note(made), general, *against.notes)
    return Table(title, columns, tuple(body), said_beneath if body else (NO_ROWS,))


@register_table("destinations")
def destinations(final: FinalClicks, context: Context) -> Table:
    """The share of masks that are right, and of those that went elsewhere: one line a method and kind of click."""
    lines, found = scores(final, context), scored(final, ["under_click", "hit"], by_draw=True)
    body = []
    for line, starts in _started(lines):
        own = of_line(found, line)
        for number, (kind, part) in enumerate(_parts(own).items()):
            # 1 for the draws that went there and 0 for the others: the means of these columns are the shares, and add
            # up to 1.
            whole = line["missing"] == 0 and part["hit"].notna().all() and len(part)
            went = over_draws(pd.DataFrame({hit: (part["hit"] == hit).astype(float) for hit in HITS}), part)
            shares = [float(went[hit].mean()) if whole else float("nan") for hit in HITS]
            names = _names(line, final, context) if number == 0 else cells([line["dataset"], line["method"], ""])
            means = [share(value, gaps(line), n=len(went)) for value in shares]
            intervals = with_intervals(means, went, part.loc[went.index], context)
            shown = [*names, Cell(kind), *intervals, Cell(str(len(went)))]
            body.append(Row(tuple(shown), starts_section=starts and number == 0))
    heads = [Column(name) for name in ("Dataset", "Method", "Ranking", "Clicks")]
    columns = (*heads, *[Column(hit.replace("_", " "), align="right") for hit in HITS], Column("n", align="right"))
    notes = (
        "In percent of the masks. Right: IoU of at least 50 %, and the asked object matches best. Part, whole: of the "
        "asked object; same class, other class: a neighbour; background: mostly on no object. docs/ambiguity.md has "
        "the rules.",
    )
    return Table("What the masks hit", columns, tuple(body), notes if body else (NO_ROWS,))


def _started(lines: pd.DataFrame) -> Iterator[tuple[pd.Series[Any], bool]]:
    """Each line, and whether it is its data set's first."""
    before = None
    for _, line in lines.iterrows():
        yield line, line["dataset"] != before
        before = line["dataset"]


def _parts(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows by the kind of their first click."""
    under = numbers(found["under_click"])
    return {kind: found[under.between(least, most)] for kind, (least, most) in KINDS.items()}


def _names(line: pd.Series[Any], final: FinalClicks, context: Context) -> list[Cell]:
    said = about(line, final, context) + failures(line, final)
    ranking = Cell(line["ranking"] or "–", (ORACLE,) if line["ranking"] == "oracle" else ())
    return [Cell(line["dataset"]), Cell(line["method"], said), ranking]


def _row(
    line: pd.Series[Any],
    own: pd.DataFrame,
    over: dict[str, Gain],
    final: FinalClicks,
    context: Context,
    starts: bool,
) -> Row:
    parts = _parts(own)
    # A click on no listed object has 0 objects under it, and one of an old run has none recorded. Neither is in a part,
    # so a single such row blanks both means: it may belong to either kind.
    unknown = len(own) - sum(len(part) for part in parts.values())
    doubts = gaps(line)
    if unknown:
        doubts += (f"{unknown} of {len(own)} rows do not say what lay under the click.",)
    whole = line["missing"] == 0 and not unknown
    # A column for each kind of click, NaN in the rows of the other kind. An instance with several draws may have been
    # clicked in both ways; it then counts in both columns, in each by the mean of its draws there:
    #
    #     a person, clicked on    ambiguous   unambiguous
    #     the tie                 0.8         NaN
    #     the hat                 0.6         NaN
    #     the arm                 NaN         0.9              over the draws: 0.7 and 0.9
    ious = over_draws(pd.DataFrame({kind: part["iou"].reindex(own.index) for kind, part in parts.items()}), own)
    ns = ious.count()
    means = [
        share(
            float(ious[kind].mean()) if whole else float("nan"),
            doubts,
            f" ({signed(over[kind].difference)})" if kind in over else "",
            int(ns[kind]),
        )
        for kind in parts
    ]
    text = "✓" if _reads(line, final, context) else ""
    counts = [str(ns[kind]) for kind in parts]
    texts = [*with_intervals(means, ious, own.loc[ious.index], context), *cells([*counts, str(line["failed"])])]
    return Row((*_names(line, final, context), Cell(text), *texts), starts_section=starts)


def _reads(line: pd.Series[Any], final: FinalClicks, context: Context) -> bool:
    """Whether the text takes part in a line's masks: the method's own use of it, or a ranking by it."""
    return line["ranking"] != "oracle" and reads_text(line, final, context)


def _against(line: pd.Series[Any], lines: pd.DataFrame, baseline: str | None) -> Entry | None:
    """The entry with which a line with text is compared; None if a mean of either is blank.

    A ranking by the text chooses among the same candidates as the same method's confidence, so only the choice differs.
    Any other line is compared with click alone.
    """
    here = lines[(lines["dataset"] == line["dataset"]) & lines["mean"].notna()]
    whole = set(zip(here["method"], here["ranking"], strict=True))
    own = (str(line["method"]), "confidence")
    other = own if line["ranking"] in (*BY_TEXT, CONCEPT) and own in whole else (str(baseline), "single")
    return other if {other, (line["method"], line["ranking"])} <= whole else None


def _gains(
    final: FinalClicks,
    lines: pd.DataFrame,
    line: pd.Series[Any],
    baseline: str | None,
    context: Context,
) -> tuple[dict[str, Gain], list[str]]:
    """The gains of a line with text over one without, by kind of click, and a note on them."""
    b = _against(line, lines, baseline) if _reads(line, final, context) else None
    if b is None:
        return {}, []
    a = (str(line["method"]), str(line["ranking"]))
    rows = final.drawn
    scores_there = (rows["status"] == "ok") & rows["iou"].notna()
    # By draw, since each draw has a click of its own: one may lie on two objects, the next on one.
    here = final.where_drawn((rows["dataset"] == line["dataset"]) & rows["method"].isin([a[0], b[0]]) & scores_there)
    under = numbers(scored(here, ["under_click"], by_draw=True)["under_click"])
    try:
        over = {kind: paired_gain(here.where_drawn(under.between(*ends)), a, b) for kind, ends in KINDS.items()}
    except UserError as error:
        return {}, [f"{line['dataset']}, {named(line)}: no gains. {error}"]
    over = {kind: gain for kind, gain in over.items() if gain.n}
    said = ", ".join(f"{kind} {interval(gain)} (n = {gain.n})" for kind, gain in over.items())
    # Two gains that differ prove nothing by themselves: +4 [+1, +7] and +2 [-1, +5] may well be one gain. Whether the
    # words help more where the click is ambiguous is the difference of the two gains, with an interval of its own.
    more = f"; {_interaction(here.drawn, a, b)} more on ambiguous clicks" if len(over) == len(KINDS) else ""
    other = b[0] if b[1] == "single" else f"{b[0]} ({b[1]})"
    return over, [f"{line['dataset']}, {named(line)} against {other}: {said}{more}."] if over else []


def _interaction(found: pd.DataFrame, a: Entry, b: Entry) -> str:
    """The gain on ambiguous clicks less that on unambiguous ones, with its 95 % interval."""
    ours, theirs = (found[(found["method"] == m) & (found["ranking"] == r)] for m, r in (a, b))
    ambiguous, unambiguous = _parts(paired(ours, theirs)).values()
    return interval(contrast(ambiguous, unambiguous))
