"""Ranks all methods of a run, as far as paired comparisons can tell them apart."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool

from harness.plugins.scale import Scale
from harness.statistics.final_clicks import ASKED, ENTRY, FinalClicks, over_draws
from harness.statistics.means import Rows, by_image
from harness.statistics.resampling import holm, sign_flip_p
from harness.statistics.scales import scale_of
from harness.storage.clicks import click_keys
from harness.storage.rows import as_text

ALPHA = 0.05
"""The largest p, after correction, at which one method counts as surely better than another."""

Pair = tuple[int, int]


def ranks(rows: Rows, metric: str = "iou", scale: Scale | None = None) -> pd.DataFrame:
    """The rank of each method on each data set, as a range if the rows cannot tell methods apart.

    Every pair is compared on the instances that both segmented from the same clicks, by the paired randomisation test.
    Holm's correction over the pairs of a data set makes all its ranks hold at once in 95 of 100 repetitions.

    Args:
        rows: The rows of a run or of several, as the store holds them.
        metric: A metric of the rows, by its column.
        scale: The metric's scale; by default the one that the rows of `harness.load` carry.

    Returns:
        The columns of ENTRY, best mean first within a data set, then mean, rank_low = 1 + how many are surely better,
        rank_high = how many are not surely worse, and tie_group: 1, 2, ...; the first method of a group is not surely
        better than any other in it. The oracle is no method and has no line.
    """
    checked = FinalClicks.of(rows)
    scale = scale or scale_of(checked.rows, metric)
    scored = checked.scored(metric)
    final, drawn = (own[own["ranking"] != "oracle"] for own in (scored.rows, scored.drawn))
    parts = [
        _ranked(own, drawn[drawn["dataset"] == dataset], metric, scale) for dataset, own in final.groupby("dataset")
    ]
    columns = [*ENTRY, "mean", "rank_low", "rank_high", "tie_group"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _ranked(own: pd.DataFrame, drawn: pd.DataFrame, metric: str, scale: Scale) -> pd.DataFrame:
    # Every pair of entries is tested. Say A is surely better than C, and nothing else is sure. Then nobody is surely
    # better than A, and one, C, is surely worse: A ranks 1 to 2. B ranks 1 to 3 and C 2 to 3. The tie groups are A B |
    # C, since C is surely worse than A, the first of the group.
    means = own.groupby(ENTRY, sort=True)[metric].mean()
    entries = means.sort_values(ascending=not scale.higher_is_better, kind="stable")
    place = {name: at for at, name in enumerate(entries.index)}
    groups = drawn.groupby(ENTRY, sort=True)
    entry = np.array([place[name] for name in groups.size().index], int)[groups.ngroup()]
    asked = drawn[ASKED].drop_duplicates().sort_values(ASKED, ignore_index=True)
    line = drawn.groupby(ASKED, sort=True).ngroup()
    scores, clicks = np.full((len(entries), len(asked)), np.nan), np.zeros((len(entries), len(asked)), np.uint64)
    scores[entry, line], clicks[entry, line] = drawn[metric], click_keys(drawn["clicks"])
    # `scores` has shape (entries, prompts), NaN where an entry has none. Two entries are told apart only if they had
    # the same clicks on every prompt, which equal hashes show. If clicks follow the masks, some are equal by chance,
    # where both made the same mistake: these alone would not stand for the others.
    pairs = list(itertools.combinations(range(len(entries)), 2))
    differences = []
    for i, j in pairs:
        difference = scale.sign * (scores[i] - scores[j])
        alike = (clicks[i] == clicks[j])[~np.isnan(difference)].all()
        differences.append(difference if alike else np.full(len(asked), np.nan))
    # With the index, since a single entry has no pair, and the table then no column that would give it its length.
    over = over_draws(pd.DataFrame(dict(enumerate(differences)), index=asked.index), asked)
    surely = _surely_better(asked.loc[over.index], pairs, over, len(entries))
    lines = as_text(entries.rename("mean").reset_index())
    lines["rank_low"] = 1 + surely.sum(axis=0)
    lines["rank_high"] = len(entries) - surely.sum(axis=1)
    lines["tie_group"] = _tie_groups(surely)
    return lines


def _surely_better(
    instances: pd.DataFrame, pairs: Sequence[Pair], differences: pd.DataFrame, count: int
) -> Bool[np.ndarray, "entries entries"]:
    """Whether the row's entry is surely better than the column's; `differences` has a column for each pair."""
    better = np.zeros((count, count), dtype=bool)
    sums, _ = by_image(instances, differences)
    for (i, j), total, p in zip(pairs, sums.sum(axis=0), holm(sign_flip_p(sums)), strict=True):
        if p < ALPHA:
            better[(i, j) if total > 0 else (j, i)] = True
    return better


def _tie_groups(better: Bool[np.ndarray, "entries entries"]) -> list[int]:
    """The group of each entry, best first: a new group begins where an entry is surely worse than its group's first."""
    # Being tied does not carry over: A and B may be tied, and B and C, while A is surely better than C. Comparing with
    # the group's first alone makes groups that do not overlap.
    groups: list[int] = []
    first = 0
    for entry in range(len(better)):
        if groups and better[first, entry]:
            first = entry
        groups.append((groups[-1] if groups else 0) + (first == entry))
    return groups
