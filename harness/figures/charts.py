"""Rows -> charts as numbers: Figure 8, seen against unseen, size, ambiguity, depth, IoU by click, and IoU by time.

A metric of the run's own has the same charts, in its own unit and within its own bounds.

Means are over instances at the last click; 95 % intervals come from resampling the images. A mean that a table leaves
blank, because rows are missing, is in no chart; the chart's notes name it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from harness.plugins.scale import Scale
from harness.report.context import Context
from harness.report.scores import named, numbers, of_line, scored, scores
from harness.report.tables.slices import DEPTHS, DISTRACTORS, SIZES
from harness.statistics.costs import ms_an_instance
from harness.statistics.final_clicks import INSTANCE, FinalClicks, over_draws
from harness.statistics.means import Rows, by_image
from harness.statistics.resampling import intervals_of_means
from harness.storage.rows import MEASURED


@dataclass(frozen=True)
class Series:
    """The numbers of one method and ranking, one for each group of the chart; NaN for a group without instances.

    `at` is a point's place along x; bars and lines are at their groups.
    """

    name: str
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    counts: tuple[int, ...]
    at: float = math.nan


@dataclass(frozen=True)
class Chart:
    """A chart as numbers. The report page draws it by a script, and `drawing.py` for paper.

    Attributes:
        name: The name of its file: "figure8_coco".
        dataset: The data set's label.
        kind: Bars, with a cluster for each group; lines over the groups; or points, each at its series' `at` on a
            logarithmic x.
        x: The heading of the groups.
        groups: The groups' names along x.
        series: One for each line of the leaderboard, in its order.
        notes: Sentences for the reader.
        y: The name of the numbers, with their unit.
        factor: Drawn number / number: 100 if they are drawn in percent.
        ends: The ends of the axis, in drawn numbers; None if the metric has no bound.
    """

    name: str
    dataset: str
    title: str
    kind: Literal["bars", "lines", "points"]
    x: str
    groups: tuple[str, ...]
    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()
    y: str = "mean IoU, %"
    factor: int = 100
    ends: tuple[float | None, float | None] = (0, 100)

    def of(self, metric: str, scale: Scale) -> Chart:
        """The same chart for a metric of the run's own: with its name, unit and bounds."""
        unit = f", {scale.printed_in}" if scale.printed_in else ""
        better = "" if scale.higher_is_better else ", lower is better"
        ends = [scale.factor * bound if math.isfinite(bound) else None for bound in scale.bounds]
        y = f"mean {metric}{unit}{better}"
        named = replace(self, name=f"{self.name}_{metric}", title=f"{self.title}: {metric}")
        return replace(named, y=y, factor=scale.factor, ends=(ends[0], ends[1]))


@dataclass(frozen=True, eq=False)
class Cut:
    """A way to cut the instances of a data set into groups.

    Attributes:
        column: The column of the rows that is cut; "seen" for the split's halves.
        ranges: Group -> the least value, and the value that it stays below; empty for the split's halves.
        unseen: Whether only unseen classes count, if the data set has a split.
    """

    name: str
    title: str
    x: str
    column: str
    ranges: Mapping[str, tuple[float, float]]
    unseen: bool = False

    def groups(self, own: pd.DataFrame) -> dict[str, pd.Series[bool]]:
        """For each group, whether each row is in it; no group if a row has no value in the column."""
        # Comparisons with NaN are false: instances without a split are neither seen nor unseen.
        seen = numbers(own["seen"])
        everything = pd.Series(True, own.index)
        if self.column == "seen":
            halves = {"all": everything, "seen classes": seen == 1, "unseen classes": seen == 0}
            return halves if has_split(own) else {}
        values = numbers(own[self.column])
        if own.empty or values.isna().any():
            return {}
        counted = seen == 0 if self.unseen and has_split(own) else everything
        return {name: (values >= low) & (values < high) & counted for name, (low, high) in self.ranges.items()}


def has_split(own: pd.DataFrame) -> bool:
    """Whether the rows are of a data set with a split into seen and unseen classes."""
    return bool(numbers(own["seen"]).notna().any())


CUTS = (
    Cut("seen_unseen", "Seen and unseen classes", "classes", "seen", {}),
    Cut("figure8", "Figure 8: by objects of the same class in the image", "objects of the class", DISTRACTORS.column,
        DISTRACTORS.ranges, unseen=True),
    Cut("size", "By size of the object", "area, COCO's bounds", SIZES.column, SIZES.ranges),
    Cut("ambiguity", "By how many objects lie under the click", "objects under the click", "under_click",
        {"1": (0, 2), "2": (2, 3), "3 and more": (3, np.inf)}),
    Cut("click_depth", "By depth of the click", "pixels from the click to the border", DEPTHS.column, DEPTHS.ranges),
)  # fmt: skip

BY_CLICK = "iou_by_click"
BY_TIME = "iou_by_time"


def charts(rows: Rows, context: Context) -> list[Chart]:
    """Every chart that the rows have the columns for, data set by data set."""
    final = FinalClicks.of(rows)
    own = [metric for metric in context.own_metrics if metric in final.rows]
    made = list(_of_metric(final, context, "iou"))
    made += [chart.of(metric, context.scale(metric)) for metric in own for chart in _of_metric(final, context, metric)]
    return [_marked(chart, context.limited) for chart in made] if context.limited else made


def _of_metric(final: FinalClicks, context: Context, metric: str) -> Iterator[Chart]:
    """A metric's charts, data set by data set."""
    lines = scores(final, context, metric)
    found = scored(final, [cut.column for cut in CUTS], metric, by_draw=True)
    for dataset in lines["dataset"].unique():
        own = found[found["dataset"] == dataset]
        listed = lines[lines["dataset"] == dataset]
        yield from _sliced(own, listed, dataset, metric)
        every = final.every[final.every["dataset"] == dataset]
        yield from _by_click(every, own, listed, dataset, metric)
        if metric == "iou":
            yield from _by_time(every, own, listed, dataset)


def _marked(chart: Chart, limited: str) -> Chart:
    """Say that the run was cut short, as the tables do."""
    return replace(chart, title=f"LIMITED to {limited}: {chart.title}")


def _sliced(own: pd.DataFrame, lines: pd.DataFrame, dataset: str, metric: str) -> Iterator[Chart]:
    cuts = {cut: groups for cut in CUTS if (groups := cut.groups(own))}
    masks = {(cut.name, group): mask for cut, groups in cuts.items() for group, mask in groups.items()}
    answered = [(line, _measured(of_line(own, line), masks, metric)) for line in _whole(lines)]
    for cut, groups in cuts.items():
        keys = [(cut.name, group) for group in groups]
        series = tuple(_series(named(line), numbers, keys) for line, numbers in answered)
        counts = max((sum(one.counts) for one in series), default=0)
        if counts:
            classes = ", unseen classes" if cut.unseen and has_split(own) else ""
            title = f"{cut.title}{classes}, {dataset}"
            yield Chart(f"{cut.name}_{dataset}", dataset, title, "bars", cut.x, tuple(groups), series, _left_out(lines))


def _by_click(rows: pd.DataFrame, own: pd.DataFrame, lines: pd.DataFrame, dataset: str, metric: str) -> Iterator[Chart]:
    """The metric after each click, of the instances that got to the last one."""
    ok = rows[(rows["status"] == "ok") & rows[metric].notna()]
    clicks = sorted(ok["click_index"].unique())
    if len(clicks) < 2:
        return
    # Otherwise a later point would be over fewer instances than an earlier one, most likely the easy ones, and the
    # curve would rise for that reason alone.
    ok = _to_the_last(ok, own, ["click_index", metric])
    masks = {click: ok["click_index"] == click for click in clicks}
    answered = [(line, _measured(of_line(ok, line), masks, metric)) for line in _whole(lines)]
    series = tuple(_series(named(line), numbers, list(clicks)) for line, numbers in answered)
    groups = tuple(str(click) for click in clicks)
    title = f"{'IoU' if metric == 'iou' else 'Value'} by click, {dataset}"
    yield Chart(f"{BY_CLICK}_{dataset}", dataset, title, "lines", "clicks", groups, series, _left_out(lines))


def _by_time(rows: pd.DataFrame, own: pd.DataFrame, lines: pd.DataFrame, dataset: str) -> Iterator[Chart]:
    """Each method's mean IoU and its time for the same instances; no chart if the run kept no times."""
    everything = {"all": pd.Series(True, own.index)}
    series = []
    # One that failed at a later click has the times of a part of its clicks, and no IoU.
    rows = _to_the_last(rows, own, [name for name in ("draw", "status", *MEASURED) if name in rows])
    for line in _whole(lines):
        spent, measured = ms_an_instance(of_line(rows, line)), _measured(of_line(own, line), everything, "iou")
        if np.isfinite(spent) and spent > 0:
            series.append(replace(_series(named(line), measured, ["all"]), at=spent))
    if series:
        title = f"IoU by time, {dataset}"
        notes = ("Measured by the run's workers, on their machines.", *_left_out(lines))
        x = "ms per instance: all its clicks, and its share of the image's encoding"
        yield Chart(f"{BY_TIME}_{dataset}", dataset, title, "points", x, ("all",), tuple(series), notes)


def _to_the_last(rows: pd.DataFrame, own: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of the rows at every click, of the instances in `own`: those with a score after the last click."""
    key = [*INSTANCE, "method", "ranking"]
    return rows[[*key, *columns]].merge(own[key].drop_duplicates(), on=key)


def _measured(own: pd.DataFrame, masks: Mapping[Any, pd.Series[bool]], metric: str) -> pd.DataFrame:
    """A line for each group's mask of rows: mean, low, high and count of these rows."""
    # A column a group, NaN where an instance is not in it: one drawing of the images answers for all groups of all
    # charts. A bootstrap for each bar would take as many times as long.
    values = pd.DataFrame({place: own[metric].where(mask[own.index]) for place, mask in enumerate(masks.values())})
    values = over_draws(values, own)
    sums, counts = by_image(own.loc[values.index], values)
    low, high = intervals_of_means(sums, counts)
    whole = {"mean": values.mean().to_numpy(), "low": low, "high": high, "n": values.count().to_numpy()}
    return pd.DataFrame(whole, index=pd.Index(list(masks), tupleize_cols=False))


def _series(name: str, measured: pd.DataFrame, keys: list[Any]) -> Series:
    places = [list(measured.index).index(key) for key in keys]
    of = measured.iloc[places]
    means, lows, highs = (tuple(float(value) for value in of[column]) for column in ("mean", "low", "high"))
    return Series(name, means, lows, highs, tuple(int(n) for n in of["n"]))


def _whole(lines: pd.DataFrame) -> list[pd.Series[Any]]:
    """The lines without missing rows and with at least one score."""
    return [line for _, line in lines.iterrows() if line["missing"] == 0 and line["n"]]


def _left_out(lines: pd.DataFrame) -> tuple[str, ...]:
    lacking = [
        f"{named(line)} is not drawn: {line['missing']} instances have no row."
        for _, line in lines.iterrows()
        if line["missing"]
    ]
    failed = [f"{named(line)}: {line['failed']} failed." for line in _whole(lines) if line["failed"]]
    last = lines["clicks"].max()
    early = [
        f"{named(line)}: {_when(line['clicks'])}, where others had up to {last:.0f}."
        for line in _whole(lines)
        if line["clicks"] < last
    ]
    return (*lacking, *failed, *early)


def _when(clicks: float) -> str:
    return f"after click {clicks:.0f}, its last" if clicks else "by its text, without a click"
