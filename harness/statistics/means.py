"""Rows -> mean IoU, seen and unseen shares, their intervals, and paired gains.

Rows are the store's: one per method x data set x instance x ranking x click_index. Every mean here is a mean over
instances at the method's last click on the data set; a failed row has no IoU, enters no mean and is counted instead.
All results are deterministic and independent of the rows' order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float64, Int64, UInt64

from harness.messages import suggest
from harness.statistics.resampling import RESAMPLES, intervals_of_means, sign_flip_p
from harness.storage.rows import COLUMNS, metrics_in
from harness.structures import UserError

INSTANCE = ["dataset", "image_id", "instance_id"]
"""What names an instance, over all data sets of a run."""

ENTRY = ["dataset", "method", "ranking"]
"""What names a line of the leaderboard."""

MEANS = ("mean", "seen", "unseen")
"""The means of a summary's line: of all instances, and of the halves of the data set's split."""

SHOWN = ("iou", "boundary_iou")
"""The metrics that the tables show; rows that lack one of them have no value of it."""

_COLUMNS = ["run", *ENTRY, "image_id", "instance_id", "seen", "clicks", "click_index", "status"]
_OPTIONAL = ["dataset_plugin", "method_plugin", "category", "text", "click_strategy", "same_class_count", "error"]


@dataclass(frozen=True)
class Gain:
    """Mean difference between two methods, -1 to 1, over the n instances that both segmented.

    Attributes:
        low: Of its 95 % interval; NaN, as `high` is, where fewer than two images were there.
        p: Of the paired randomisation test, two-sided; NaN over nothing.
    """

    difference: float
    low: float
    high: float
    n: int
    p: float = float("nan")


def final_clicks(rows: pd.DataFrame, more: Sequence[str] = ()) -> pd.DataFrame:
    """The rows that a table means over, sorted: scores at the method's last click on the data set, and the failures.

    A failed row without a ranking counts as a failure of each of the method's rankings, once an instance. Applied
    to its own result it changes nothing.

    Args:
        rows: The store's.
        more: Columns to keep besides those that means need; NaN where the rows lack them.

    Raises:
        UserError: Columns are missing, rows are double, or the rows of several runs follow different protocols.
    """
    rows = _checked(rows, more)
    segmented = (rows["status"] == "ok").to_numpy(bool)
    known = rows.loc[segmented, _asked(rows)]
    _refuse_mixed(known.assign(most=click_counts(rows["clicks"])[segmented]))
    failed = _failures(_sorted(rows[~segmented]), known)
    at_last = known["click_index"] == known.groupby(ENTRY[:2])["click_index"].transform("max")
    last = rows.iloc[np.flatnonzero(segmented)[at_last.to_numpy(bool)]]
    _refuse_double(last)
    if len(failed):
        key = ["method", "ranking", *INSTANCE]
        last = last[~pd.MultiIndex.from_frame(last[key]).isin(pd.MultiIndex.from_frame(failed[key]))]
    parts = [part for part in (last, failed) if len(part)]
    return _sorted(pd.concat(parts, ignore_index=True)) if parts else rows.iloc[:0]


def at_click(rows: pd.DataFrame, number: int) -> pd.DataFrame:
    """The rows as if the protocol had ended after this many clicks; every other function then means over those.

    A failure stays, unless its instance was segmented at this click and failed later.
    """
    rows = _checked(rows)
    ok = rows["status"] == "ok"
    key = ["method", *INSTANCE]
    reached = pd.MultiIndex.from_frame(rows.loc[ok & (rows["click_index"] == number), key])
    failed = ~ok & ~pd.MultiIndex.from_frame(rows[key]).isin(reached)
    return rows[(ok & (rows["click_index"] <= number)) | failed]


def summarise(
    rows: pd.DataFrame, by: Sequence[str] = ENTRY, metric: str = "iou", intervals: bool = False
) -> pd.DataFrame:
    """One line a group, sorted by it.

    Args:
        rows: The store's; `at_click` of them to summarise an earlier click.
        by: Columns of the rows that name a group; each instance may stand in a group once.
        metric: A metric of the rows, by its column.
        intervals: Whether to add the means' 95 % intervals, images being drawn anew.

    Raises:
        UserError: No such column or metric, or a group would hold an instance twice; as `final_clicks`.

    Returns:
        The columns of `by`, then mean, n (instances in it), failed, unscored (segmented, but without this
        metric), seen and unseen (means over their halves), n_seen, n_unseen, clicks (after how many, the most of the
        group; NaN where nothing was segmented) and w = n_seen / (n_seen + n_unseen), so that the mean is
        w * seen + (1 - w) * unseen. A mean over nothing is NaN. With intervals, mean_low and mean_high, seen_low, ...,
        NaN where fewer than two images tell.
    """
    by, given = list(by), rows
    rows = final_clicks(given, [column for column in by if column in given])
    for column in by:
        if column not in rows:
            raise UserError(
                f"summaries: the rows have no column '{column}' to group by. {suggest(column, map(str, given.columns))}"
            )
    _refuse_several(rows, by)
    facts = _facts(rows, metric)
    groups = facts.groupby([rows[column] for column in by], sort=True, dropna=False)
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
        bounds = [_intervals(rows.loc[own.index], own) for _, own in groups]
        lines = lines.join(pd.DataFrame(bounds, index=lines.index, columns=_BOUNDS, dtype=float))
    return lines.reset_index()


def part(rows: pd.DataFrame, seen: bool) -> pd.DataFrame:
    """The rows of seen, or of unseen, categories; those without a split are in neither."""
    return rows[_is(rows["seen"], seen)]


def listed_instances(rows: pd.DataFrame) -> dict[str, int]:
    """Data set -> how many of its instances any row speaks of, at any click, by any method, failed or not."""
    known = _checked(rows)[INSTANCE].drop_duplicates()
    return {str(dataset): int(count) for dataset, count in known.groupby("dataset").size().items()}


def clicks_made(rows: pd.DataFrame) -> tuple[int, int] | None:
    """The fewest and the most clicks that an instance had at the end; None where nothing was segmented."""
    rows = final_clicks(rows)
    counts = click_counts(rows.loc[rows["status"] == "ok", "clicks"])
    return (int(counts.min()), int(counts.max())) if len(counts) else None


def paired_gain(
    rows: pd.DataFrame,
    a: str | tuple[str, str],
    b: str | tuple[str, str],
    metric: str = "iou",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Gain:
    """How much better a is than b on the instances that both segmented from the same clicks.

    Args:
        rows: Those of a and b, at least; pass a part of them (the unseen, say) for the gain on that part.
        a: A method's label, or (label, ranking) where it has several rankings.
        b: Likewise; positive differences speak for a.
        metric: A metric of the rows, by its column.
        resamples: How many bootstrap samples of the images.
        seed: Of the resampling.

    Raises:
        UserError: Their clicks differ, so that the difference would not be the methods' own.
    """
    return paired_gains(rows, a, b, metric, resamples, seed)["mean"]


def paired_gains(
    rows: pd.DataFrame,
    a: str | tuple[str, str],
    b: str | tuple[str, str],
    metric: str = "iou",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Gain]:
    """`paired_gain` of all instances ("mean") and of the "seen" and the "unseen"."""
    rows = final_clicks(rows)
    pairs = _pairs(_entry(rows, a), _entry(rows, b))
    _refuse_other_clicks(pairs, _named(a), _named(b))
    difference = pairs[f"{metric}_a"] - pairs[f"{metric}_b"]
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
    """Sums and counts of each column of values over the instances of an image; a missing value counts nowhere."""
    images = rows.groupby(["dataset", "image_id"], sort=True).ngroup().to_numpy()
    size = int(images.max(initial=-1)) + 1
    known = values.notna().to_numpy()
    filled = np.where(known, values.to_numpy(dtype=np.float64, na_value=0.0), 0.0)
    columns = range(values.shape[1])
    sums = np.stack([np.bincount(images, filled[:, one], size) for one in columns], axis=1)
    counts = np.stack([np.bincount(images, known[:, one], size) for one in columns], axis=1)
    return sums, counts


def click_counts(clicks: pd.Series[Any]) -> Int64[np.ndarray, " n"]:
    """How many clicks each row has; 0 where it says none."""
    return pc.fill_null(pc.list_value_length(_listed(clicks)), 0).to_numpy().astype(np.int64)


def click_keys(clicks: pd.Series[Any]) -> UInt64[np.ndarray, " n"]:
    """A number a row, equal for the same clicks in the same order and different, but for one chance in 2^64, else."""
    listed = _listed(clicks)
    offsets = listed.offsets.to_numpy().astype(np.int64)
    x, y, positive = (np.asarray(listed.values.field(name)).astype(np.int64) for name in ("x", "y", "positive"))
    counts = np.diff(offsets)
    place = np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], counts)
    span = slice(offsets[0], offsets[-1])
    mixed = _mixed((x << 33 ^ y << 1 ^ positive)[span].astype(np.uint64) ^ _mixed(place.astype(np.uint64)))
    keys = np.zeros(len(counts), dtype=np.uint64)
    np.add.at(keys, np.repeat(np.arange(len(counts)), counts), mixed)
    return keys


def _mixed(numbers: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Splitmix64's finaliser (Steele, Lea and Flood, OOPSLA 2014), so that sums of equal numbers seldom meet."""
    numbers = (numbers + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _listed(clicks: pd.Series[Any]) -> pa.ListArray:
    """The clicks as one Arrow array, without copies where they are one."""
    kind = COLUMNS["clicks"]
    if isinstance(clicks.dtype, pd.ArrowDtype):
        found = pa.array(clicks)
        found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
        return found.cast(kind)
    return pa.array([list(one) if hasattr(one, "__iter__") else None for one in clicks], kind)


_BOUNDS = [f"{name}_{bound}" for name in MEANS for bound in ("low", "high")]


def _intervals(rows: pd.DataFrame, facts: pd.DataFrame) -> list[float]:
    """Low and high of each mean."""
    low, high = intervals_of_means(*by_image(rows, facts[list(MEANS)]))
    return [float(bound) for pair in zip(low, high, strict=True) for bound in pair]


def _scores(rows: pd.DataFrame, metric: str) -> pd.Series[float]:
    if metric not in rows:
        raise UserError(f"summaries: the rows have no metric '{metric}'. {suggest(metric, metrics_in(rows))}")
    return rows[metric].where(rows["status"] == "ok")


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
    """Equal, where null equals nothing; whether Parquet gave bools, objects or nullable booleans."""
    return column.eq(value).fillna(False).astype(bool)


def _checked(rows: pd.DataFrame, more: Sequence[str] = ()) -> pd.DataFrame:
    """The columns that means need, and more, without the masks, so that sorting moves little."""
    if rows.empty:
        rows = rows.reindex(columns=_COLUMNS)
    missing = [column for column in _COLUMNS if column not in rows]
    if missing:
        raise UserError(
            f"summaries: the rows lack {', '.join(missing)}; wanted a run's rows as the store writes them. "
            "Read them from runs/<run>/ of this version, or run again."
        )
    kept = rows[_COLUMNS + [column for column in _OPTIONAL if column in rows]].copy()
    for name in dict.fromkeys([*SHOWN, *metrics_in(rows)]):
        if name not in more:  # A column of numbers that rows are grouped by stays as it is.
            kept[name] = rows[name].astype(float) if name in rows else np.nan
    for name in [column for column in more if column not in kept]:
        kept[name] = rows.get(name, np.nan)
    if kept["ranking"].isna().any():
        kept["ranking"] = kept["ranking"].astype(object).where(kept["ranking"].notna(), "")
    return kept


def _asked(rows: pd.DataFrame) -> list[str]:
    """The columns that say who was asked how: few, since there are millions of rows."""
    return [*ENTRY, "run", "click_index", *(["click_strategy"] if "click_strategy" in rows else [])]


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    order = [*INSTANCE, "method", "ranking", "click_index", "run"]
    return rows.sort_values(order, kind="stable", ignore_index=True)


def _failures(failed: pd.DataFrame, ok: pd.DataFrame) -> pd.DataFrame:
    """One row a failed instance and ranking; without a ranking of its own, of each the method has there."""
    known = ok[ENTRY].drop_duplicates().rename(columns={"ranking": "own"})
    whole = failed[failed["ranking"] == ""].merge(known, on=["dataset", "method"], how="left")
    whole["ranking"] = whole["own"].where(whole["own"].notna(), "")
    parts = [part for part in (failed[failed["ranking"] != ""], whole.drop(columns="own")) if len(part)]
    together = pd.concat(parts, ignore_index=True) if parts else failed
    return together.drop_duplicates(["method", "ranking", *INSTANCE])


def _refuse_mixed(known: pd.DataFrame) -> None:
    """Rows may only meet if they were clicked alike: all of a method, and those of several runs, as often in each."""
    strategies = known["click_strategy"].fillna("").astype(str) if "click_strategy" in known else ""
    asked = known[["dataset", "method", "run", "most"]].assign(strategy=strategies)
    protocols = asked.groupby(["dataset", "method", "run", "strategy"])["most"].max().reset_index()
    runs = protocols.groupby(["dataset", "run", "strategy"])["most"].max().reset_index()
    several = runs[runs.groupby("dataset")["run"].transform("nunique") > 1]
    for own in [part for _, part in (*protocols.groupby(ENTRY[:2]), *several.groupby("dataset"))]:
        if len(own[["strategy", "most"]].drop_duplicates()) > 1:
            named = zip(own["run"], own["strategy"], own["most"], strict=True)
            found = ", ".join(f"{run}: {most} {strategy}".strip() for run, strategy, most in named)
            raise UserError(
                f"summaries, {own['dataset'].iloc[0]}: rows of different click protocols ({found}); wanted one. "
                "Tabulate each run by itself."
            )


def _refuse_double(last: pd.DataFrame) -> None:
    double = last[last.duplicated(["method", "ranking", *INSTANCE])]
    if len(double):
        one = double.iloc[0]
        raise UserError(
            f"summaries, {one.dataset}: {one.method} ({one.ranking}) has {len(double)} rows twice, the first for "
            f"instance '{one.instance_id}' of image '{one.image_id}'; wanted one. Do not join a run with itself."
        )


def _refuse_several(rows: pd.DataFrame, by: list[str]) -> None:
    """A group that holds an instance twice mixes methods or rankings: no mean over instances."""
    if rows.duplicated(list(dict.fromkeys([*by, *INSTANCE]))).any():
        apart = [column for column in ("method", "ranking") if column not in by and rows[column].nunique() > 1]
        raise UserError(
            f"summaries: a mean would mix several of {', '.join(apart)}; wanted each instance once. "
            f"Group by {' and '.join(apart)} too, or keep the rows of one."
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
    wanted = [*INSTANCE, "click_index", "clicks", *metrics_in(a)]
    on = [*INSTANCE, "click_index"]
    return a[[*wanted, "seen"]].merge(b[wanted], on=on, suffixes=("_a", "_b"), validate="one_to_one")


def _refuse_other_clicks(pairs: pd.DataFrame, a: str, b: str) -> None:
    other = pairs[click_keys(pairs["clicks_a"]) != click_keys(pairs["clicks_b"])]
    if len(other):
        one = other.iloc[0]
        raise UserError(
            f"summaries, {one.dataset}: {a} and {b} had different clicks on {len(other)} of {len(pairs)} instances, "
            f"the first '{one.instance_id}' of image '{one.image_id}'; wanted the same. Compare them under a click "
            "strategy that does not look at their masks, and under one seed."
        )
