"""Rows -> mean IoU, seen and unseen shares, their intervals, and paired gains.

Every mean is over instances, of the scores after the method's last click on the data set. A failed row has no IoU and
enters no mean; it is counted instead. The order of the rows does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from harness.messages import suggest
from harness.plugins.scale import Scale
from harness.statistics.final_clicks import ASKED, ENTRY, INSTANCE, FinalClicks, over_draws
from harness.statistics.pairing import seen_alike
from harness.statistics.resampling import RESAMPLES, intervals_of_means, sign_flip_p
from harness.statistics.scales import scale_of
from harness.storage.clicks import click_keys
from harness.storage.rows import as_text, check_metric
from harness.structures import UserError

Rows = pd.DataFrame | FinalClicks
"""A run's rows as the store holds them, or checked already, which is faster where there are several questions."""

MEANS = ("mean", "seen", "unseen")
"""The means of a summary's line: of all instances, and of the halves of the data set's split."""

_RESULT = (*MEANS, "n", "failed", "unscored", "n_seen", "n_unseen", "clicks", "w")
"""The columns that a summary computes."""


@dataclass(frozen=True)
class Gain:
    """The mean difference between two methods over the n instances that both segmented.

    Attributes:
        difference: Above zero if the first is better: if less is better in the metric, it has the smaller values.
        low: The lower end of its 95 % interval; NaN, as `high` is, with fewer than five images.
        p: The two-sided p of the paired randomisation test; NaN without instances.
    """

    difference: float
    low: float
    high: float
    n: int
    p: float = float("nan")


NO_GAIN = Gain(math.nan, math.nan, math.nan, 0)
"""The gain over no instance: n is 0, and all other numbers are NaN."""


def summarise(
    rows: Rows, by: Sequence[str] | str = ENTRY, metric: str = "iou", intervals: bool = False
) -> pd.DataFrame:
    """The means of each group of rows, a line for each group, sorted.

    Args:
        rows: The rows of a run; `at_click` of them to summarise an earlier click.
        by: Columns of the rows that name a group, or one column; each instance may be in a group once.
        metric: A metric of the rows, by its column.
        intervals: Whether to add the means' 95 % intervals, from resampled images.

    Raises:
        UserError: No such column or metric, or a group would hold an instance twice; as `FinalClicks.of`.

    Returns:
        The columns of `by`, then mean, n (instances in it), failed, unscored (segmented, but without this
        metric), seen and unseen (means over their halves), n_seen, n_unseen, clicks (the most clicks in the group; NaN
        if nothing was segmented) and w = n_seen / (n_seen + n_unseen), so that the mean is
        w * seen + (1 - w) * unseen. A mean over nothing is NaN. With intervals, also mean_low and mean_high, seen_low,
        ..., which are NaN for fewer than five images.
    """
    by, final = [by] if isinstance(by, str) else list(dict.fromkeys(by)), FinalClicks.of(rows).rows
    for column in by:
        if column in _RESULT:
            raise UserError(
                f"summaries: '{column}' is a column of the result, so it cannot name groups as well. Copy the rows' "
                f"column: rows.assign(its_{column}=rows['{column}'])."
            )
        if column not in final:
            raise UserError(
                f"summaries: the rows have no column '{column}' to group by. {suggest(column, map(str, final.columns))}"
            )
    _refuse_several(final, by)
    facts = _facts(final, metric)
    # pandas leaves NaN out of a mean and of "count": a failed row has NaN, and so has a seen row in the unseen
    # column.
    groups = facts.groupby([final[column] for column in by], sort=True, dropna=False)
    lines = groups.agg(
        mean=("mean", "mean"),
        n=("mean", "count"),
        failed=("failed", "sum"),
        unscored=("unscored", "sum"),
        seen=("seen", "mean"),
        unseen=("unseen", "mean"),
        n_seen=("seen", "count"),
        n_unseen=("unseen", "count"),
        clicks=("clicks", "max"),
    )
    lines["w"] = lines["n_seen"] / (lines["n_seen"] + lines["n_unseen"]).replace(0, np.nan)
    if intervals:
        bounds = [_intervals(final.loc[own.index], own) for _, own in groups]
        lines = lines.join(pd.DataFrame(bounds, index=lines.index, columns=_BOUNDS, dtype=float))
    return as_text(lines.reset_index())


def instance_sets(rows: Rows, metric: str = "iou") -> dict[tuple[str, str, str], tuple[int, int, int]]:
    """A number for the set of instances that each mean is over: equal numbers for equal sets.

    Two means say which method is better only if they are over the same instances. Equal counts do not show that: each
    method may have failed on one instance, but not on the same. So a set's number is the sum of its instances' hashes,
    modulo 2^64.

    Returns:
        (data set, method, ranking) -> the numbers of the sets behind its mean, its seen and its unseen mean.
    """
    final = FinalClicks.of(rows)
    facts, keys, (entries, codes) = _facts(final.rows, metric), final.keys, final.entries
    # A sum does not depend on the order, and overflows alike for all. Two sets of 1000 instances that differ in one
    # have sums that differ by two hashes, so that they are equal by a chance of 1 in 2^64.
    sums = np.zeros((len(entries), len(MEANS)), np.uint64)
    for at, name in enumerate(MEANS):
        known = facts[name].notna().to_numpy()
        np.add.at(sums[:, at], codes[known], keys[known])
    return {entry: (int(a), int(b), int(c)) for entry, (a, b, c) in zip(entries, sums, strict=True)}


def part(rows: pd.DataFrame, seen: bool) -> pd.DataFrame:
    """The rows of seen, or of unseen, categories; those without a split are in neither."""
    return rows[_is(rows["seen"], seen)]


def paired_gain(
    rows: Rows,
    a: str | tuple[str, str],
    b: str | tuple[str, str],
    metric: str = "iou",
    resamples: int = RESAMPLES,
    seed: int = 0,
    scale: Scale | None = None,
) -> Gain:
    """The mean gain of a over b on the instances that both segmented from the same clicks, in the metric's unit.

    Args:
        rows: The rows of a and b, at least; pass a part of them (the unseen, say) for the gain on that part.
        a: A method's label, or (label, ranking) if it has several rankings.
        b: The second method, likewise; positive differences are in favour of a.
        metric: A metric of the rows, by its column.
        resamples: The number of times that images are drawn anew.
        seed: The seed of the resampling.
        scale: The metric's scale; by default the one that the rows of `harness.load` carry.

    Raises:
        UserError: Their clicks differ, so that the difference would not be the methods' own.
    """
    return paired_gains(rows, a, b, metric, resamples, seed, scale)["mean"]


def paired_gains(
    rows: Rows,
    a: str | tuple[str, str],
    b: str | tuple[str, str],
    metric: str = "iou",
    resamples: int = RESAMPLES,
    seed: int = 0,
    scale: Scale | None = None,
) -> dict[str, Gain]:
    """`paired_gain` of all instances ("mean") and of the "seen" and the "unseen" (`seen_alike`).

    Methods are compared instance by instance, since instances differ far more from each other than methods do. Say

        image  instance   a     b    a - b
        1      cup       0.9   0.7    0.2
        1      plate     0.4   0.4    0.0
        2      cup       0.6   0.5    0.1

    The gain is the mean of the last column, 0.1; if less is better in the metric, it is the mean of b - a. Instances of
    one image resemble each other, so the interval and p treat an image, here 0.2 + 0.0 and 0.1, as one unit
    (statistics/resampling.py). An instance with several draws of the click is compared draw by draw, and counts with
    the mean over them; if a draw lacks the metric, the instance is left out.
    """
    checked = FinalClicks.of(rows)
    check_metric(checked.rows, metric, "summaries")
    final = checked.scored(metric).drawn
    pairs = _pairs(*(_entry(final, name).assign(score=lambda own: _scores(own, metric)) for name in (a, b)))
    _refuse_other_clicks(pairs, _named(a), _named(b))
    sign = (scale or scale_of(final, metric)).sign
    drawn = pd.DataFrame({"difference": sign * (pairs["score_a"] - pairs["score_b"])})
    difference = over_draws(drawn, pairs)["difference"]
    pairs = pairs.loc[difference.index]
    halves = {name: difference.where(_is(pairs["seen"], name == "seen")) for name in MEANS[1:]}
    parts = pd.DataFrame({"mean": difference, **halves})
    sums, counts = by_image(pairs, parts)
    low, high = intervals_of_means(sums, counts, resamples, seed)
    p = sign_flip_p(sums, resamples, seed)
    return {
        name: Gain(float(parts[name].mean()), float(low[at]), float(high[at]), int(parts[name].count()), float(p[at]))
        for at, name in enumerate(MEANS)
    }


def by_image(
    rows: pd.DataFrame, values: pd.DataFrame
) -> tuple[Float64[np.ndarray, "images columns"], Float64[np.ndarray, "images columns"]]:
    """Sums and counts of each column of values over the instances of an image; missing values are left out."""
    # Each image's number, in the order of data sets and images. `groupby` would make new categories of the few images
    # of each call, which took most of its time.
    dataset, image = (
        own.cat.codes.to_numpy(np.int64) if own.dtype == "category" else pd.factorize(own, sort=True)[0]
        for own in (rows["dataset"], rows["image_id"])
    )
    images = np.unique(dataset * (image.max(initial=0) + 1) + image, return_inverse=True)[1]
    size = int(images.max(initial=-1)) + 1
    known = values.notna().to_numpy()
    filled = np.where(known, values.to_numpy(dtype=np.float64, na_value=0.0), 0.0)
    sums, counts = np.zeros((2, size, values.shape[1]))
    # `bincount` with weights adds up the values of each image's rows: rows 0 0 1 with 0.2 0.0 0.1 give 0.2 and 0.1.
    for one in range(values.shape[1]):
        sums[:, one], counts[:, one] = (np.bincount(images, own[:, one], size) for own in (filled, known))
    return sums, counts


_BOUNDS = [f"{name}_{bound}" for name in MEANS for bound in ("low", "high")]


def _intervals(rows: pd.DataFrame, facts: pd.DataFrame) -> list[float]:
    """Low and high of each mean."""
    low, high = intervals_of_means(*by_image(rows, facts[list(MEANS)]))
    return [float(bound) for pair in zip(low, high, strict=True) for bound in pair]


def _scores(rows: pd.DataFrame, metric: str) -> pd.Series[float]:
    check_metric(rows, metric, "summaries")
    return rows[metric].astype(float).where(rows["status"] == "ok")


def _facts(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    score, ok = _scores(rows, metric), rows["status"] == "ok"
    return pd.DataFrame(
        {
            "mean": score,
            "failed": (~ok).astype(int),
            "unscored": (ok & score.isna()).astype(int),
            "seen": score.where(_is(rows["seen"], True)),
            "unseen": score.where(_is(rows["seen"], False)),
            "clicks": rows["click_index"].astype(float).where(ok),
        }
    )


def _is(column: pd.Series[bool], value: bool) -> pd.Series[bool]:
    """Whether each entry of a column equals a value; False if it is missing. Any dtype of booleans may be given."""
    return column.eq(value).fillna(False).astype(bool)


def _refuse_several(rows: pd.DataFrame, by: list[str]) -> None:
    """Refuse groups that hold an instance twice: they mix methods or rankings, which gives no mean over instances."""
    if {"method", "ranking"} <= set(by):
        return  # Final rows are one an instance, method and ranking.
    if rows.duplicated(list(dict.fromkeys([*by, *INSTANCE]))).any():
        apart = [column for column in ("method", "ranking") if column not in by and rows[column].nunique() > 1]
        raise UserError(
            f"summaries: a mean would mix several of {', '.join(apart)}; wanted each instance once. Group by "
            f"{' and '.join(apart)} as well, or keep the rows of only one."
        )


def _entry(rows: pd.DataFrame, name: str | tuple[str, str]) -> pd.DataFrame:
    label, ranking = (name, None) if isinstance(name, str) else name
    own = rows[(rows["method"] == label) & (rows["status"] == "ok")]
    if ranking is not None:
        return own[own["ranking"] == ranking]
    if own["ranking"].nunique() > 1:
        raise UserError(
            f"summaries: {label} has the rankings {', '.join(sorted(own['ranking'].unique()))}; wanted one. "
            f"Ask for ('{label}', ranking)."
        )
    return own


def _named(name: str | tuple[str, str]) -> str:
    return name if isinstance(name, str) else f"{name[0]} ({name[1]})"


def _pairs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    on = [*ASKED, "click_index"]
    wanted = [*on, "clicks", "score", "seen"]
    pairs = a[wanted].merge(b[wanted], on=on, suffixes=("_a", "_b"), validate="one_to_one")
    return pairs.assign(seen=seen_alike(pairs["seen_a"], pairs["seen_b"]))


def _refuse_other_clicks(pairs: pd.DataFrame, a: str, b: str) -> None:
    other = pairs[click_keys(pairs["clicks_a"]) != click_keys(pairs["clicks_b"])]
    if len(other):
        one, counts = other.iloc[0], [len(own[INSTANCE].drop_duplicates()) for own in (other, pairs)]
        raise UserError(
            f"summaries, {one.dataset}: {a} and {b} had different clicks on {counts[0]} of {counts[1]} instances, "
            f"the first '{one.instance_id}' of image '{one.image_id}'; wanted the same. Compare them under a click "
            "strategy that does not look at their masks, and under one seed."
        )
