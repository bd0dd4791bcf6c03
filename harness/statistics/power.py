"""Computes the images needed to find a difference between two methods, and the difference that given images can find.

Both follow from how much the paired difference varies from image to image in the rows of a run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import pandas as pd

from harness.statistics.comparisons import entry_said
from harness.statistics.contrasts import by_instance, paired
from harness.statistics.final_clicks import ENTRY, FinalClicks
from harness.statistics.means import Rows, by_image
from harness.statistics.resampling import LEVEL, spread_of_means

Entry = tuple[str, str]
"""A method's label and ranking."""

POWER = 0.8
"""The probability that a true difference is found, over repetitions of the whole run on other images."""

MOST_PAIRED = 6
"""The most methods and rankings on a data set of which every two are compared; beyond it, each with the first."""


@dataclass(frozen=True)
class Power:
    """The paired difference of two methods on a data set and its spread, from which runs on more images are planned.

    Attributes:
        dataset: The data set's label.
        a: The first method's label and ranking.
        b: The second method's.
        images: The number of images on which both answered from the same first click by the same rule.
        difference: The mean of a's score minus b's on the instances of these images; -1 to 1 for a share.
        spread: The standard deviation of an image's influence on it (`resampling.spread_of_means`); NaN for fewer than
            two images.
    """

    dataset: str
    a: Entry
    b: Entry
    images: int
    difference: float
    spread: float

    def __str__(self) -> str:
        return f"{entry_said(self.a)} – {entry_said(self.b)}"

    def images_for(self, difference: float) -> int | None:
        """How many images are needed to find a true difference in a two-sided test at 5 %, with a power of 80 %.

            n = (z(1 - 0.05 / 2) + z(0.80))^2 * spread^2 / difference^2 = 7.85 * (spread / difference)^2

        where z(q) is the q-quantile of the standard normal distribution. Rounded up; None if the spread is unknown.
        For example, with a spread of 0.2 a difference of 0.02 needs 7.85 * 10^2 = 785 images, and half that difference
        needs four times as many.

        Source: Chow, Shao, Wang and Lokhnygina, "Sample Size Calculations in Clinical Research", 3rd edition, 2017,
        chapter 3 (one sample, test for equality), of the paired differences; for benchmarks with clustered questions
        Miller, "Adding Error Bars to Evals", https://arxiv.org/abs/2411.00640 (2024).

        Args:
            difference: The difference of the two means, above 0, in the metric's values: 0.005 is half a point.
        """
        return None if math.isnan(self.spread) else max(_LEAST, math.ceil((_REACH * self.spread / difference) ** 2))

    def detectable(self, images: int) -> float:
        """The smallest true difference that this many images find: the formula of `images_for`, solved for it.

        NaN for fewer than six images, of which the test finds none.
        """
        # Finding it means: the mean of n images, whose standard error is spread / sqrt(n), lies beyond the test's bound
        # of 1.96 standard errors in 80 % of all runs. So the true difference must be another 0.84 standard errors
        # beyond that bound: 1.96 + 0.84 = 2.80, whose square is the 7.85 above.
        return _REACH * self.spread / math.sqrt(images) if images >= _LEAST else math.nan

    @property
    def found(self) -> float:
        """The smallest true difference that the images of this run find."""
        return self.detectable(self.images)


_LEAST = 6
"""The paired test flips the signs of images: p is at least 2 / 2^images, and of five images never below 0.05."""

_REACH = NormalDist().inv_cdf((1 + LEVEL) / 2) + NormalDist().inv_cdf(POWER)


def powers(rows: Rows, methods: Sequence[str], metric: str = "iou") -> list[Power]:
    """The power of every pair of methods on each data set; the oracle is no method, and has no line.

    Args:
        rows: The store's, of one run.
        methods: Labels, in the order in which they are named; methods without rows have no line.
        metric: A metric of the rows, by its column.
    """
    drawn = FinalClicks.of(rows, withhold=True).scored(metric).as_text().drawn
    scored = drawn[drawn["ranking"] != "oracle"]
    found = []
    for dataset, own in scored.groupby("dataset", sort=True):
        rankings = {(str(method), str(ranking)): its for (method, ranking), its in own.groupby(ENTRY[1:], sort=True)}
        entries = [(entry, its) for method in methods for entry, its in rankings.items() if entry[0] == method]
        pairs = list(itertools.combinations(entries, 2))
        if len(entries) > MOST_PAIRED:
            pairs = pairs[: len(entries) - 1]  # those with the first
        found += [_power(str(dataset), a, b, metric) for a, b in pairs]
    return found


def _power(dataset: str, a: tuple[Entry, pd.DataFrame], b: tuple[Entry, pd.DataFrame], metric: str) -> Power:
    pairs = by_instance(paired(a[1], b[1], metric))
    if pairs.empty:
        return Power(dataset, a[0], b[0], 0, math.nan, math.nan)
    sums, counts = by_image(pairs, pairs[["gain"]])
    spread = float(spread_of_means(sums, counts)[0])
    return Power(dataset, a[0], b[0], len(sums), float(pairs["gain"].mean()), spread)
