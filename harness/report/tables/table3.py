"""The paper's Table 3: SAM's candidates by each ranking, click alone, and ours.

The notes say how much of the click's ambiguity the text resolves. The oracle gap is the oracle's mean less
confidence's; the recovered share is the gain of a ranking by the text over confidence, divided by that gap:

    confidence 0.50, CLIP 0.56, oracle 0.70:    gap +20 points, recovered share (0.56 - 0.50) / (0.70 - 0.50) = 0.30
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.comparison import (
    BY_TEXT,
    CLICK,
    OURS,
    SAM,
    absent,
    interval,
    line_of,
    players,
    printed_beside,
    printed_cell,
    quoted_note,
)
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_of_row
from harness.report.scores import NO_ROWS, about, clicks_note, counted, iou_heading, mean_cell, scores
from harness.report.tables.leaderboard import ORACLE
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import paired_gain
from harness.statistics.resampling import RESAMPLES
from harness.structures import UserError

SALIENCY = "Saliency"
"""A column that the paper's table does not have."""

SEVERAL = "The paper shows one column and does not say which; its numbers stand in our first one."
TRAINED = "In this table, the paper's 1-Click and Ours were trained on all classes; in its other tables, on some."


@dataclass(frozen=True)
class Slot:
    """One column of means.

    Attributes:
        heading: The paper's heading.
        method: The label above it; "" if no method plays the part.
        rankings: The rankings that choose the method's line, as in `Part`.
        printed: Method and variant of the published number that belongs here; None for a second entry of a part.
    """

    heading: str
    method: str
    rankings: tuple[str, ...]
    printed: tuple[str, str] | None


@register_table("table3")
def table3(final: FinalClicks, context: Context) -> Table:
    """SAM ranked by CLIP, a saliency, its confidence and the oracle, click alone, and ours: one line a data set."""
    lines = scores(final, context)
    slots = _slots(lines, final, context)
    body: list[Row] = []
    notes: list[str] = []
    for dataset in lines["dataset"].unique():
        found = [line_of(lines, dataset, slot.method, slot.rankings) for slot in slots]
        if any(line is not None for line in found):
            body += _section(dataset, slots, found, final, context)
            notes += [*_counts([line for line in found if line is not None]), *_recovered(dataset, lines, slots, final)]
    made = final.clicks_made
    missing = absent((SAM, CLICK, OURS), lines, final, context) if len(lines) else [NO_ROWS]
    notes += [*clicks_note(made), *_general(body, final, context), *missing]
    title = f"Table 3: {iou_heading(made)} of SAM, of click alone, and of ours"
    return Table(title, _columns(slots), tuple(body), tuple(notes))


def _slots(lines: pd.DataFrame, final: FinalClicks, context: Context) -> list[Slot]:
    slots = []
    for index, sam in enumerate(players(SAM, lines, final, context) or [""]):
        # The paper's numbers go under the first SAM of the run alone: it prints one SAM and does not say which.
        clip, confidence = (None, None) if index else (("sam", "clip"), ("sam", "confidence"))
        ranked = lines.loc[lines["method"] == sam, "ranking"].eq("saliency").any()
        slots += [
            Slot("CLIP", sam, ("clip",), clip),
            *([Slot(SALIENCY, sam, ("saliency",), None)] if ranked else []),
            Slot("Conf.", sam, SAM.rankings, confidence),
            Slot("Oracle", sam, ("oracle",), None),
        ]
    parts = (("1-Click", CLICK, ("click_only", "")), ("Ours", OURS, ("text_click", "maskclip")))
    for heading, part, print_ in parts:
        labels = players(part, lines, final, context) or [""]
        slots += [Slot(heading, label, part.rankings, None if index else print_) for index, label in enumerate(labels)]
    return slots


def _columns(slots: Sequence[Slot]) -> tuple[Column, ...]:
    # A run without SAM still has the paper's columns, under the name "SAM" and with empty cells.
    groups = [slot.method or ("SAM" if slot.heading in ("CLIP", SALIENCY, "Conf.", "Oracle") else "") for slot in slots]
    return (Column("Dataset"), *[Column(s.heading, group, "right") for s, group in zip(slots, groups, strict=True)])


def _section(
    dataset: str, slots: Sequence[Slot], found: Sequence[pd.Series[Any] | None], final: FinalClicks, context: Context
) -> Iterator[Row]:
    """A data set's line, and the paper's beneath it."""
    cells: list[Cell] = []
    told: set[str] = set()
    for slot, line in zip(slots, found, strict=True):
        if line is None:
            cells.append(Cell())
            continue
        said = () if slot.method in told else about(line, final, context)
        mean = mean_cell(line)
        cells.append(replace(mean, notes=(*mean.notes, *said)))
        told.add(slot.method)
    columns = [at for at, slot in enumerate(slots, start=1) if slot.heading != "Oracle"]
    yield best_of_row(Row((Cell(dataset), *cells), starts_section=True), columns)
    printed = {(row.method, row.variant): row for row in printed_beside(3, dataset, final, context)}
    if printed:
        flags = dict.fromkeys(flag for row in printed.values() for flag in row.whole)
        several = any(slot.printed is None for slot in slots if slot.heading not in ("Oracle", SALIENCY))
        quoted = [
            printed_cell(printed[slot.printed], "overall") if slot.printed in printed else Cell("–") for slot in slots
        ]
        name = Cell(f"published: {dataset}", (*flags, *((SEVERAL,) if several else ())))
        yield Row((name, *quoted), quoted=True)


def _counts(found: Sequence[pd.Series[Any]]) -> list[str]:
    """A note for each method: how many instances its means are over, by ranking if that differs."""
    counts: dict[tuple[str, str], list[str]] = {}
    for line in found:
        counts.setdefault((f"{line['dataset']}, {line['method']}", counted(line)), []).append(line["ranking"])
    methods = [method for method, _ in counts]
    return [
        f"{method} ({', '.join(rankings)}): {count}." if methods.count(method) > 1 else f"{method}: {count}."
        for (method, count), rankings in counts.items()
    ]


def _recovered(dataset: str, lines: pd.DataFrame, slots: Sequence[Slot], final: FinalClicks) -> Iterator[str]:
    """A note for each SAM with an oracle: how far that lies above confidence, and how much of it a text recovers."""
    for sam in [slot.method for slot in slots if slot.heading == "Oracle"]:
        own = {name: line_of(lines, dataset, sam, (name,)) for name in ("confidence", "oracle", *BY_TEXT)}
        whole = {name for name, line in own.items() if line is not None and not math.isnan(line["mean"])}
        if not {"confidence", "oracle"} <= whole:
            continue
        try:
            yield f"{dataset}, {sam}: {_gap(final.where(final.rows['dataset'] == dataset), sam, whole)}."
        except UserError as error:
            yield f"{dataset}, {sam}: no oracle gap. {error}"


def _gap(final: FinalClicks, sam: str, rankings: set[str]) -> str:
    gap = paired_gain(final, (sam, "oracle"), (sam, "confidence"))
    said = f"oracle gap {interval(gap)} (oracle less confidence, n = {gap.n})"
    for ranking in BY_TEXT:
        # A share of two gains over other instances would be no share of anything, so both must be over the same n. It
        # is blank if confidence is as good as the oracle: then nothing is left to recover.
        over = paired_gain(final, (sam, ranking), (sam, "confidence")) if ranking in rankings else None
        if over is not None and over.n == gap.n:
            share = f"{over.difference / gap.difference:.3f}" if gap.difference > 0 else "–"
            name = "CLIP" if ranking == "clip" else ranking
            said += f"; recovered share {share} ({name} less confidence, {interval(over)}, over the gap)"
    return said


def _general(body: Sequence[Row], final: FinalClicks, context: Context) -> Iterator[str]:
    if body:
        yield (
            "Means over instances, in percent; w is the share of seen instances. Gap and recovered share: over the "
            f"same instances, in points, with 95 % intervals ({RESAMPLES} resamples of the images)."
        )
        yield f"Oracle: {ORACLE[0].lower()}{ORACLE[1:]}"
    yield from quoted_note(3, body, final, context)
    if any(row.quoted for row in body):
        yield TRAINED
