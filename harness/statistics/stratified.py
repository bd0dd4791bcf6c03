"""Weighted sums of the means of strata, such as the mean over classes of their means, with intervals by images.

Classes with many instances dominate a mean over instances. Weights let every class count the same. They also make two
groups of classes comparable that differ in something else, such as size:

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
    """The sum over the strata of weight times mean, with its 95 % interval, from resampled images.

    To first order, the sum over drawn images differs from the sum over all images by the influences of the drawn ones.
    An image's influence is, in each stratum, the weight times how far the image's values lie above the stratum's mean,
    divided by the number of values in the stratum. The interval is that of the mean of these influences. A stratum
    of one image does not show how much such images differ, so its values count from the mean over all strata instead:
    strata of one image are collapsed (Cochran, "Sampling Techniques", 3rd edition, 1977, section 5A.12), which makes
    the interval rather too wide than too narrow.

    Args:
        rows: One row for each instance, with `dataset` and `image_id`.
        value: The column of the values; a missing one counts nowhere.
        strata: The stratum of each row.
        weights: Stratum -> its weight, for strata that have a value; rows of other strata do not count.

    Returns:
        The sum as `difference`; n counts the rows. NaN without weights; the bounds are NaN with fewer than five images.
    """
    kept = strata.isin(list(weights)) & rows[value].notna()
    own, strata = rows[kept], strata[kept]
    if own.empty:
        return NO_GAIN
    groups = own[value].astype(float).groupby(strata)
    weight = strata.map(weights).astype(float)
    # Elsewhere images are drawn; here their influences are. A drawing of images may leave a small class without any,
    # and its mean would be over nothing. To first order, the sum moves by an image's influence each time that the image
    # is drawn once more or once less. In the example above, a tie of 0.60 in an image of its own has an influence of
    # 1/2 * (0.60 - 0.40) / 100 = 0.001.
    image = own.groupby(list(INSTANCE[:2])).ngroup()
    alone = image.groupby(strata).transform("nunique") == 1
    center = groups.transform("mean").mask(alone, groups.mean().mean())
    influence = weight * (own[value].astype(float) - center) / groups.transform("size")
    images = influence.groupby(image).sum().to_numpy(np.float64)
    # Around the strata's own means the influences sum to zero; where `center` is another one they do not.
    low, high = interval_of_means((images - images.mean()) * len(images), np.ones(len(images)))
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

    A bin with n seen and m unseen rows has the weight n m / (n + m). The variance of the difference of its two means is
    proportional to 1 / n + 1 / m, which is one over that weight: a bin with few rows of either kind counts little.
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
