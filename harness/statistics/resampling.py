"""Measures how much chance changes a mean over images: by drawing images anew, or by flipping signs of differences.

Instances of one image resemble each other, so images are drawn, not instances (Field and Welsh, "Bootstrapping
clustered data", 2007). Everything here is plain arrays: a row for each image, a column for each question. All columns
of a call are answered with the same draws, which makes many questions as cheap as one. Deterministic under a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float64, UInt8

RESAMPLES = 2000
LEVEL = 0.95

LEAST_IMAGES = 5
"""An interval, or a slice of a comparison, needs as many images. A drawn mean never lies beyond all of the images' own
means, but the true one does: with two images in half of all cases, with three in a quarter, with five in a sixteenth.
"""

Columns = Float64[np.ndarray, "images columns"]
Column = Float64[np.ndarray, " columns"]

_AT_ONCE = 4_000_000
"""Numbers of a chunk: 32 MB of float64, however many images there are."""


def intervals_of_means(
    sums: Columns, counts: Columns, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Column, Column]:
    """95 % intervals of each column's sum / count when the images are drawn anew, as many, with replacement.

    Percentiles, set apart further for few images so that they cover as often as a t interval would (Hesterberg,
    "What teachers should know about the bootstrap", The American Statistician 2015, section 4.3). NaN for a column
    in which fewer than `LEAST_IMAGES` count.

    Args:
        sums: The sum of the values of an image's instances.
        counts: How many instances an image has in the column; 0 if it has none.
        resamples: The number of times that images are drawn anew.
        seed: The seed of the draws.
    """
    # A mean over instances is the sum of all values over the count of all instances. Drawing images anew gives other
    # sums and other counts: of the three images
    #
    #     image   sum of IoUs   instances
    #     1       1.6           2                     whole:        3.0 / 5 = 0.60
    #     2       0.3           1                     drawn 1 1 3:  4.3 / 6 = 0.72
    #     3       1.1           2                     drawn 2 3 3:  2.5 / 5 = 0.50
    #
    # The spread of 2000 such means shows how much the mean depends on the choice of images. The numbers of times that
    # each image is drawn are a matrix of resamples x images, so that all columns are answered by one multiplication.
    low, high = np.full((2, sums.shape[1]), np.nan)
    clusters = (counts > 0).sum(axis=0)
    if enough := np.flatnonzero(clusters >= LEAST_IMAGES).tolist():
        means = _drawn_means(sums, counts, resamples, seed)
        for column in enough:
            tail = _tail(int(clusters[column]))
            low[column], high[column] = np.nanquantile(means[:, column], [tail, 1 - tail])
    return low, high


def interval_of_means(
    sums: Float64[np.ndarray, " images"],
    counts: Float64[np.ndarray, " images"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """`intervals_of_means` of one column."""
    low, high = intervals_of_means(sums[:, None], counts[:, None], resamples, seed)
    return float(low[0]), float(high[0])


def spread_of_means(sums: Columns, counts: Columns) -> Column:
    """The standard deviation of an image's influence on each column's sum / count, in the same unit.

    Divided by the root of the number of images it is the standard error of the mean. The intervals above find the same
    by drawing. NaN for a column in which fewer than two images count.

    Source: Cochran, "Sampling Techniques", 3rd edition, 1977, chapter 6: the variance of a ratio of two sums, to first
    order. It is the influence of `harness.statistics.stratified`, with one stratum.

    Args:
        sums: The sum of the values of an image's instances.
        counts: How many instances an image has in the column; 0 if it has none.
    """
    # To first order an image moves the mean by (its sum - mean * its count) / (instances of an image, on average):
    #
    #     image   sum   instances   influence                     mean = 0.6 / 4 = 0.15, instances an image = 4 / 3
    #     1       0.2   2           (0.2 - 0.30) * 3/4 = -0.0750
    #     2       0.4   1           (0.4 - 0.15) * 3/4 =  0.1875     variance = 0.0534 / (3 - 1) = 0.0267
    #     3       0.0   1           (0.0 - 0.15) * 3/4 = -0.1125     spread   = 0.163
    images = (counts > 0).sum(axis=0)
    spread = np.full(sums.shape[1], np.nan)
    for column in np.flatnonzero(images > 1):
        own, instances = sums[:, column], counts[:, column]
        influence = (own - instances * own.sum() / instances.sum()) * images[column] / instances.sum()
        spread[column] = np.sqrt((influence**2).sum() / (images[column] - 1))
    return spread


def sign_flip_p(sums: Columns, flips: int = RESAMPLES, seed: int = 0) -> Column:
    """Two-sided p of each column's sum, if every image's share of it could as well have had the other sign.

    This is the paired randomisation test, by images: if two methods are equally good, an image favours the one as often
    as the other. If no flip reaches the sum, p comes from the normal distribution that the flipped sums tend to, but
    is never below 2 / 2^images, the least that so few images can show. 1 where all differences are zero, NaN without an
    image.

    Args:
        sums: The sum of the differences of an image's instances; 0 if it has none.
        flips: The number of times that signs are flipped.
        seed: The seed of the signs.
    """
    # Three images on which method a was ahead by 0.5, 0.1 and 0.2 in sum, together 0.8. With every choice of signs:
    #
    #     + + +  0.8     + + -  0.4     + - +  0.6     - + +  -0.2     and the same four with all signs turned
    #
    # Two of the eight sums are as far from zero as 0.8, so p = 2 / 8: three images cannot give less. There are 2^images
    # choices of signs, so only 2000 are drawn; the observed one counts as drawn, too, hence (1 + ...) / (1 + ...)
    # below. A sum with flipped signs is 2 * (the sum of those that keep theirs) - total: with signs + - + it is 2 *
    # (0.5 + 0.2) - 0.8 = 0.6.
    if not len(sums):
        return np.full(sums.shape[1], np.nan)
    total = np.abs(sums.sum(axis=0))
    reach = total - 1e-9 * np.abs(sums).sum(axis=0)  # A sum of equal terms in another order is as large.
    reached = np.zeros(sums.shape[1])
    for chunk in _chunks(_bits(len(sums), flips, seed)):
        reached += (np.abs(2.0 * (chunk @ sums) - sums.sum(axis=0)) >= reach).sum(axis=0)
    return np.where(reached > 0, (1 + reached) / (1 + flips), _far_tail(sums, total, flips))


def benjamini_hochberg(p: Sequence[float] | Column) -> Column:
    """False-discovery rates: the smallest rate at which each p would count as found; NaN stays NaN and is not counted.

    Source: Benjamini and Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 1995.
    """
    from scipy.stats import false_discovery_control  # Here, since it takes a second to import and only `compare` asks.

    adjusted = np.asarray(p, dtype=np.float64).copy()
    known = ~np.isnan(adjusted)
    if known.any():
        adjusted[known] = false_discovery_control(adjusted[known])
    return adjusted


def holm(p: Sequence[float] | Column) -> Column:
    """The p values, adjusted so that each bounds the chance of any false finding among all of them; NaN stays NaN.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 1979.
    """
    # The smallest of m values is multiplied by m, the next by m - 1, and so on; none may be less than the one before:
    #
    #     p, sorted   0.005   0.01   0.03   0.04
    #     times       4       3      2      1
    #                 0.02    0.03   0.06   0.04
    #     adjusted    0.02    0.03   0.06   0.06
    #
    # Written here since scipy has no Holm, and statsmodels, which has one, would be a dependency for these lines.
    values = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    times = np.arange(len(order), 0, -1)
    adjusted = values.copy()
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * times), 1.0)
    return adjusted


def _drawn_means(sums: Columns, counts: Columns, resamples: int, seed: int) -> Float64[np.ndarray, "resamples columns"]:
    # Sums and counts side by side: one multiplication gives both, of the same drawing of images.
    both = np.concatenate([sums, counts], axis=1)
    drawn = np.concatenate([chunk @ both for chunk in _chunks(_draws(len(sums), resamples, seed))])
    above, below = np.split(drawn, 2, axis=1)
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


@lru_cache(maxsize=2)
def _draws(images: int, resamples: int, seed: int) -> UInt8[np.ndarray, "resamples images"]:
    """The number of times that each image is drawn, a row for each resample."""
    rng = np.random.default_rng(seed)
    # A byte is enough for this number: of n images each is drawn once on average, and 256 times in practice never. As
    # bytes, 2000 x 5000 numbers take 10 MB; `_chunks` makes floats of some lines at a time.
    drawn = np.empty((resamples, images), dtype=np.uint8)
    for line in drawn:
        line[:] = np.bincount(rng.integers(images, size=images, dtype=np.int32), minlength=images)
    return drawn


@lru_cache(maxsize=2)
def _bits(images: int, flips: int, seed: int) -> Bool[np.ndarray, "flips images"]:
    """Whether each image keeps its sign, a row for each flip."""
    rng = np.random.default_rng([seed, 1])
    # One random byte holds the signs of eight images.
    packed = rng.integers(256, size=(flips, (images + 7) // 8), dtype=np.uint8)
    return np.unpackbits(packed, axis=1, count=images).view(np.bool_)


def _chunks(lines: UInt8[np.ndarray, "n images"] | Bool[np.ndarray, "n images"]) -> Iterator[Columns]:
    """The lines as float64, some at a time."""
    step = max(1, _AT_ONCE // max(1, lines.shape[1]))
    for start in range(0, len(lines), step):
        yield lines[start : start + step].astype(np.float64)


def _tail(images: int) -> float:
    """The share of draws beyond each bound: less than 2.5 %, the fewer the images.

    Percentiles of drawn means are too narrow for few images, for two reasons: the spread is estimated, which Student's
    t accounts for, and the drawn means vary by (images - 1) / images too little. So the bounds are where a normal
    distribution would put a t interval: of ten images the 0.86th percentile instead of the 2.5th, of 1000 the 2.48th.
    """
    from scipy.special import stdtrit  # Here: it takes 0.3 s to import, and tables without intervals do not ask.

    t = float(stdtrit(images - 1, (1 + LEVEL) / 2))
    return NormalDist().cdf(-t * (images / (images - 1)) ** 0.5)


def _far_tail(sums: Columns, total: Column, flips: int) -> Column:
    """The p where no flip reached the sum: normal, with the flipped sums' variance, which is the sum of squares."""
    normal, spread = NormalDist(), np.sqrt((sums**2).sum(axis=0))
    tails = [2 * normal.cdf(-one / width) if width else 1.0 for one, width in zip(total, spread, strict=True)]
    images = (sums != 0).sum(axis=0)
    return np.maximum(np.minimum(tails, 1 / (1 + flips)), 2.0 ** (1.0 - images))
