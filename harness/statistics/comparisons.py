"""Two methods compared on identical instances and clicks.

A comparison is of pairs: a's and b's score on one instance after the same clicks (`pairing`). Instances differ from
each other far more than methods do, and in the difference of a pair that cancels:

                 a       b      a - b
    a cup       0.92    0.90    0.02        The scores spread over 0.6, the differences over 0.03: a mean
    a dog       0.78    0.73    0.05        difference of 0.04 is lost in the former, plain in the latter.
    a rope      0.35    0.30    0.05

The differences have a mean, an interval of that mean (images are drawn anew) and a p (the signs of images are flipped),
both from `resampling`. The same is computed for every slice of the instances (`slices`). Many slices are many tests,
and some p are small by chance; so each slice also has a q, which is corrected for all slices together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.messages import suggest
from harness.plugins.scale import Scale
from harness.statistics.clicks_needed import QUALITIES, sequences
from harness.statistics.costs import encodings_ms
from harness.statistics.final_clicks import INSTANCE, over_draws
from harness.statistics.means import by_image
from harness.statistics.pairing import paired
from harness.statistics.resampling import LEAST_IMAGES, benjamini_hochberg, intervals_of_means, sign_flip_p
from harness.statistics.scales import scale_of
from harness.statistics.slices import SLICES, Slice, sliced
from harness.storage.rows import check_metric
from harness.structures import UserError

Entry = str | tuple[str, str]
"""A method's label; with its ranking where it has several."""

TIE = 0.05
"""The largest difference of two shares (such as IoU) that counts as a tie."""


@dataclass(frozen=True)
class Comparison:
    """The result of comparing method a with method b.

    Attributes:
        a: The method's label, with its ranking if it has several.
        b: The other method's label, likewise.
        metric: A metric of the rows, by its column.
        scale: The scale that the metric declares. Positive differences are in favour of a; of b if less is better.
        tie: Differences no larger than this are ties.
        clicks: Three numbers of clicks: the one after which a and b were compared, which is the last one up to which
            their clicks were the same; the last click of a; and the last click of b.
        lines: One for each slice, all instances first: slice, value, n, images, a, b (means of the metric), difference
            (a less b), low, high (95 %), p, q (the false-discovery rate among the slices; NaN in the first line), win,
            tie, loss (the numbers of instances on which a is better, as good, worse).
        dropped: Reason -> how many of the instances with a row of a or b were left out.
        latency: A line for each cost: cost ("encode_ms" of an image, "segment_ms" of an instance), a and b (medians),
            ratio = a / b.
        noc: If there are several clicks and the metric is a share that is better when higher, a line for each data set
            and quality: dataset, quality, n, images, a, b (mean clicks needed), difference, low, high (95 %), p; over
            the instances on which both answered every click.
        changed: The instances with the largest differences, half in favour of a and half in favour of b as far as there
            are any, from the best for a to the best for b: the columns of INSTANCE, category, a, b, difference.
    """

    a: str
    b: str
    metric: str
    scale: Scale
    tie: float
    clicks: tuple[int, int, int]
    lines: pd.DataFrame
    dropped: Mapping[str, int]
    latency: pd.DataFrame
    noc: pd.DataFrame
    changed: pd.DataFrame


def compare(
    rows: pd.DataFrame,
    a: Entry,
    b: Entry,
    metric: str = "iou",
    slices: Sequence[str] | str = SLICES,
    tie: float | None = None,
    most_changed: int = 24,
    scale: Scale | None = None,
) -> Comparison:
    """Compare two methods, overall and by slice.

    Args:
        rows: The rows of both methods, of one run or of several.
        a: The first method.
        b: The second.
        metric: A metric of the rows, by its column.
        slices: Columns to divide by, or one column: those of SLICES, or any that the rows have.
        tie: The largest difference that is a tie; by default 0.05 for a share, and 0 for any other metric.
        most_changed: How many instances to name: half of those that a does better on, half of the others.
        scale: The metric's scale; by default the one that the rows of `harness.load` carry.

    Raises:
        UserError: No such method, metric or column, several rankings, one method twice, or no instance that both got
            the same clicks on.
    """
    check_metric(rows, metric, "compare")
    slices = [slices] if isinstance(slices, str) else slices
    for name in slices:
        if name not in (*SLICES, *rows.columns):
            raise UserError(f"compare: the rows have no column '{name}' to divide by. {suggest(name, map(str, rows))}")
    scale = scale or scale_of(rows, metric)
    rows = rows if "draw" in rows else rows.assign(draw=0)
    tie = (TIE if scale.is_share else 0.0) if tie is None else tie
    named = [_resolved(rows, one) for one in (a, b)]
    if named[0] == named[1]:
        raise UserError(f"compare: {entry_said(named[0])} against itself. Wanted two methods, or two rankings of one.")
    own = [_of(rows, *one) for one in named]
    pairs, dropped = paired(own[0], own[1], metric, slices)
    if pairs.empty:
        found = ", ".join(f"{count} {why}" for why, count in dropped.items() if count)
        raise UserError(
            f"compare: {entry_said(named[0])} and {entry_said(named[1])} share no instance that both segmented from "
            f"the same clicks ({found or 'no rows'}). Wanted two methods on the same data under one click protocol and "
            "seed."
        )
    # The last click up to which both had the same clicks, data set by data set. With corrective clicks that is mostly
    # the first one, since all later clicks follow each method's own errors (`pairing`).
    final = pairs[pairs["click_index"] == pairs.groupby("dataset")["click_index"].transform("max")]
    return Comparison(
        a=entry_said(named[0]),
        b=entry_said(named[1]),
        metric=metric,
        scale=scale,
        tie=tie,
        clicks=(_last_click(final), _last_click(own[0]), _last_click(own[1])),
        lines=_lines(pairs, final, slices, tie, scale),
        dropped=dropped,
        latency=_latency(*own),
        noc=_noc(own[0], own[1], pairs, metric, scale),
        changed=_changed(final, most_changed, scale),
    )


def _resolved(rows: pd.DataFrame, entry: Entry) -> tuple[str, str]:
    """A method's label and ranking."""
    label, ranking = (entry, None) if isinstance(entry, str) else entry
    own = rows[(rows["method"] == label) & (rows["status"] == "ok")]
    found = sorted(own["ranking"].dropna().unique())
    if ranking is None and len(found) == 1:
        return label, found[0]
    if ranking is not None and ranking in found:
        return label, ranking
    if not found:
        known = ", ".join(sorted(rows["method"].unique()))
        raise UserError(f"compare: no method '{label}' that segmented anything. There are: {known}.")
    wanted = f"no ranking '{ranking}'" if ranking else "several rankings"
    raise UserError(f"compare: '{label}' has {wanted}. Ask for one of: " + ", ".join(f"{label} ({r})" for r in found))


def entry_said(entry: tuple[str, str]) -> str:
    """A method's label, with its ranking unless it has one answer alone."""
    return entry[0] if entry[1] in ("single", "") else f"{entry[0]} ({entry[1]})"


def _of(rows: pd.DataFrame, label: str, ranking: str) -> pd.DataFrame:
    """An entry's rows, with the failures that count for it."""
    # A failure before there was any mask has no ranking, and counts for each ranking of its method.
    own = rows["method"] == label
    return rows[
        own
        & (
            (rows["ranking"] == ranking)
            | ((rows["status"] != "ok") & (rows["ranking"].isna() | rows["ranking"].eq("")))
        )
    ]


def _lines(pairs: pd.DataFrame, final: pd.DataFrame, slices: Sequence[str], tie: float, scale: Scale) -> pd.DataFrame:
    named = [("all", "", np.ones(len(final), dtype=bool)), *sliced(final, slices)]
    lines = _measured(final, named, tie, scale)
    clicks = sorted(pairs["click_index"].unique())
    if len(clicks) > 1:
        every = [("click", str(k), (pairs["click_index"] == k).to_numpy()) for k in clicks]
        lines = pd.concat([lines, _measured(pairs, every, tie, scale)], ignore_index=True)
    # The first line is the one question of the comparison, so its p stays as it is. The slices are a search for where
    # the difference lies: among 40 slices without any difference, two have p < 0.05 on average. q corrects for that.
    lines = lines[(lines["images"] >= LEAST_IMAGES) | (lines.index == 0)].reset_index(drop=True)
    return lines.assign(q=[float("nan"), *benjamini_hochberg(lines["p"].to_numpy()[1:])])[_LINE]


_SCORES = ["a", "b", "difference"]

_LINE = ["slice", "value", "n", "images", "a", "b", "difference", "low", "high", "p", "q", "win", "tie", "loss"]


def _measured(pairs: pd.DataFrame, named: Sequence[Slice], tie: float, scale: Scale) -> pd.DataFrame:
    """A line a slice."""
    difference = pairs["difference"].to_numpy()
    # One column a slice, NaN where an instance is not in it: all slices are then resampled with the same draws, by
    # one multiplication, instead of one bootstrap each.
    columns = {at: np.where(own, difference, np.nan) for at, (_, _, own) in enumerate(named)}
    values = over_draws(pd.DataFrame(columns, index=pairs.index), pairs)
    sums, counts = by_image(pairs.loc[values.index], values)
    low, high = intervals_of_means(sums, counts)
    p = sign_flip_p(sums)
    lines = []
    for at, (name, value, own) in enumerate(named):
        some = over_draws(pairs.loc[own, _SCORES], pairs[own])
        better = scale.sign * some["difference"].to_numpy()
        lines.append(
            {
                "slice": name,
                "value": value,
                "n": len(some),
                "images": int((counts[:, at] > 0).sum()),
                **some.mean().to_dict(),
                "low": low[at],
                "high": high[at],
                "p": p[at],
                "win": int((better > tie).sum()),
                "tie": int((np.abs(better) <= tie).sum()),
                "loss": int((better < -tie).sum()),
            }
        )
    return pd.DataFrame(lines)


def _last_click(own: pd.DataFrame) -> int:
    return int(own["click_index"].max())


def _latency(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    lines = []
    for cost in ("encode_ms", "segment_ms"):
        medians = [_median(own, cost) for own in (a, b)]
        lines.append({"cost": cost, "a": medians[0], "b": medians[1], "ratio": medians[0] / medians[1]})
    return pd.DataFrame(lines)


def _median(own: pd.DataFrame, cost: str) -> float:
    if cost not in own:
        return float("nan")
    # An image is encoded once, and each of its rows repeats how long that took: counted by rows, images with many
    # instances would rule the median.
    median = float((encodings_ms(own) if cost == "encode_ms" else own[cost]).median())
    return median if median > 0 else float("nan")


_NOC = ["dataset", "quality", "n", "images", "a", "b", "difference", "low", "high", "p"]


def _noc(a: pd.DataFrame, b: pd.DataFrame, pairs: pd.DataFrame, metric: str, scale: Scale) -> pd.DataFrame:
    """The clicks needed by both, if they have rows click by click, on the instances with the same first click.

    Empty for a metric without a "quality of 90 %": one that is no share, or that is better when lower.
    """
    if not (scale.is_share and scale.higher_is_better):
        return pd.DataFrame(columns=_NOC)
    alike = pd.MultiIndex.from_frame(pairs[INSTANCE].drop_duplicates())
    lines: list[dict[str, Any]] = []
    for dataset in sorted(pairs["dataset"].unique()):
        rows = [own[own["dataset"] == dataset] for own in (a, b)]
        if any(own["click_index"].nunique() < 2 for own in rows):
            continue
        both = [sequences(own, metric) for own in rows]
        if len(both[0].clicks) > 1 and np.array_equal(both[0].clicks, both[1].clicks):
            shared = both[0].instances.intersection(both[1].instances).intersection(alike).sort_values()
            kept = [one.instances.get_indexer(shared) for one in both]
            needed = [{q: one.needed(q)[at] for q in QUALITIES} for one, at in zip(both, kept, strict=True)]
            lines += _needed(dataset, shared, *map(pd.DataFrame, needed))
    return pd.DataFrame(lines, columns=_NOC)


def _needed(dataset: str, shared: pd.Index[Any], a: pd.DataFrame, b: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A line a quality; the columns of a and b are the qualities."""
    sums, counts = by_image(shared.to_frame(index=False), a - b)
    (low, high), p = intervals_of_means(sums, counts), sign_flip_p(sums)
    for at, quality in enumerate(a.columns if len(shared) else ()):
        means = {"a": a[quality].mean(), "b": b[quality].mean(), "difference": (a[quality] - b[quality]).mean()}
        bounds = {"low": low[at], "high": high[at], "p": p[at]}
        yield {"dataset": dataset, "quality": quality, "n": len(shared), "images": len(sums), **means, **bounds}


def _changed(final: pd.DataFrame, count: int, scale: Scale) -> pd.DataFrame:
    """The largest differences, half in favour of each: if one method is far ahead, it would fill the list alone."""
    over = over_draws(final[_SCORES], final)
    final = final.loc[over.index].assign(**over)
    ranked = final.sort_values("difference", ascending=not scale.higher_is_better, kind="stable")
    better = scale.sign * ranked["difference"]
    ahead, behind = ranked[better > 0], ranked[better < 0]
    columns = [*INSTANCE, *(["category"] if "category" in final else []), "a", "b", "difference"]
    return pd.concat([ahead.head(count // 2), behind.tail(count // 2)])[columns].reset_index(drop=True)
