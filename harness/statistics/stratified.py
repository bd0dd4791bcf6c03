"""Weighted sums of the means of strata, such as the mean over classes of their means, with intervals by images.

A mean over instances is ruled by the classes that have most of them, and a gap between two groups of classes by
whatever else differs between them, such as size. Both are mended by weights:

    class      n     mean
    person   900     0.80        mean over instances   (900 * 0.80 + 100 * 0.40) / 1000 = 0.76
    tie      100     0.40        mean over classes     (0.80 + 0.40) / 2                = 0.60
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from harness.statistics.final_clicks import INSTANCE
from harness.statistics.means import NO_GAIN, Gain
from harness.statistics.resampling import interval_of_means


def stratified(rows: pd.DataFrame, value: str, strata: pd.Series[Any], weights: Mapping[Any, float]) -> Gain:
    """The sum over the strata of weight times mean, with its 95 % interval, images being drawn anew.

    Close to the truth a drawn sum differs from that of all images by the sum of the images' influences: in each
    stratum the weight times how far an image's values lie above the stratum's mean, over how many values that has. The
    interval is that of the mean of the images' influences. A stratum of one instance adds no width, for it does not
    tell how much such instances differ.

    Args:
        rows: One an instance, with `dataset` and `image_id`.
        value: The column of the values; a missing one counts nowhere.
        strata: The stratum of each row.
        weights: Stratum -> its weight, of strata that have a value; rows of others do not count.

    Returns:
        The sum as `difference`; n counts the rows. NaN without weights, bounds of NaN where there is but one image.
    """
    kept = strata.isin(list(weights)) & rows[value].notna()
    own, strata = rows[kept], strata[kept]
    if own.empty:
        return NO_GAIN
    groups = own[value].astype(float).groupby(strata)
    weight = strata.map(weights).astype(float)
    # Why are influences drawn, and not the images, as elsewhere? A drawing may leave a small class without any image,
    # and its mean would be over nothing. To first order, the sum moves by an image's influence each time that the
    # image is drawn once more or less. In the example above, a tie of 0.60 in an image of its own has an influence of
    # 1/2 * (0.60 - 0.40) / 100.
    influence = weight * (own[value].astype(float) - groups.transform("mean")) / groups.transform("size")
    images = influence.groupby([own[name] for name in INSTANCE[:2]]).sum().to_numpy(np.float64)
    low, high = interval_of_means(images * len(images), np.ones(len(images)))
    total = float(sum(weights[stratum] * mean for stratum, mean in groups.mean().items()))
    return Gain(total, total + low, total + high, len(own))


def class_mean(rows: pd.DataFrame, value: str = "iou") -> Gain:
    """The mean over classes of each class's mean; n counts the instances."""
    classes = rows.loc[rows[value].notna(), "category"].unique()
    return stratified(rows, value, rows["category"], dict.fromkeys(classes, 1 / max(1, len(classes))))


def octave(areas: pd.Series[float]) -> pd.Series[float]:
    """The size bin of an area in pixels: bin k holds areas from 2^k to less than 2^(k+1); NaN for none."""
    return pd.Series(np.floor(np.log2(areas.where(areas > 0).to_numpy(np.float64))), index=areas.index)


def matched_weights(bins: pd.Series[float], seen: pd.Series[bool]) -> dict[float, float]:
    """A weight for each bin that has both seen and unseen rows, the same for both; together 1.

    A bin with n seen and m unseen rows weighs n m / (n + m): the variance of the difference of its two means goes with
    one over that, so that a bin with one row of either kind counts little.
    """
    counts = pd.crosstab(bins, seen)
    if counts.shape[1] < 2:
        return {}
    both = counts[(counts > 0).all(axis=1)]
    #    bin     seen    unseen    n m / (n + m)    weight
    #    2^10    30      10        7.5              0.79
    #    2^14    100     2         1.96             0.21      many seen ones do not make up for two unseen ones
    raw = both.prod(axis=1) / both.sum(axis=1)
    bins_of_both = both.index.to_numpy(np.float64).tolist()
    return dict(zip(bins_of_both, (raw / raw.sum()).tolist(), strict=True))
