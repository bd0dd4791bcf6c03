"""All methods of a run ranked, as far as paired comparisons tell one from another."""

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
"""The largest p, after correction, at which one method is surely better than another."""

Pair = tuple[int, int]


def ranks(rows: Rows, metric: str = "iou", scale: Scale | None = None) -> pd.DataFrame:
    """Where each method stands on each data set, as far as the rows can tell it from the others.

    Every pair is compared on the instances that both segmented from the same clicks, by the paired randomisation test,
    with Holm's correction over the pairs of a data set: all ranks of it hold at once in 95 of 100 repetitions.

    Args:
        rows: The store's; of several runs, too.
        metric: A metric of the rows, by its column.
        scale: Which of two values is better; by default what the rows of `harness.load` remember of the metric.

    Returns:
        The columns of ENTRY, best mean first within a data set, then mean, rank_low = 1 + how many are surely better,
        rank_high = how many are not surely worse, and tie_group: 1, 2, ...; a group's first is not surely better than
        any other of it. The oracle is no method and has no line.
    """
    checked = FinalClicks.of(rows)
    scale = scale or scale_of(checked.rows, metric)
    final, drawn = (_competing(own, metric) for own in (checked.rows, checked.drawn))
    parts = [
        _ranked(own, drawn[drawn["dataset"] == dataset], metric, scale) for dataset, own in final.groupby("dataset")
    ]
    columns = [*ENTRY, "mean", "rank_low", "rank_high", "tie_group"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _competing(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    return rows[(rows["status"] == "ok") & (rows["ranking"] != "oracle") & rows[metric].notna()]


def _ranked(own: pd.DataFrame, drawn: pd.DataFrame, metric: str, scale: Scale) -> pd.DataFrame:
    # Every pair of entries is tested, and the surely better are counted. Say A is surely better than C, and nothing
    # else is sure: then A ranks 1 to 2 (none is better, only C is surely worse), B 1 to 3, C 2 to 3, and the tie groups
    # are A B | C, since C is surely worse than the first of A's group.
    means = own.groupby(ENTRY, sort=True)[metric].mean()
    entries = means.sort_values(ascending=not scale.higher_is_better, kind="stable")
    place = {name: at for at, name in enumerate(entries.index)}
    groups = drawn.groupby(ENTRY, sort=True)
    entry = np.array([place[name] for name in groups.size().index], int)[groups.ngroup()]
    asked = drawn[ASKED].drop_duplicates().sort_values(ASKED, ignore_index=True)
    line = drawn.groupby(ASKED, sort=True).ngroup()
    scores, clicks = np.full((len(entries), len(asked)), np.nan), np.zeros((len(entries), len(asked)), np.uint64)
    scores[entry, line], clicks[entry, line] = drawn[metric], click_keys(drawn["clicks"])
    pairs = list(itertools.combinations(range(len(entries)), 2))
    differences = [scale.sign * np.where(clicks[i] == clicks[j], scores[i] - scores[j], np.nan) for i, j in pairs]
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
    """Whether the entry of the line is better than that of the column; `differences` has a column a pair."""
    better = np.zeros((count, count), dtype=bool)
    if not pairs:
        return better
    sums, _ = by_image(instances, differences)
    for (i, j), total, p in zip(pairs, sums.sum(axis=0), holm(sign_flip_p(sums)), strict=True):
        if p < ALPHA:
            better[(i, j) if total > 0 else (j, i)] = True
    return better


def _tie_groups(better: Bool[np.ndarray, "entries entries"]) -> list[int]:
    """A number an entry, best first: a new one where an entry is surely worse than the first of the group."""
    groups: list[int] = []
    first = 0
    for entry in range(len(better)):
        if groups and better[first, entry]:
            first = entry
        groups.append((groups[-1] if groups else 0) + (first == entry))
    return groups
