"""Referring segmentation as its own papers measure it, beside the mean over objects that the other tables show.

Means over sentences, overall IoU (all intersections over all unions, so that large objects count for more) and
precision (the share of sentences with an IoU of at least the threshold), as `evaluate` in test.py of
https://github.com/yz93/LAVT-RIS at 1da0af9 computes them: where prediction and truth are both empty the IoU is 0.

For object A with two sentences and object B with one, in pixels:

    A, "the left cup"     intersection 80, union 100    IoU 0.80      object    ((0.80 + 0.60) / 2 + 0.40) / 2 = 0.55
    A, "a white cup"      intersection 60, union 100    IoU 0.60      sentence  (0.80 + 0.60 + 0.40) / 3 = 0.60
    B, "the plate"        intersection 4, union 10      IoU 0.40      overall   144 / 210 = 0.69;  P@0.5 = 2 / 3

A failed row has no masks: it enters no mean, no precision and neither sum of the overall IoU, and is counted, as in
every table. An object's IoU is the mean over those of its sentences that did not fail; it has none if all did.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.plugins.registry import register_table
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_strong, percent, with_interval
from harness.report.scores import NO_ROWS, about, clicks_note, gaps, iou_heading, of_line, scored, scores
from harness.report.tables.leaderboard import ORACLE
from harness.statistics.final_clicks import FinalClicks, over_draws
from harness.statistics.means import by_image
from harness.statistics.resampling import intervals_of_means

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)

_PRECISION = [f"P@{at}" for at in THRESHOLDS]

MEASURES = ("object", "sentence", "overall", *_PRECISION)

_PIXELS = ["intersection_px", "union_px"]


@register_table("referring")
def referring(final: FinalClicks, context: Context) -> Table:
    """IoU by object and by sentence, overall IoU and precision: one line a data set, method and ranking."""
    lines = scores(final, context)
    found = scored(final, _PIXELS, by_draw=True)
    starts = ~lines.duplicated("dataset")
    body = tuple(
        _row(line, of_line(found, line), context, about(line, final, context), bool(starts[index]))
        for index, (_, line) in enumerate(lines.iterrows())
    )
    made = final.clicks_made
    notes = (
        "In percent. Object: mean over objects of the mean over their sentences. Sentence: mean over sentences. "
        "oIoU: all intersections over all unions. P@: share of sentences with at least that IoU.",
        "Failed sentences are in none of these numbers.",
    )
    said = (*notes, *clicks_note(made)) if body else (NO_ROWS,)
    return Table("Referring segmentation", _columns(made), best_strong(body, range(3, 3 + len(MEASURES))), said)


def measures(own: pd.DataFrame) -> dict[str, float]:
    """The table's numbers for one line, 0 to 1; NaN over nothing, and if the rows lack the pixels.

    Args:
        own: A row for each sentence and draw of one data set, method and ranking, at the last click, with its IoU.

    Returns:
        The names of MEASURES, in their order.
    """
    shares = _shares(own)
    # Without skipping: rows of an older run have no pixels, and a sum over the others would pass for the whole.
    intersection, union = (shares[column].sum(skipna=False) for column in _PIXELS)
    means = {
        "object": float(shares["sentence"].groupby(objects_of(own.loc[shares.index])).mean().mean()),
        "sentence": float(shares["sentence"].mean()),
        "overall": float(intersection / union) if union else float("nan"),
    }
    return means | {name: float(shares[name].mean()) for name in _PRECISION}


def intervals(own: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """95 % intervals of `measures`, by resampling the images.

    Args:
        own: The rows as in `measures`, with the columns of INSTANCE.
    """
    # Every measure is a sum over images divided by another: IoUs over a count of objects or sentences, intersections
    # over unions. So all are resampled together, as two arrays (images, measures), with the same drawn images.
    shares = _shares(own)
    own = own.loc[shares.index]
    named = ["sentence", *_PRECISION]
    by_object = shares["sentence"].groupby([own["dataset"], own["image_id"], objects_of(own)]).mean()
    objects = by_object.rename("object").reset_index()
    pixels, _ = by_image(own, shares[_PIXELS])
    parts = [by_image(objects, objects[["object"]]), by_image(own, shares[named]), (pixels[:, :1], pixels[:, 1:])]
    sums, counts = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    low, high = intervals_of_means(sums, counts)
    return dict(zip(["object", *named, "overall"], zip(map(float, low), map(float, high), strict=True), strict=True))


def measured(own: pd.DataFrame, line: pd.Series[Any], context: Context) -> dict[str, Cell]:
    """The cells of `measures`, blank if the line of `scores` lacks rows, with intervals if the context wants them."""
    found = measures(own) if line["missing"] == 0 else dict.fromkeys(MEASURES, float("nan"))
    objects, sentences = objects_of(own).nunique(), own["instance_id"].nunique()
    counts, over = dict.fromkeys(MEASURES, sentences) | {"object": objects}, line["alike"][0][0]
    cells = {name: Cell(percent(value), gaps(line), value, n=counts[name], alike=over) for name, value in found.items()}
    if not context.intervals or line["missing"] or own.empty:
        return cells
    bounds = intervals(own)
    return {name: with_interval(cell, *bounds[name]) for name, cell in cells.items()}


def _shares(own: pd.DataFrame) -> pd.DataFrame:
    """A line for each sentence: its IoU, whether it reaches each threshold, and its pixels; means over its draws."""
    # Pixels are averaged over an instance's draws as its IoU is: otherwise an object that was asked for five times
    # would weigh five times as much in the overall IoU.
    iou = _ious(own)
    above = {f"P@{at}": (iou >= at).astype(float) for at in THRESHOLDS}
    return over_draws(pd.DataFrame({"sentence": iou, **above, **own[_PIXELS]}), own)


def _ious(own: pd.DataFrame) -> pd.Series[float]:
    """The IoU of each row as this table counts it: 0 if both masks are empty."""
    return own["iou"].where(own["union_px"] != 0, 0.0)


def objects_of(own: pd.DataFrame) -> pd.Series[str]:
    """The id of each row's object, as `Instance.object_id` makes it: "12~0" and "12~1" are sentences on object 12."""
    return own["instance_id"].map(lambda name: str(name).partition("~")[0])


def _columns(made: tuple[int, int] | None) -> tuple[Column, ...]:
    names = [Column(name) for name in ("Dataset", "Method", "Ranking")]
    means = [Column(part, iou_heading(made), "right") for part in ("Object", "Sentence")]
    shares = [f"P@{at}" for at in THRESHOLDS]
    others = [Column(heading, align="right") for heading in ("oIoU", *shares, "Objects", "Sentences", "Failed")]
    return (*names, *means, *others)


def _row(line: pd.Series[Any], own: pd.DataFrame, context: Context, said: tuple[str, ...], starts: bool) -> Row:
    counts = (objects_of(own).nunique(), line["n"], line["failed"])
    cells = (
        Cell(line["dataset"]),
        Cell(line["method"], said),
        Cell(line["ranking"] or "–", (ORACLE,) if line["ranking"] == "oracle" else ()),
        *measured(own, line, context).values(),
        *[Cell(str(count)) for count in counts],
    )
    return Row(cells, starts_section=starts, bound=line["ranking"] == "oracle")
