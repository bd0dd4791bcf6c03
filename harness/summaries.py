"""Rows -> mean IoU, seen and unseen shares, bootstrap intervals and paired gains.

Rows are the store's: one per method x data set x instance x ranking x click_index. Every mean here is a mean over
instances at the protocol's last click; a failed row has no IoU, enters no mean and is counted instead. All results
are deterministic and independent of the rows' order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from harness.metrics import METRICS
from harness.structures import UserError

INSTANCE = ["dataset", "image_id", "instance_id"]
"""What names an instance, over all data sets of a run."""

ENTRY = ["dataset", "method", "ranking"]
"""What names a line of the leaderboard."""

RESAMPLES = 2000

_COLUMNS = ["run", *ENTRY, "image_id", "instance_id", "seen", "clicks", "click_index", "status"]
_OPTIONAL = ["dataset_plugin", "method_plugin", "category", "text", "click_strategy", "same_class_count", "error"]


@dataclass(frozen=True)
class Interval:
    """A mean, 0 to 1, with its 95 % interval; the bounds are NaN where fewer than two images were there."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Gain:
    """Mean difference between two methods, -1 to 1, over the n instances that both segmented; its 95 % interval."""

    difference: float
    low: float
    high: float
    n: int


def final_clicks(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that a table means over, sorted: scores at the data set's largest click_index, and the failures.

    A failed row without a ranking counts as a failure of each of the method's rankings, once an instance. Applied
    to its own result it changes nothing.

    Raises:
        UserError: Columns are missing, rows are double, or the rows of several runs follow different protocols.
    """
    rows = _sorted(_checked(rows))
    ok = rows[rows["status"] == "ok"]
    _refuse_mixed(ok)
    failed = _failures(rows[rows["status"] != "ok"], ok)
    last = ok[ok["click_index"] == ok.groupby("dataset")["click_index"].transform("max")]
    _refuse_double(last)
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


def mean_iou(rows: pd.DataFrame, metric: str = "iou") -> float:
    """Mean over instances at the last click, 0 to 1; NaN where nothing was scored.

    Args:
        rows: Of one method and one ranking.
        metric: A name in METRICS.
    """
    rows = final_clicks(rows)
    _refuse_several(rows, [])
    return float(_scores(rows, metric).mean())


def summarise(rows: pd.DataFrame, by: Sequence[str] = ENTRY, metric: str = "iou") -> pd.DataFrame:
    """One line a group, sorted by it.

    Args:
        rows: The store's; `at_click` of them to summarise an earlier click.
        by: Columns that name a group; each instance may stand in a group once.
        metric: A name in METRICS.

    Returns:
        The columns of `by`, then mean, n (instances in it), failed, unscored (segmented, but without this
        metric), seen and unseen (means over their halves), n_seen, n_unseen and w = n_seen / (n_seen + n_unseen),
        so that mean = w * seen + (1 - w) * unseen. A mean over nothing is NaN.
    """
    by, rows = list(by), final_clicks(rows)
    _refuse_several(rows, by)
    facts = _facts(rows, metric)
    keys = [rows[column] for column in by]
    lines = facts.groupby(keys, sort=True, dropna=False).agg(
        mean=("score", "mean"),
        n=("score", "count"),
        failed=("failed", "sum"),
        unscored=("unscored", "sum"),
        seen=("seen", "mean"),
        unseen=("unseen", "mean"),
        n_seen=("seen", "count"),
        n_unseen=("unseen", "count"),
    )
    lines["w"] = lines["n_seen"] / (lines["n_seen"] + lines["n_unseen"]).replace(0, np.nan)
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
    counts = rows.loc[rows["status"] == "ok", "clicks"].map(len)
    return (int(counts.min()), int(counts.max())) if len(counts) else None


def mean_interval(rows: pd.DataFrame, metric: str = "iou", resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The mean of one method and ranking with its 95 % interval, by resampling images."""
    rows = final_clicks(rows)
    _refuse_several(rows, [])
    scores = _scores(rows, metric)
    low, high = _bootstrap(rows, scores, resamples, seed)
    return Interval(float(scores.mean()), low, high, int(scores.count()))


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
        metric: A name in METRICS.
        resamples: How many bootstrap samples of the images.
        seed: Of the resampling.

    Raises:
        UserError: Their clicks differ, so that the difference would not be the methods' own.
    """
    rows = final_clicks(rows)
    pairs = _pairs(_entry(rows, a), _entry(rows, b))
    _refuse_other_clicks(pairs, _named(a), _named(b))
    difference = pairs[f"{metric}_a"] - pairs[f"{metric}_b"]
    low, high = _bootstrap(pairs, difference, resamples, seed)
    return Gain(float(difference.mean()), low, high, int(difference.count()))


def interval_of_means(
    sums: Float64[np.ndarray, " g"], counts: Float64[np.ndarray, " g"], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of sum / count when the g clusters are drawn anew, g of them with replacement.

    Instances of one image resemble each other, so images are drawn, not instances (Field and Welsh, "Bootstrapping
    clustered data", 2007). NaN for fewer than two clusters, whose spread nobody can tell.
    """
    if len(sums) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, 2_000_000 // len(sums))  # 16 MB of draws at a time, however many images
    for start in range(0, resamples, step):
        drawn = rng.integers(len(sums), size=(min(step, resamples - start), len(sums)))
        means[start : start + step] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _bootstrap(rows: pd.DataFrame, scores: pd.Series[float], resamples: int, seed: int) -> tuple[float, float]:
    images = scores.groupby([rows["dataset"], rows["image_id"]], sort=True).agg(["sum", "count"])
    images = images[images["count"] > 0]
    return interval_of_means(
        images["sum"].to_numpy(dtype=np.float64), images["count"].to_numpy(dtype=np.float64), resamples, seed
    )


def _scores(rows: pd.DataFrame, metric: str) -> pd.Series[float]:
    return rows[metric].where(rows["status"] == "ok")


def _facts(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    score, ok = _scores(rows, metric), rows["status"] == "ok"
    return pd.DataFrame(
        {
            "score": score,
            "failed": (~ok).astype(int),
            "unscored": (ok & score.isna()).astype(int),
            "seen": score.where(_is(rows["seen"], True)),
            "unseen": score.where(_is(rows["seen"], False)),
        }
    )


def _is(column: pd.Series[bool], value: bool) -> pd.Series[bool]:
    """Equal, where null equals nothing; whether Parquet gave bools, objects or nullable booleans."""
    return column.eq(value).fillna(False).astype(bool)


def _checked(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that means need, without the masks, so that sorting moves little."""
    if rows.empty:
        rows = rows.reindex(columns=_COLUMNS)
    missing = [column for column in _COLUMNS if column not in rows]
    if missing:
        raise UserError(
            f"summaries: the rows lack {', '.join(missing)}; wanted a run's rows as the store writes them. "
            "Read them from runs/<run>/ of this version, or run again."
        )
    kept = rows[_COLUMNS + [column for column in _OPTIONAL if column in rows]].copy()
    for name in METRICS:
        kept[name] = rows[name].astype(float) if name in rows else np.nan
    kept["ranking"] = kept["ranking"].astype(object).where(kept["ranking"].notna(), "")
    return kept


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


def _refuse_mixed(ok: pd.DataFrame) -> None:
    """Rows may only meet if they were clicked alike: by one strategy, and in every run as often."""
    strategies = ok["click_strategy"].fillna("").astype(str) if "click_strategy" in ok else ""
    counted = ok.assign(strategy=strategies, most=ok["clicks"].map(len))
    protocols = counted.groupby(["dataset", "run", "strategy"])["most"].max().reset_index()
    for dataset, runs in protocols.groupby("dataset"):
        if len(runs[["strategy", "most"]].drop_duplicates()) > 1:
            named = zip(runs["run"], runs["strategy"], runs["most"], strict=True)
            found = ", ".join(f"{run}: {most} {strategy}".strip() for run, strategy, most in named)
            raise UserError(
                f"summaries, {dataset}: rows of different click protocols ({found}); wanted one. "
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
    wanted = [*INSTANCE, "click_index", "clicks", *METRICS]
    return a[wanted].merge(b[wanted], on=[*INSTANCE, "click_index"], suffixes=("_a", "_b"), validate="one_to_one")


def _refuse_other_clicks(pairs: pd.DataFrame, a: str, b: str) -> None:
    other = pairs[pairs["clicks_a"].map(_click_key) != pairs["clicks_b"].map(_click_key)]
    if len(other):
        one = other.iloc[0]
        raise UserError(
            f"summaries, {one.dataset}: {a} and {b} had different clicks on {len(other)} of {len(pairs)} instances, "
            f"the first '{one.instance_id}' of image '{one.image_id}'; wanted the same. Compare them under a click "
            "strategy that does not look at their masks, and under one seed."
        )


def _click_key(clicks: object) -> tuple[tuple[int, int, bool], ...]:
    """The clicks of a row as plain values, whether Parquet gave a list or an array of mappings."""
    listed = clicks if hasattr(clicks, "__iter__") else ()
    return tuple((click["x"], click["y"], bool(click["positive"])) for click in listed)
