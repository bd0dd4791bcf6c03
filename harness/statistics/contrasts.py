"""The mean of a paired difference, and how much more it is on one part of the instances than on another."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from harness.statistics.final_clicks import ASKED, INSTANCE, over_draws
from harness.statistics.means import Gain, by_image
from harness.statistics.resampling import interval_of_means, intervals_of_means
from harness.storage.clicks import click_keys

NO_GAIN = Gain(math.nan, math.nan, math.nan, 0)


def paired(a: pd.DataFrame, b: pd.DataFrame, metric: str = "iou", same_clicks: bool = True) -> pd.DataFrame:
    """The rows of one method on the instances that another scored, too, with the column `gain`: the scores' difference.

    Args:
        a: A method's rows at its last click, one an instance and draw.
        b: Likewise.
        metric: A metric of the rows, by its column.
        same_clicks: Leave out the instances on which their clicks differ.
    """
    frames = [own.assign(score=own[metric].astype(float), key=click_keys(own["clicks"])) for own in (a, b)]
    on = ASKED if "draw" in a else INSTANCE
    pairs = frames[0].merge(frames[1][[*on, "score", "key"]], on=on, suffixes=("", "_b"), validate="one_to_one")
    pairs = pairs.assign(gain=pairs["score"] - pairs["score_b"])
    kept = pairs["gain"].notna() & ((pairs["key"] == pairs["key_b"]) | (not same_clicks))
    return pairs[kept].reset_index(drop=True)


def mean_gain(pairs: pd.DataFrame) -> Gain:
    """The mean of `gain`, with its 95 % interval, images being drawn anew."""
    if pairs.empty:
        return NO_GAIN
    pairs = _instances(pairs)
    low, high = intervals_of_means(*by_image(pairs, pairs[["gain"]]))
    return Gain(float(pairs["gain"].mean()), float(low[0]), float(high[0]), len(pairs))


def contrast(more: pd.DataFrame, less: pd.DataFrame) -> Gain:
    """The mean of `gain` over the first rows less that over the others, with its 95 % interval by images.

    An image may have instances in both, so both means must come from one drawing of the images. Close to the truth a
    drawn mean differs from the mean of all by the sum of the images' influences: how much an image's instances lie
    above the mean, over how many instances there are. Say the gains are 0.4 and 0.2 in image 1 and 0.6 in image 2, mean
    0.4: image 1 has the influence (0.0 - 0.2) / 3 = -0.067 and image 2 has +0.067. The interval is that of the mean of
    the images' influences on the difference.

    Args:
        more: Rows with `dataset`, `image_id` and `gain`.
        less: Likewise.

    Returns:
        n counts both; NaN where either is empty, bounds of NaN where there is but one image.
    """
    if more.empty or less.empty:
        return NO_GAIN
    more, less = _instances(more), _instances(less)
    parts = pd.concat([_influence(more), -_influence(less)])
    influence = parts.groupby(level=[0, 1]).sum().to_numpy(np.float64)
    low, high = interval_of_means(influence * len(influence), np.ones(len(influence)))
    difference = float(more["gain"].mean() - less["gain"].mean())
    return Gain(difference, difference + low, difference + high, len(more) + len(less))


def _instances(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row an instance, whose gain is the mean over its draws."""
    over = over_draws(pairs[["gain"]], pairs)
    return pairs.loc[over.index].assign(gain=over["gain"])


def _influence(rows: pd.DataFrame) -> pd.Series[float]:
    """How much each image moves the mean."""
    above = rows["gain"] - rows["gain"].mean()
    return above.groupby([rows[name] for name in INSTANCE[:2]]).sum() / len(rows)
