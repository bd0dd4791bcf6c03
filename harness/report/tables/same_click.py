"""Measures what the paper's Figure 1 shows: one click lies in two objects, and a prompt names one of them.

One click on a tie gives two rows: one asks for "tie", one for "person". The pair is right for `both` if each mask has
an IoU of at least 50 % with its own object. Two columns say whether the words did anything at all: `mask` counts any
changed pixel, `object` only a mask that moved to the other object:

    mask for "tie"      mask for "person"     right      mask changes     object changes
    the tie             the person            both       yes              yes
    the person          the person, 3 px off  one        yes              no
    the tie             the tie               one        no               no
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, cells, share
from harness.report.scores import about, failures, gaps, scores, with_intervals
from harness.report.tables.leaderboard import ORACLE
from harness.statistics.final_clicks import ENTRY, FinalClicks
from harness.statistics.same_click import asked, pairs

SHARES = {"both": "Both", "one": "One", "none": "None", "mask": "Mask", "object": "Object"}
"""A column of `pairs` -> its heading."""

_NONE = "No row has a partner: run with `clicks: {strategy: shared/v1}`."
_NOTES = (
    "In percent of the pairs. A pair is two objects of different classes that share at least 25 pixels, or as many "
    "as the click rule's `least_px`. One click lies in both, and each is asked for by its own words.",
    "Right: both masks, exactly one, or none has an IoU of at least 50 % with its own object. Changes with the "
    "words: the mask, if any pixel differs; the object, if the mask is nearer (by IoU) to the other of the two. A "
    "method that does not read the words changes nothing, and is right for both only where the two objects nearly "
    "coincide.",
    "Part and whole: at least 90 % of one object lie in the other.",
)


@register_table("same_click")
def same_click(final: FinalClicks, context: Context) -> Table:
    """Share of pairs under one click where both objects are found by their names: a line for each method and kind."""
    every = final.every.reindex(columns=list(dict.fromkeys([*final.every.columns, *_COLUMNS])))
    columns = (
        *[Column(name) for name in ("Dataset", "Method", "Ranking", "Pairs")],
        *[Column(SHARES[name], "Right", "right") for name in ("both", "one", "none")],
        *[Column(SHARES[name], "Changes", "right") for name in ("mask", "object")],
        *[Column(name, align="right") for name in ("n", "Failed")],
    )
    body: list[Row] = []
    notes: list[str] = []
    if every["partner"].notna().any():
        for _, line in scores(final, context).iterrows():
            starts = not body or body[-1].cells[0].text != line["dataset"]
            body += _rows(line, every, starts, final, context)
        notes = [said for dataset, own in every.groupby("dataset") if (said := _one_kind(str(dataset), own))]
    return Table("One click, two objects", columns, tuple(body), (*notes, *_NOTES) if body else (_NONE,))


_COLUMNS = ("partner", "shared_px", "partner_iou", "gt_area_px", "pred_area_px")


def _rows(
    line: pd.Series[Any], every: pd.DataFrame, starts: bool, final: FinalClicks, context: Context
) -> Iterator[Row]:
    """A line for all pairs of a method and, if there are both kinds, one for each kind."""
    here = every[(every["dataset"] == line["dataset"]) & (every["method"] == line["method"])]
    ok = here["status"] == "ok"
    own = here[ok & (here["ranking"] == line["ranking"])]
    found = pairs(own[own["partner"].notna()])
    # A pair fails if either of its two instances does. Failed rows have no ranking and count for each of them.
    failed = asked(here[~ok | (here["ranking"] == line["ranking"])]) - len(found)
    nested = found["nested"].astype(bool)
    kinds = {"all": found, "part and whole": found[nested], "others": found[~nested]}
    for kind, some in kinds.items():
        if kind == "all" or nested.nunique() > 1:
            names = _names(line, kind == "all", final, context)
            counts = (str(len(some)), str(failed) if kind == "all" else "")
            shown = [*names, Cell(kind), *_shares(line, some, context), *cells(counts, gaps(line))]
            yield Row(tuple(shown), starts_section=starts and kind == "all", bound=line["ranking"] == "oracle")


def _one_kind(dataset: str, own: pd.DataFrame) -> str:
    """A note on a data set whose pairs are all of one kind; "" if there are both kinds."""
    ok = own[(own["status"] == "ok") & own["partner"].notna()]
    first = ok.groupby(ENTRY[1:]).ngroup() == 0  # The ground truth is the same in every method's rows.
    nested = pairs(ok[first])["nested"]
    if nested.nunique() != 1:
        return ""
    return f"{dataset}: {'all' if nested.iloc[0] else 'none of the'} pairs are part and whole."


def _names(line: pd.Series[Any], first: bool, final: FinalClicks, context: Context) -> list[Cell]:
    if not first:
        return cells([line["dataset"], line["method"], line["ranking"] or "–"])
    said = about(line, final, context) + failures(line, final)
    ranking = Cell(line["ranking"] or "–", (ORACLE,) if line["ranking"] == "oracle" else ())
    return [Cell(line["dataset"]), Cell(line["method"], said), ranking]


def _shares(line: pd.Series[Any], some: pd.DataFrame, context: Context) -> list[Cell]:
    """The means over the pairs; blank if rows are missing."""
    whole = line["missing"] == 0 and len(some)
    means = [share(float(some[name].mean()) if whole else math.nan, gaps(line), n=len(some)) for name in SHARES]
    return list(with_intervals(means, some[list(SHARES)], some, context))
