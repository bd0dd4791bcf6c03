"""Two methods compared on identical instances and clicks, and all methods of a run ranked so.

What is not identical is dropped and counted, never compared: instances that one of them failed on or has no row of,
whose clicks differ, or whose ground truth does.

A comparison is of pairs: a's and b's score on one instance after the same clicks. Instances differ from each other far
more than methods do (a cup that both find at 0.9, a thin rope at 0.3), and in the difference of a pair that cancels. Of
the differences there are a mean, its interval with images drawn anew, and p with the images' signs flipped
(`resampling`); and the same for every slice of the instances: p is then a question asked many times, which q answers
for all of them together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from harness.plugins.scale import Scale
from harness.statistics.clicks_needed import QUALITIES, sequences
from harness.statistics.final_clicks import ASKED, ENTRY, INSTANCE, FinalClicks, over_draws
from harness.statistics.means import Rows, by_image
from harness.statistics.resampling import benjamini_hochberg, holm, intervals_of_means, sign_flip_p
from harness.statistics.scales import scale_of
from harness.storage.clicks import click_keys
from harness.storage.rows import as_text
from harness.structures import UserError

Entry = str | tuple[str, str]
"""A method's label; with its ranking where it has several."""

SLICES = ("dataset", "seen", "size", "same_class_count", "under_click", "category")
"""What the instances are divided by, besides their number of clicks."""

TIE = 0.05
"""The largest difference of two shares that is a tie."""

ALPHA = 0.05
LEAST_IMAGES = 5
"""A slice of fewer images has no line of its own."""

SMALL, LARGE = 32**2, 96**2
"""Areas in pixels between which COCO calls an object medium."""

SIZES = ("small (< 32² px)", "medium", "large (≥ 96² px)")
"""COCO's, in this order."""

Slice = tuple[str, str, Bool[np.ndarray, " instances"]]
"""A slice's name, its value, and which instances are in it."""

_TRUTH = ["gt_area_px", "height", "width"]
_ABOUT = ["seen", "category", "same_class_count", "gt_area_px"]


@dataclass(frozen=True)
class Comparison:
    """What a is against b.

    Attributes:
        a: The method's label, with its ranking where that says more.
        b: Likewise.
        metric: A metric of the rows, by its column.
        scale: What the metric declares. Positive differences speak for a; for b where less is better.
        tie: Differences no larger than this are ties.
        clicks: After how many a and b were compared, the last that both had alike; then the last of a, and that of b.
        lines: One a slice, all instances first: slice, value, n, images, a, b (means of the metric), difference (a less
            b), low, high (95 %), p, q (the false-discovery rate among the slices; NaN in the first line), win, tie,
            loss (on how many instances a is better, as good, worse).
        dropped: Why -> how many instances of those that either has a row of.
        latency: A line a cost: cost ("encode_ms" of an image, "segment_ms" of an instance), a and b (medians),
            ratio = a / b.
        noc: With several clicks and a share of which more is better, a line a data set and quality: dataset, quality,
            n, images, a, b (mean clicks needed), difference, low, high (95 %), p; over the instances on which both
            answered every click.
        changed: The instances with the largest differences, half of them for a and half for b as far as there are, the
            most for a first, the most for b last: the columns of INSTANCE, category, a, b, difference.
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
    slices: Sequence[str] = SLICES,
    tie: float | None = None,
    most_changed: int = 24,
    scale: Scale | None = None,
) -> Comparison:
    """Compare two methods, overall and by slice.

    Args:
        rows: Those of both, of one run or of several.
        a: The first method.
        b: The second.
        metric: A metric of the rows, by its column.
        slices: Columns to divide by: those of SLICES, or any that the rows have.
        tie: The largest difference that is a tie; by default 0.05 of a share, and 0 of any other metric.
        most_changed: How many instances to name: half of those that a does better on, half of the others.
        scale: Which of two values is better; by default what the rows of `harness.load` remember of the metric.

    Raises:
        UserError: No such method, several rankings, one method twice, or nothing that both were asked alike.
    """
    scale = scale or scale_of(rows, metric)
    rows = rows if "draw" in rows else rows.assign(draw=0)
    tie = (TIE if scale.is_share else 0.0) if tie is None else tie
    named = [_resolved(rows, one) for one in (a, b)]
    if named[0] == named[1]:
        raise UserError(f"compare: {_said(named[0])} against itself. Wanted two methods, or two rankings of one.")
    own = [_of(rows, *one) for one in named]
    pairs, dropped = _pairs(own[0], own[1], metric, slices)
    if pairs.empty:
        found = ", ".join(f"{count} {why}" for why, count in dropped.items() if count)
        raise UserError(
            f"compare: {_said(named[0])} and {_said(named[1])} share no instance that both segmented from the same "
            f"clicks ({found or 'no rows'}). Wanted two methods on the same data under one click protocol and seed."
        )
    # The last click that both had alike, data set by data set: of two corrective runs with other masks, that may be
    # the first one, since all later clicks follow each method's own errors.
    final = pairs[pairs["click_index"] == pairs.groupby("dataset")["click_index"].transform("max")]
    return Comparison(
        a=_said(named[0]),
        b=_said(named[1]),
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


Pair = tuple[int, int]


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


def _said(entry: tuple[str, str]) -> str:
    return entry[0] if entry[1] in ("single", "") else f"{entry[0]} ({entry[1]})"


def _of(rows: pd.DataFrame, label: str, ranking: str) -> pd.DataFrame:
    """An entry's rows, with the failures that count for it."""
    own = rows["method"] == label
    return rows[
        own
        & (
            (rows["ranking"] == ranking)
            | ((rows["status"] != "ok") & (rows["ranking"].isna() | rows["ranking"].eq("")))
        )
    ]


def _pairs(a: pd.DataFrame, b: pd.DataFrame, metric: str, slices: Sequence[str]) -> tuple[pd.DataFrame, dict[str, int]]:
    """What both were asked alike and answered, at every click, and how many instances were dropped, by reason."""
    dropped = _lone(a, b)
    frames = []
    for own in (a, b):
        own = own[own["status"] == "ok"]
        _refuse_double(own)
        facts = dict.fromkeys(one for one in (*_ABOUT, *_TRUTH, *slices) if one in own and one not in ASKED)
        scored = own[[*ASKED, "click_index", *facts]]
        frames.append(scored.assign(score=own.get(metric, np.nan), clicks=click_keys(own["clicks"])))
    pairs = _whole(frames[0].merge(frames[1], on=[*ASKED, "click_index"], suffixes=("", "_b")), a, b)
    # Each instance is counted under the first reason that holds for it, hence `~gone`: the counts add up.
    reasons = {
        "with other clicks": pairs["clicks"] != pairs["clicks_b"],
        "with another ground truth": _differs(pairs),
        f"without {metric}": pairs[["score", "score_b"]].isna().any(axis=1),
    }
    gone = pd.Series(False, index=pairs.index)
    for why, differs in reasons.items():
        dropped[why] = int((~pairs.loc[differs & ~gone, INSTANCE].duplicated()).sum())
        gone |= differs
    pairs = pairs[~gone].rename(columns={"score": "a", "score_b": "b"})
    return pairs.assign(difference=pairs["a"] - pairs["b"]).reset_index(drop=True), dropped


def _whole(pairs: pd.DataFrame, a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The pairs after each click of the instances that both answered in every draw, as other means have them."""
    asked = pd.concat([a[ASKED], b[ASKED]]).drop_duplicates().groupby(INSTANCE).size().rename("of").reset_index()
    if (asked["of"] == 1).all():
        return pairs
    # An instance with three draws, of which both answered two, would weigh as one all the same, but by a part of its
    # clicks: a mean over the clicks that both methods happen to survive.
    answered = pairs.groupby([*INSTANCE, "click_index"])["draw"].transform("size")
    of = pairs[INSTANCE].merge(asked, on=INSTANCE, how="left")["of"].to_numpy()
    return pairs[answered.to_numpy() == of].reset_index(drop=True)


def _lone(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, int]:
    """How many instances only one has rows of, or failed on."""
    asked = [set(map(tuple, own[INSTANCE].drop_duplicates().to_numpy())) for own in (a, b)]
    lost = [set(map(tuple, own.loc[own["status"] != "ok", INSTANCE].drop_duplicates().to_numpy())) for own in (a, b)]
    both = asked[0] & asked[1]
    return {
        "only the first was asked": len(asked[0] - both),
        "only the second was asked": len(asked[1] - both),
        "the first failed on": len(lost[0] & both),
        "the second failed on": len(lost[1] & both - lost[0]),
    }


def _refuse_double(own: pd.DataFrame) -> None:
    double = own[own.duplicated([*ASKED, "click_index"])]
    if len(double):
        one = double.iloc[0]
        raise UserError(
            f"compare, {one.dataset}: {one.method} has {len(double)} rows twice, the first for instance "
            f"'{one.instance_id}'; wanted one. Do not join a run with itself."
        )


def _differs(pairs: pd.DataFrame) -> pd.Series[bool]:
    """Whether the ground truth of both is another, as far as the rows tell its area and size."""
    differs = pd.Series(False, index=pairs.index)
    for column in _TRUTH:
        if f"{column}_b" in pairs:
            differs |= (pairs[column] != pairs[f"{column}_b"]) & pairs[[column, f"{column}_b"]].notna().all(axis=1)
    return differs


def _lines(pairs: pd.DataFrame, final: pd.DataFrame, slices: Sequence[str], tie: float, scale: Scale) -> pd.DataFrame:
    named = [("all", "", np.ones(len(final), dtype=bool)), *_sliced(final, slices)]
    lines = _measured(final, named, tie, scale)
    clicks = sorted(pairs["click_index"].unique())
    if len(clicks) > 1:
        every = [("click", str(k), (pairs["click_index"] == k).to_numpy()) for k in clicks]
        lines = pd.concat([lines, _measured(pairs, every, tie, scale)], ignore_index=True)
    # The first line is the question that was asked, so that its p stays as it is. The slices are a search for where
    # the difference lies: of 40 slices without any, two have p < 0.05 on average. q answers for all of them together.
    lines = lines[(lines["images"] >= LEAST_IMAGES) | (lines.index == 0)].reset_index(drop=True)
    return lines.assign(q=[float("nan"), *benjamini_hochberg(lines["p"].to_numpy()[1:])])[_LINE]


_SCORES = ["a", "b", "difference"]

_LINE = ["slice", "value", "n", "images", "a", "b", "difference", "low", "high", "p", "q", "win", "tie", "loss"]


def _sliced(final: pd.DataFrame, slices: Sequence[str]) -> Iterator[Slice]:
    """Each slice's name and value, and which instances are in it; what does not divide them is left out."""
    for name in slices:
        values = _values(final, name)
        known = values.dropna().unique()
        if len(known) > 1:
            yield from (
                (name, str(value), (values == value).fillna(False).to_numpy(bool))
                for value in sorted(known, key=_place)
            )


def _place(value: Any) -> tuple[int, str]:
    """Sizes from small to large, all else by name."""
    return (SIZES.index(value), "") if value in SIZES else (len(SIZES), str(value))


def _values(final: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name == "size" and "gt_area_px" in final:
        sizes = pd.cut(final["gt_area_px"].astype(float), [0, SMALL, LARGE, np.inf], right=False)
        return sizes.cat.rename_categories(SIZES).astype(object)
    if name == "same_class_count" and name in final:
        counts = final[name].astype(float)
        return counts.map(lambda n: "5 or more" if n >= 5 else f"{n:.0f}", na_action="ignore")
    if name == "under_click" and name in final:
        return final[name].map(lambda n: "several objects" if n > 1 else "one object", na_action="ignore")
    if name == "seen" and name in final:
        return final[name].map({True: "seen", False: "unseen"})
    return final[name] if name in final else pd.Series(np.nan, index=final.index)


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
    once = own.drop_duplicates(["dataset", "image_id"]) if cost == "encode_ms" else own
    median = float(once[cost].median())
    return median if median > 0 else float("nan")


_NOC = ["dataset", "quality", "n", "images", "a", "b", "difference", "low", "high", "p"]


def _noc(a: pd.DataFrame, b: pd.DataFrame, pairs: pd.DataFrame, metric: str, scale: Scale) -> pd.DataFrame:
    """Clicks needed, where both were asked click by click, on the instances that they were first asked alike.

    None for a metric that has no quality of 90 %: one that is no share, or of which less is better.
    """
    if not (scale.is_share and scale.higher_is_better):
        return pd.DataFrame(columns=_NOC)
    alike = pd.MultiIndex.from_frame(pairs[INSTANCE].drop_duplicates())
    lines: list[dict[str, Any]] = []
    for dataset in sorted(pairs["dataset"].unique()):
        both = [sequences(own[own["dataset"] == dataset], metric) for own in (a, b)]
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
    """Both ends: where one method is far ahead, its own alone would fill the list."""
    over = over_draws(final[_SCORES], final)
    final = final.loc[over.index].assign(**over)
    ranked = final.sort_values("difference", ascending=not scale.higher_is_better, kind="stable")
    better = scale.sign * ranked["difference"]
    ahead, behind = ranked[better > 0], ranked[better < 0]
    columns = [*INSTANCE, *(["category"] if "category" in final else []), "a", "b", "difference"]
    return pd.concat([ahead.head(count // 2), behind.tail(count // 2)])[columns].reset_index(drop=True)
