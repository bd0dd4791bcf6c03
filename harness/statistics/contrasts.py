"""The mean of a paired difference, its contrast between two parts of the instances, and the ratio of two such means."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd

from harness.statistics.final_clicks import ASKED, INSTANCE, over_draws
from harness.statistics.means import NO_GAIN, Gain, by_image
from harness.statistics.pairing import seen_alike
from harness.statistics.resampling import LEAST_IMAGES, interval_of_means, intervals_of_means
from harness.statistics.stratified import stratified
from harness.storage.clicks import click_keys

_RULE = ("click_index", "click_strategy", "click_options")
"""The columns that say how many clicks an answer is after, and which rule made them."""


def paired(a: pd.DataFrame, b: pd.DataFrame, metric: str = "iou", same_clicks: bool = True) -> pd.DataFrame:
    """The rows of one method on the instances that another scored, too, with the column `gain`: the scores' difference.

    The column `seen` is that of `seen_alike`, if both have one.

    Args:
        a: A method's rows at its last click, one an instance and draw.
        b: Likewise.
        metric: A metric of the rows, by its column.
        same_clicks: Leave out the instances on which their first clicks, numbers of clicks or click rules differ, in
            any draw. Later clicks may follow each method's own masks; they are part of its answer.
    """
    frames = [own.assign(score=own[metric].astype(float), key=click_keys(own["clicks"], most=1)) for own in (a, b)]
    on = ASKED if "draw" in a else INSTANCE
    # Not the later clicks: where they follow the masks, they are equal only on instances on which both methods happened
    # to make the same mistake, and a mean over these alone would say that the methods hardly differ.
    asked = ["key", *(name for name in _RULE if name in a and name in b)]
    wanted = [*on, "score", *asked, *(["seen"] if "seen" in a and "seen" in b else [])]
    pairs = frames[0].merge(frames[1][wanted], on=on, suffixes=("", "_b"), validate="one_to_one")
    pairs = pairs.assign(gain=pairs["score"] - pairs["score_b"])
    if "seen_b" in pairs:
        pairs["seen"] = seen_alike(pairs["seen"], pairs["seen_b"])
    alike = pd.Series(True, index=pairs.index)
    for name in asked if same_clicks else ():
        ours, theirs = pairs[name].astype(object), pairs[f"{name}_b"].astype(object)
        alike &= (ours == theirs) | (ours.isna() & theirs.isna())
    # Whole instances are left out: by some of its draws an instance would count by fewer clicks than the others.
    of = pairs.groupby(INSTANCE, sort=False, observed=True).ngroup()
    return pairs[~of.isin(of[pairs["gain"].isna() | ~alike])].reset_index(drop=True)


def mean_gain(pairs: pd.DataFrame) -> Gain:
    """The mean of `gain`, with its 95 % interval, from resampled images."""
    if pairs.empty:
        return NO_GAIN
    pairs = by_instance(pairs)
    low, high = intervals_of_means(*by_image(pairs, pairs[["gain"]]))
    return Gain(float(pairs["gain"].mean()), float(low[0]), float(high[0]), len(pairs))


def contrast(more: pd.DataFrame, less: pd.DataFrame) -> Gain:
    """The mean of `gain` over the first rows less that over the others, with its 95 % interval by images.

    An image may have instances in both, so both means must come from one drawing of the images: they are two strata
    with the weights 1 and -1 (statistics/stratified.py).

    Args:
        more: Rows with `dataset`, `image_id` and `gain`.
        less: Likewise.

    Returns:
        n counts both; NaN where either is empty, bounds of NaN where either is of fewer than five images.
    """
    if more.empty or less.empty:
        return NO_GAIN
    both = pd.concat([by_instance(more).assign(part=1), by_instance(less).assign(part=-1)], ignore_index=True)
    found = stratified(both, "gain", both["part"], {1: 1.0, -1: -1.0})
    images = both.drop_duplicates(["part", *INSTANCE[:2]])["part"].value_counts()
    return found if images.min() >= LEAST_IMAGES else replace(found, low=math.nan, high=math.nan)


def share_of(some: pd.DataFrame, whole: pd.DataFrame) -> Gain:
    """The ratio of two means of `gain` over the instances that both have, with its 95 % interval by images.

    Images are drawn anew; both sums come from the same drawing, and each drawing gives one ratio.

    Args:
        some: Rows with `dataset`, `image_id`, `instance_id` and `gain`: the numerator.
        whole: Likewise: the denominator.

    Returns:
        The ratio as `difference`; n counts the instances. NaN where the denominator's mean is not above 0.
    """
    kept = by_instance(whole)[[*INSTANCE, "gain"]]
    both = by_instance(some).merge(kept, on=INSTANCE, suffixes=("", "_whole"), validate="one_to_one")
    sums, _ = by_image(both, both[["gain", "gain_whole"]])
    if sums[:, 1].sum() <= 0:
        return NO_GAIN
    # `interval_of_means` draws images and divides their sums by their counts. With the whole's sums in place of the
    # counts it gives the interval of this ratio. A single image's sum may be below zero, unlike a count, but the sum
    # over a drawing of many images is not.
    low, high = interval_of_means(sums[:, 0], sums[:, 1])
    return Gain(float(sums[:, 0].sum() / sums[:, 1].sum()), low, high, len(both))


def by_instance(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row an instance, whose gain is the mean over its draws."""
    over = over_draws(pairs[["gain"]], pairs)
    return pairs.loc[over.index].assign(gain=over["gain"])
