"""A run's rows -> the rows that means are over: each method's scores after its last click, checked and sorted.

A run has a row for each method, data set, instance, ranking and click. A table needs many means of them, so they are
checked and sorted once, into a `FinalClicks`, which every function takes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar, cast

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64, UInt64

from harness.storage.clicks import click_counts
from harness.storage.rows import TEXTS, as_text, coded, metrics_in, repeats
from harness.storage.truth import disputes
from harness.structures import UserError

INSTANCE = ["dataset", "image_id", "instance_id"]
"""The columns that identify an instance, over all data sets of a run."""

ASKED = [*INSTANCE, "draw"]
"""The columns that identify a prompted instance: it has one prompt for each draw of the click."""

ENTRY = ["dataset", "method", "ranking"]
"""The columns that identify a line of the leaderboard."""

SHOWN = ("iou", "boundary_iou")
"""The metrics that the tables show; rows that lack one of them have no value of it."""

DRAWS = "draws"
"""A key of the rows' `attrs`, set from the run's config: data set -> method -> draws of each instance."""

_LINE = ["method", "ranking", *INSTANCE]
"""The columns that identify a row that means are over."""

Made = TypeVar("Made")

_NEEDED = ["run", *ENTRY, "image_id", "instance_id", "seen", "clicks", "click_index", "status"]


@dataclass(frozen=True, eq=False)
class FinalClicks:
    """The rows that means are over, made once a report by `FinalClicks.of`.

    With two clicks an instance, method a finished instance 1 and failed on instance 2 at the second click:

        every:  a  1  click 1  IoU 0.4          rows:  a  1  click 2  IoU 0.7
                a  1  click 2  IoU 0.7                 a  2  failed
                a  2  click 1  IoU 0.5
                a  2  failed

    An instance that failed at any click has no final answer, so it counts as a failure and enters no mean. A failure
    before there were any masks has no ranking; it counts for each ranking that the method has on other instances.

    An instance with several prompts, for other draws of the click or for other partners, is still one instance. Its
    scores are means over its draws, and it failed if any of them did:

        drawn:  a  1  draw 0  IoU 0.4           rows:  a  1  IoU 0.5
                a  1  draw 1  IoU 0.6                  a  2  failed
                a  2  failed

    A mean over two of three draws would be over other clicks than the other methods' means. So an instance that lacks a
    draw is left out, like one that has no row at all, and counted in `partial`.

    Text columns are ordered categoricals (`storage.rows.coded`), unless `as_text` made them.

    Attributes:
        rows: A row for each instance, method and ranking, sorted by these three, with all columns of the run's rows.
            Over several draws the metrics and the pixel counts are means, and all other columns are the first draw's.
        every: The run's rows at every click, in any order; `where` leaves them whole.
        drawn: A row for each instance, draw, method and ranking: `rows` before the draws are averaged, and the same
            table if there is one draw.
        withheld: Data set -> the reason why none of its rows is here: its methods did not get the same prompts.
        partial: (method's label, data set's label) -> how many instances lack some of their draws.
    """

    rows: pd.DataFrame
    every: pd.DataFrame
    drawn: pd.DataFrame
    withheld: Mapping[str, str] = field(default_factory=dict)
    partial: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: pd.DataFrame | FinalClicks, withhold: bool = False) -> FinalClicks:
        """Check rows and keep the final ones; a `FinalClicks` is returned as it is, since it is checked already.

        Args:
            rows: The rows of a run, as the store holds them, or those of several runs.
            withhold: Leave out the data sets whose methods did not get the same prompts, and list them in `withheld`.

        Raises:
            UserError: Columns are missing, rows are double, the rows of several runs follow different protocols, or
                methods did not get the same prompts and `withhold` is False.
        """
        if isinstance(rows, FinalClicks):
            return rows
        every = _checked(rows)
        withheld = disputes(every)
        if withheld and not withhold:
            raise UserError(" ".join(withheld.values()))
        every = every[~every["dataset"].isin(withheld)] if withheld else every
        last, lacking = _last(every)
        drawn = every.take(last["at"].to_numpy()).reset_index(drop=True)
        drawn["ranking"] = last["ranking"]
        _refuse_double(drawn)
        every = _without(every, lacking)
        return cls(_over_draws(drawn), drawn if len(drawn) == len(every) else every, drawn, withheld, _counted(lacking))

    def where(self, kept: pd.Series[bool] | Bool[np.ndarray, " rows"]) -> FinalClicks:
        """A part of the final rows, with their draws, such as the rows of one method or of a slice."""
        rows = self.rows[np.asarray(kept, dtype=bool)]
        if self.drawn is self.rows:
            return replace(self, rows=rows, drawn=rows)
        return replace(self, rows=rows, drawn=self.drawn[_of_lines(self.drawn, rows)])

    def where_drawn(self, kept: pd.Series[bool] | Bool[np.ndarray, " drawn"]) -> FinalClicks:
        """Some of the draws, as if no others had been made, such as those whose click lies in several objects."""
        drawn = self.drawn[np.asarray(kept, dtype=bool)]
        return replace(self, rows=_over_draws(drawn), drawn=drawn)

    def scored(self, metric: str) -> FinalClicks:
        """The instances that have a value of the metric in every draw, with all their draws.

        Of an instance that lacks the value in one draw, the other draws are left out, too: by these alone it would
        count by other clicks than with the other methods. So this has the instances of a mean over `rows`.
        """
        return self.where((self.rows["status"] == "ok") & self.rows[metric].notna())

    def as_text(self) -> FinalClicks:
        """The same with plain text columns, which are slower but allow every operation of pandas."""
        rows, every, drawn = map(as_text, (self.rows, self.every, self.drawn))
        return replace(self, rows=rows, every=every, drawn=rows if self.drawn is self.rows else drawn)

    def once(self, make: Callable[..., Made], *arguments: Hashable) -> Made:
        """What a function makes of these rows; asked for again, such as by the next table, it is not made again."""
        kept = self._made
        key = make, *arguments
        if key not in kept:
            kept[key] = make(self, *arguments)
        return cast(Made, kept[key])

    @cached_property
    def _made(self) -> dict[Hashable, object]:
        return {}  # Not a field: `replace` would hand it on to a `FinalClicks` of other rows.

    @property
    def segmented(self) -> pd.DataFrame:
        """The rows with a mask."""
        return self.rows[self.rows["status"] == "ok"]

    @cached_property
    def listed(self) -> Mapping[str, int]:
        """Data set -> how many of its instances have any row, at any click, by any method, failed or not."""
        sizes = self.every[INSTANCE].drop_duplicates().groupby("dataset").size()
        return {str(dataset): int(count) for dataset, count in sizes.items()}

    @cached_property
    def keys(self) -> UInt64[np.ndarray, " rows"]:
        """A hash of each row's instance: equal for one instance in every run, else different but for 1 in 2^64."""
        return pd.util.hash_pandas_object(self.rows[INSTANCE], index=False).to_numpy(np.uint64)

    @cached_property
    def entries(self) -> tuple[list[tuple[str, str, str]], Int64[np.ndarray, " rows"]]:
        """Each data set, method and ranking, sorted; and for each row, the index of its own among these."""
        groups = self.rows.groupby(ENTRY, sort=True, dropna=False)
        return list(groups.size().index), groups.ngroup().to_numpy(np.int64)

    @cached_property
    def clicks_made(self) -> tuple[int, int] | None:
        """The fewest and the most clicks that an instance had at the end; None where nothing was segmented."""
        counts = click_counts(self.segmented["clicks"])
        return (int(counts.min()), int(counts.max())) if len(counts) else None


def at_click(rows: pd.DataFrame, number: int) -> pd.DataFrame:
    """The rows as if the protocol had ended after this many clicks; every other function then computes means of those.

    A failure stays, unless its instance was segmented at this click and failed later.
    """
    rows = _checked(rows)
    ok = rows["status"] == "ok"
    key = ["method", *ASKED]
    reached = pd.MultiIndex.from_frame(rows.loc[ok & (rows["click_index"] == number), key])
    failed = ~ok & ~pd.MultiIndex.from_frame(rows[key]).isin(reached)
    return rows[(ok & (rows["click_index"] <= number)) | failed]


def _checked(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with all columns that means need, the shown metrics as floats, and "" for no ranking."""
    if rows.empty:
        rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *_NEEDED])))
    missing = [column for column in _NEEDED if column not in rows]
    if missing:
        raise UserError(
            f"summaries: the rows lack {', '.join(missing)}; wanted a run's rows as the store writes them. "
            "Read them from runs/<run>/ of this version, or run again."
        )
    ranking = rows["ranking"]
    if ranking.isna().any():
        ranking = ranking.astype(object).where(ranking.notna(), "")
    texts = [name for name in TEXTS if name in rows and not isinstance(rows[name].dtype, pd.CategoricalDtype)]
    metrics = {name: rows[name].astype(float) if name in rows else np.nan for name in SHOWN}
    draw = rows["draw"].fillna(0).astype(int) if "draw" in rows else 0
    return coded(rows.assign(ranking=ranking, draw=draw, **metrics), {*texts, "ranking"})


def _last(every: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The final rows, and those rows of the last click that are left out since a draw of their instance is missing.

    Both have few columns, and `at`, the row's place in `every`: a run may have millions of wide rows, so the full rows
    are picked once at the end.
    """
    asked = every[_asked(every)].assign(at=np.arange(len(every)), most=click_counts(every["clicks"]))
    segmented = every["status"] == "ok"
    known = asked[segmented]
    _refuse_mixed(known)
    # Three steps: find the failures, one row for each ranking; keep the rows of the last click, without the instances
    # that failed at any click; leave out those that lack a draw. At the end the failures are added again.
    failed = _failures(_sorted(asked[~segmented]), known)
    last = known[known["click_index"] == known.groupby(ENTRY[:2])["click_index"].transform("max")]
    last = _without(last, failed)
    lacking = last[_lack_draws(last)]
    last = _without(last, lacking)
    if len(failed):
        last = pd.concat([last, failed.astype({"ranking": last["ranking"].dtype})])
    return _sorted(last), lacking


def _asked(rows: pd.DataFrame) -> list[str]:
    """The columns that identify the prompt of a row; as few as possible, since there may be millions of rows."""
    known = [name for name in ("click_strategy", "click_options", "partner") if name in rows]
    return [*INSTANCE, "draw", "method", "ranking", "run", "click_index", *known]


def _sorted(rows: pd.DataFrame) -> pd.DataFrame:
    order = [*INSTANCE, "method", "ranking", "draw", "click_index", "run"]
    return rows.sort_values(order, kind="stable", ignore_index=True)


def first_draw(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each instance's first draw, such as for a picture of one click."""
    return rows[rows["draw"].fillna(0) == 0] if "draw" in rows else rows


def over_draws(values: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The means of values over the draws of each instance, method and ranking; missing values are left out.

    Args:
        values: Columns of numbers, a line for each row.
        rows: The rows, from `FinalClicks.drawn`, or of one method and ranking without their names.

    Returns:
        A line for each instance, method and ranking, with the index of its first draw; `values` itself if each has one.
    """
    line = [name for name in _LINE if name in rows]
    # All rows of one draw are of different instances, which is seen much sooner than that no row is double.
    if ("draw" in rows and rows["draw"].nunique() < 2) or not rows.duplicated(line).any():
        return values
    groups = rows.groupby(line, sort=False).ngroup().to_numpy()
    first = ~pd.Series(groups).duplicated().to_numpy()
    return values.groupby(groups, sort=False).mean().set_axis(values.index[first])


_PIXELS = ("intersection_px", "union_px", "gt_area_px", "pred_area_px")


def _over_draws(drawn: pd.DataFrame) -> pd.DataFrame:
    """A row for each instance, method and ranking, with mean scores; a score that one draw lacks becomes missing."""
    first = ~repeats(drawn, _LINE)
    if first.all():
        return drawn
    scored = [name for name in (*metrics_in(drawn), *_PIXELS) if name in drawn]
    values = drawn[scored].astype(float)
    # 1 where every draw has the score: the mean of yes and no is 1 only if all are yes. A mean over the draws that
    # happen to have it would be over other clicks than the other methods' means.
    whole = over_draws(values.notna().astype(float), drawn) == 1
    return drawn[first].assign(**over_draws(values, drawn).where(whole))


def _of_lines(rows: pd.DataFrame, lines: pd.DataFrame) -> Bool[np.ndarray, " rows"]:
    """Whether each row's instance, method and ranking are among those of the lines."""
    found: Bool[np.ndarray, " rows"] = pd.MultiIndex.from_frame(rows[_LINE]).isin(
        pd.MultiIndex.from_frame(lines[_LINE])
    )
    return found


def _without(rows: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """The rows whose instance, method and ranking are not among those of the lines."""
    return rows[~_of_lines(rows, lines)] if len(lines) else rows


def _lack_draws(last: pd.DataFrame) -> Bool[np.ndarray, " last"]:
    """Whether each row's instance has fewer draws than it was asked for.

    The number of draws comes from the run's config. Rows without it (`DRAWS`) are expected to have as many draws as the
    method has on any instance. An instance with partners has a draw for each partner, so its number is its own: the
    most that any method has of that instance.
    """
    said: Mapping[str, Mapping[str, int]] = last.attrs.get(DRAWS, {})
    most = max((draws for own in said.values() for draws in own.values()), default=1)
    if most == 1 and not last["draw"].any():
        return np.zeros(len(last), bool)
    wanted = np.ones(len(last), np.int64)
    for method, dataset in last[["method", "dataset"]].drop_duplicates().itertuples(index=False, name=None):
        own = ((last["method"] == method) & (last["dataset"] == dataset)).to_numpy(bool)
        wanted[own] = said.get(dataset, {}).get(method) or last.loc[own, "draw"].nunique()
    if "partner" in last and last["partner"].notna().any():
        rule = [name for name in ("click_strategy", "click_options") if name in last]
        by_partner = last.groupby([*INSTANCE, *rule], sort=False, dropna=False)["draw"].transform("nunique")
        wanted = np.where(last["partner"].notna(), by_partner, wanted)
    made = last.groupby(_LINE, sort=False)["draw"].transform("size").to_numpy()
    return np.asarray(made < wanted)


def _counted(lacking: pd.DataFrame) -> dict[tuple[str, str], int]:
    """(Method, data set) -> how many instances the rows have; with several rankings, in the one that has most."""
    if lacking.empty:
        return {}
    each = lacking.drop_duplicates(_LINE).groupby(["method", "dataset", "ranking"]).size()
    most = each.groupby(["method", "dataset"]).max().reset_index(name="count")
    return {(method, dataset): count for method, dataset, count in most.itertuples(index=False, name=None)}


def _failures(failed: pd.DataFrame, ok: pd.DataFrame) -> pd.DataFrame:
    """One row for each failed instance and ranking; a failure without a ranking counts for all that its method has."""
    # A failure before any mask has no ranking. The left join copies it for each ranking the method has, and leaves it
    # once, with "", where the method has none:
    #
    #    a  1  failed, ranking ""            a  1  failed, "confidence"
    #    a has "confidence" and "clip"  ->   a  1  failed, "clip"
    if failed.empty:
        return failed
    known = as_text(ok.loc[~repeats(ok, ENTRY), ENTRY].drop_duplicates()).rename(columns={"ranking": "own"})
    failed = as_text(failed)
    whole = failed[failed["ranking"] == ""].merge(known, on=["dataset", "method"], how="left")
    whole["ranking"] = whole["own"].where(whole["own"].notna(), "")
    parts = [part for part in (failed[failed["ranking"] != ""], whole.drop(columns="own")) if len(part)]
    together = pd.concat(parts, ignore_index=True) if parts else failed
    return together.drop_duplicates(_LINE)


def _refuse_mixed(known: pd.DataFrame) -> None:
    """Refuse rows of different click protocols: of one method, or of several runs with the same data set."""
    asked = known if "click_strategy" in known else known.assign(click_strategy="")
    # One run with one click rule cannot mix protocols. This short cut matters: on few rows the check below takes as
    # long as everything else together.
    if all(asked[column].nunique(dropna=False) < 2 for column in ("run", "click_strategy")):
        return
    protocols = asked.groupby(["dataset", "method", "run", "click_strategy"], dropna=False)["most"].max().reset_index()
    protocols["strategy"] = protocols["click_strategy"].astype("str").fillna("")
    # Two checks: each method has one protocol wherever it has rows, and the runs of one data set have one protocol.
    # The second takes the most clicks of any method, since in a corrective run some methods may have failed early.
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
    double = last[repeats(last, [*_LINE, "draw"])]
    if len(double):
        one = double.iloc[0]
        raise UserError(
            f"summaries, {one.dataset}: {one.method} ({one.ranking}) has {len(double)} rows twice, the first for "
            f"instance '{one.instance_id}' of image '{one.image_id}'; wanted one. Do not join a run with itself."
        )
