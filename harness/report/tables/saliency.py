"""One network with each saliency: how well the maps find objects, and how good the masks are that are made with them.

The paper's authors tried other saliencies than MaskCLIP "informally" and print no numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.baselines import baselines
from harness.report.comparison import PARTS, answers, gain_cell, gains
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong, share
from harness.report.scores import (
    about,
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
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import Gain

MAPS = ("saliency_auc", "saliency_pointing")
"""Metrics of the maps (harness/masks/salience.py); the table shows their means."""

SALIENCY = "saliency"
"""The ranking of several masks by a saliency."""

_GENERAL = (
    "Means over instances, in percent. Pixel AUC: how often a pixel of the object is more salient than one beside "
    "it; 50 is chance. Pointing: how often the most salient pixel lies on the object. Both are about the maps: over "
    "all instances, and over those that are alone of their class in the image, since a class name cannot tell two of "
    "a class apart. Over none: the gain in IoU over the network without a saliency, from the same clicks, in points; "
    "where a saliency chose among several masks, the gain over the choice by the method's own confidence."
)


@register_table("saliency")
def saliency(final: FinalClicks, context: Context) -> Table:
    """Saliency maps by pixel AUC and pointing, with the masks' means and gain over none: a line for each method."""
    every = scores(final, context)
    lines = _made_with_maps(every, context)
    found, against = scored(final, ["same_class_count", *_measured(final)]), baselines(lines, final, context)
    body: list[Row] = []
    notes: list[str] = []
    for dataset in lines["dataset"].unique():
        own = lines[lines["dataset"] == dataset]
        for _, line in own.iterrows():
            gain, told = _gain(line, against.of(dataset, line["method"]), every, final)
            notes += told
            maps = list(_maps(of_line(found, line), line, context))
            body.append(_row(line, maps, gain, final, context, line["method"] == own["method"].iloc[0]))
    made = final.clicks_made
    maps_ = [Column(name, group, "right") for group in ("Pixel AUC", "Pointing") for name in ("all", "alone")]
    means = [Column(name, iou_heading(made), "right") for name in PARTS.values()]
    tails = [Column(name, align="right") for name in ("Over none", "n", "Failed")]
    columns = (Column("Dataset"), Column("Method"), *maps_, *means, *tails)
    unmeasured = [] if _measured(final) else [f"The maps are not scored: add {', '.join(MAPS)} to the run's metrics."]
    said = (*notes, *unmeasured, *clicks_note(made), _GENERAL)
    return Table("Saliencies: their maps, and the masks made with them", columns, best_strong(body, range(2, 9)), said)


def _made_with_maps(lines: pd.DataFrame, context: Context) -> pd.DataFrame:
    """A line for each data set and method: the ranking by a saliency if there is one, else the method's answer."""
    keys = ["dataset", "method"]
    ranked = lines[lines["ranking"] == SALIENCY]
    # A method that a saliency ranks has its line by that ranking; its line by confidence would show what the map did
    # not do.
    rest = answers(lines, context)
    chosen = pd.MultiIndex.from_frame(ranked[keys])
    kept = rest.index[~pd.MultiIndex.from_frame(rest[keys]).isin(chosen)]
    return lines[lines.index.isin(kept.union(ranked.index))]


def _measured(final: FinalClicks) -> list[str]:
    return [name for name in MAPS if name in final.rows]


def _maps(found: pd.DataFrame, line: pd.Series[Any], context: Context) -> Iterator[Cell]:
    """The means of each metric of the maps: over all instances, and over those alone of their class in the image."""
    # If an image has two cups, the map of "cup" covers both. For either cup, half of the map is then off the object,
    # which is no fault of the map; the second column leaves such instances out.
    for name in MAPS:
        for own in (found, found[found["same_class_count"] == 1]):
            values = own[name].dropna().astype(float) if name in own else pd.Series(dtype=float)
            if line["missing"] or not len(values):
                yield Cell("")
                continue
            # A prompt may have no map, such as one without words.
            part = f"Over {len(values)} of {len(own)} instances; the others have no {name}."
            notes = (*gaps(line), *([part] if len(values) < len(own) else []))
            cell = share(float(values.mean()), notes, n=len(values))
            yield with_intervals([cell], values.to_frame(), own.loc[values.index], context)[0]


def _gain(
    line: pd.Series[Any], baseline: str | None, every: pd.DataFrame, final: FinalClicks
) -> tuple[Gain | None, list[str]]:
    """The gain over none, with its note; none for the method without text, or if a mean is blank."""
    whole = every[(every["dataset"] == line["dataset"]) & every["mean"].notna()]
    pairs = set(zip(whole["method"], whole["ranking"], strict=True))
    a = (str(line["method"]), str(line["ranking"]))
    b = (a[0], "confidence") if a[1] == SALIENCY else (str(baseline), "single")
    if a == b or not {a, b} <= pairs:
        return None, []
    found, told = gains(final, line["dataset"], a, b)
    return found.get("overall"), told


def _row(
    line: pd.Series[Any], maps: list[Cell], gain: Gain | None, final: FinalClicks, context: Context, starts: bool
) -> Row:
    names = (Cell(line["dataset"]), Cell(line["method"], about(line, final, context) + failures(line, final)))
    counts = [Cell(str(line[name]), gaps(line)) for name in ("n", "failed")]
    means = [mean_cell(line, column) for column in PARTS]
    return Row((*names, *maps, *means, gain_cell(gain, context), *counts), starts)
