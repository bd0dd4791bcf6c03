"""The lines of a table: every method's means, with notes on missing rows, doubts and other things to know."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from harness.report.asked import clicks_said
from harness.report.context import Context, MethodFacts
from harness.report.layout import Cell, RowsOf, with_interval
from harness.statistics.expected import no_rows, told_of
from harness.statistics.final_clicks import ENTRY, FinalClicks
from harness.statistics.means import MEANS, by_image, instance_sets, summarise
from harness.statistics.resampling import intervals_of_means

NO_ROWS = "No rows."

READS_TEXT = (
    "Its masks change with the words, and it does not say whether it uses them: say `uses_text: true` under the method "
    "in the config, or in its class."
)


def scores(final: FinalClicks, context: Context, metric: str = "iou") -> pd.DataFrame:
    """The summary of every method, ranking and data set, in the config's order, and blank where it is not whole.

    Returns:
        The columns of `summarise`, with intervals where the context asks for them, and these further ones:

        - `missing`: how many of the expected instances have no row; below zero, how many rows are too many. The
          context says how many are expected; if it does not, all instances that any method's rows name are. If some
          are missing the means are NaN, for a mean over a part of the instances is another number.
        - `doubts`: sentences that a reader must know before comparing the line with others.
        - `scale`: the metric's scale.
        - `alike`: three keys, for the mean, the seen mean and the unseen mean. A key stands for the instances that the
          mean is over and for how they were clicked. Only means with equal keys may be compared.
        - `as_worst`: the mean with each failure counted as the metric's worst value (0 for a share), over all
          instances that any method of the data set answered or failed on; NaN where the metric has no worst value.

        A method without any row has a line too, with ranking "".
    """
    if metric not in final.rows:  # The run did not measure it.
        final = replace(final, rows=final.rows.assign(**{metric: math.nan}))
    lines = _with_absent(final.once(summarise, tuple(ENTRY), metric, context.intervals), context)
    pairs = list(zip(lines["method"], lines["dataset"], strict=True))
    lines = _whole(lines, pairs, final, context)
    # Two means may be compared if they are over the same instances, which were clicked in the same way. An entry's
    # instances are identified by three hashes, of all, the seen and the unseen ones, together with the way of clicking.
    sets = final.once(instance_sets, metric)
    keys = [sets.get(tuple(entry), (0, 0, 0)) for entry in lines[ENTRY].itertuples(index=False)]
    ways = [clicks_said(context.asked[pair]) if pair in context.asked else "" for pair in pairs]
    alike = [tuple((key, way) for key in own) for own, way in zip(keys, ways, strict=True)]
    lines = lines.assign(alike=_objects(lines, alike), asked_by=_objects(lines, ways))
    # The number of instances that a mean with failures is over. Where every method has scored every listed instance it
    # is known at once; otherwise the rows must be searched, which takes longer.
    of = final.listed if lines["n"].eq(lines["dataset"].map(final.listed)).all() else told_of(final, metric)
    scale = context.scale(metric)
    lines["as_worst"] = _as_worst(lines, of, scale.worst)
    told = {"doubts": _objects(lines, doubts(lines)), "scale": _objects(lines, [scale] * len(lines))}
    return _in_order(lines.assign(**told), context)


def _whole(lines: pd.DataFrame, pairs: Sequence[tuple[str, str]], final: FinalClicks, context: Context) -> pd.DataFrame:
    """The lines with the number of rows that each method lacks on each data set; without means if any are lacking."""
    known = context.expected_instances
    expected = [known[pair] if pair in known else final.listed.get(pair[1], 0) for pair in pairs]
    # Every instance with a row is in exactly one of these three counts.
    found = lines[["n", "failed", "unscored"]].sum(axis=1)
    missing = pd.Series(expected, index=lines.index, dtype=int) - found
    return lines.assign(
        missing=missing,
        partial=[final.partial.get(pair, 0) for pair in pairs],
        uncounted=[context.uncounted.get(pair, 0) for pair in pairs],
        **{name: lines[name].astype(float).where(missing == 0) for name in ("mean", "seen", "unseen", "w")},
    )


def _objects(lines: pd.DataFrame, values: Sequence[Any]) -> pd.Series[Any]:
    """A column of objects. pandas would make several columns of a list of tuples, and this keeps it from that."""
    return pd.Series(values, index=lines.index, dtype=object)


def mean_cell(line: pd.Series[Any], column: str = "mean", more: str = "") -> Cell:
    """A cell with a mean of a line of `scores`, its footnotes, and its interval and n if the line has them.

    Args:
        line: A line of `scores`.
        column: "mean", "seen" or "unseen".
        more: Text after the number, such as a gain in parentheses.
    """
    value, n, scale = float(line[column]), int(line["n" if column == "mean" else f"n_{column}"]), line["scale"]
    alike = line["alike"][MEANS.index(column)]
    rows = RowsOf(str(line["dataset"]), named(line), {"seen": True, "unseen": False}.get(column))
    cell = Cell(scale.shown(value) + more, gaps(line), value, n=n, scale=scale, alike=alike, rows=rows)
    return with_interval(cell, line[f"{column}_low"], line[f"{column}_high"]) if f"{column}_low" in line else cell


def _as_worst(lines: pd.DataFrame, of: Mapping[str, int], worst: float) -> list[float]:
    """Each line's mean, where instances without a score count as the worst value."""
    found = []
    for mean, n, dataset in zip(lines["mean"], lines["n"], lines["dataset"], strict=True):
        rest = of.get(dataset, 0) - n
        # Eight instances of ten have a mean of 0.75, two failed, and 0 is the worst: (8 * 0.75 + 2 * 0) / 10 = 0.60.
        # The worst value may be infinite, as a distance's is; 0 times that would be NaN, so no rest adds nothing.
        value = (n * mean + (rest * worst if rest else 0)) / of[dataset] if dataset in of and n else math.nan
        found.append(value if math.isfinite(value) else math.nan)
    return found


def named(line: pd.Series[Any]) -> str:
    """`SAM ViT-H (confidence)`; the label alone if the method has one answer."""
    return str(line["method"]) + (f" ({line['ranking']})" if line["ranking"] not in ("single", "") else "")


def gaps(line: pd.Series[Any]) -> tuple[str, ...]:
    """Footnotes on a line of `scores`: why it lacks a mean, or why it must not be compared."""
    found = int(line["n"] + line["failed"] + line["unscored"])
    missing, unscored = int(line["missing"]), int(line["unscored"])
    notes = []
    if missing > 0:
        some = f"{'At least ' if line.get('uncounted') else ''}{missing} of {found + missing}"
        notes.append(f"{some} instances {no_rows(line.get('partial', 0))}; a mean over the others is not shown.")
    if missing < 0:
        notes.append(f"{found} instances where {found + missing} were expected; their mean is not shown.")
    if unscored and line["n"]:
        notes.append(f"{unscored} of {found} instances were segmented but not scored, and are not in the mean.")
    elif unscored:
        notes.append(f"None of {unscored} segmented instances has this score: the run's metrics lack it, or it is NaN.")
    return (*notes, *line.get("doubts", ()))


def about(line: pd.Series[Any], final: FinalClicks, context: Context) -> tuple[str, ...]:
    """Footnotes on a line's weights: training data, training images among those asked, notes."""
    facts, plugin = context.facts(line["method"]), plugin_of(final, line["dataset"])
    notes = [READS_TEXT] if facts.reads_text else []
    if facts.trained_on and plugin and plugin not in _domains(facts):
        notes.append(f"Out of domain: trained on {facts.trained_on}, evaluated on {plugin}.")
    again = context.training_images_asked.get((line["method"], line["dataset"]), 0)
    if again:
        notes.append(f"Trained on {again} of the images that it is evaluated on here: not a result on new images.")
    notes += filter(None, [context.seen_otherwise.get((line["method"], line["dataset"]))])
    if facts.weights:
        notes.append(f"Weights: {facts.weights}")
    return tuple(notes)


def _domains(facts: MethodFacts) -> set[str]:
    """The data sets of a method's training: by their plugins, and by the words of a name such as "COCO + LVIS"."""
    named = facts.trained_on or ""
    return {named, *facts.trained_data, *re.findall(r"[a-z0-9]+", named.lower())}


def plugin_of(final: FinalClicks, dataset: str) -> str:
    """The plugin of a data set's label, by its rows; "" if they name none."""
    if "dataset_plugin" not in final.rows:
        return ""
    named = final.rows.loc[final.rows["dataset"] == dataset, "dataset_plugin"].dropna()
    return str(named.min()) if len(named) else ""


def failures(line: pd.Series[Any], final: FinalClicks) -> tuple[str, ...]:
    """A footnote that says why a line has no mask at all; none if it has one."""
    if line["n"] or not line["failed"]:
        return ()
    own = of_line(final.rows, line)
    reasons = own["error"].dropna() if "error" in own else own["status"].iloc[:0]
    said = f", most often: {reasons.value_counts().index[0]}" if len(reasons) else ""
    return (f"All {line['failed']} failed{said}",)


def counted(line: pd.Series[Any]) -> str:
    """The counts of a line of `scores`: `n = 2801, w = 0.819, failed 0`."""
    share = "–" if math.isnan(line["w"]) else f"{line['w']:.3f}"
    return f"n = {line['n']}, w = {share}, failed {line['failed']}"


def iou_heading(made: tuple[int, int] | None, name: str = "mIoU") -> str:
    """`mIoU@1`, the mean after one click; without the number if `clicks_made` differ, or are none."""
    return f"{name}@{made[0]}" if made and made[0] == made[1] and made[0] else name


def _clicks(made: float) -> str:
    return f"{made:.0f} click{'s' if made > 1 else ''}"


NAMES = {"iou": "mIoU", "boundary_iou": "boundary mIoU"}
"""A metric -> the name of its mean in a heading; other metrics have their own names."""


def metric_heading(made: tuple[int, int] | None, metric: str, context: Context) -> str:
    """`iou_heading` of any metric, with its unit if it is no share, and with "lower is better" if that is so."""
    return iou_heading(made, NAMES.get(metric, metric)) + context.scale(metric).said


def clicks_note(made: tuple[int, int] | None) -> tuple[str, ...]:
    """A note on how many clicks the instances had, if not all had the same number."""
    return (f"Clicks per instance: {made[0]} to {made[1]}.",) if made and made[0] != made[1] else ()


def scored(final: FinalClicks, columns: Sequence[str] = (), metric: str = "iou", by_draw: bool = False) -> pd.DataFrame:
    """The final rows that have a score, with some columns of the store, which are NaN if the run lacks them.

    Args:
        final: The run's rows.
        columns: The columns.
        metric: The metric that must have a value, in every draw of the instance.
        by_draw: A row for each draw of an instance, for columns that depend on the click; then means are those of
            `over_draws`.
    """
    known = final.once(FinalClicks.scored, metric)
    found = known.drawn if by_draw else known.rows
    absent = [column for column in columns if column not in found]
    return found.assign(**dict.fromkeys(absent, np.nan)) if absent else found


def of_line(rows: pd.DataFrame, line: pd.Series[Any]) -> pd.DataFrame:
    """The rows of a line's data set, method and ranking."""
    own = [(rows[name] == line[name]).to_numpy(bool) for name in ENTRY]
    return rows[np.logical_and.reduce(own)]


def numbers(column: pd.Series[Any]) -> pd.Series[float]:
    """A column as floats, with NaN for null, however pandas read it."""
    return pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), index=column.index)


def with_intervals(means: Sequence[Cell], values: pd.DataFrame, rows: pd.DataFrame, context: Context) -> Sequence[Cell]:
    """The cells of means, each with its 95 % interval and n if the context wants them.

    Args:
        means: A cell for each column of `values`; one without a value stays as it is.
        values: The values that the means are of, a line for each instance; NaN if an instance is not in a mean.
        rows: The same lines with `dataset` and `image_id`, since images are resampled.
        context: The table's context.
    """
    if not context.intervals:
        return means
    return [with_interval(cell, *ends) for cell, ends in zip(means, bounds(values, rows), strict=True)]


def bounds(values: pd.DataFrame, rows: pd.DataFrame) -> list[tuple[float, float]]:
    """95 % intervals of the columns' means, by resampling images; the arguments are those of `with_intervals`."""
    low, high = intervals_of_means(*by_image(rows, values))
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _with_absent(lines: pd.DataFrame, context: Context) -> pd.DataFrame:
    present = set(zip(lines["method"], lines["dataset"], strict=True))
    # A method that is expected and has no row at all gets a line with dashes. If it were left out, a method that failed
    # to start would look as if the config did not name it.
    wanted = context.expected_instances or itertools.product(context.labels, lines["dataset"].unique())
    absent = [
        {"dataset": dataset, "method": method, "ranking": ""}
        for method, dataset in wanted
        if (method, dataset) not in present
    ]
    if not absent:
        return lines
    added = pd.DataFrame(absent).reindex(columns=lines.columns)
    # pandas fills the new lines with NaN, by which columns of counts become floats; they are made integers again.
    counts = ["n", "failed", "unscored", "n_seen", "n_unseen"]
    together = pd.concat([lines, added], ignore_index=True) if len(lines) else added
    return together.assign(**{count: together[count].fillna(0).astype(int) for count in counts})


def _in_order(lines: pd.DataFrame, context: Context) -> pd.DataFrame:
    """Sort the lines by data set, method and ranking, in the config's order; others come last, by name."""
    methods = list(context.labels)
    datasets = list(dict.fromkeys(dataset for _, dataset in context.expected_instances))

    def key(column: pd.Series[str]) -> pd.Series[str]:
        order = {"method": methods, "dataset": datasets}.get(str(column.name), [])
        # Places as text, with zeros before them, so that "000000010" comes after "000000009"; what has no place in the
        # config gets the last one, and its name decides.
        return column.map(lambda name: f"{order.index(name) if name in order else len(order):09d} {name}")

    return lines.sort_values(["dataset", "method", "ranking"], key=key, ignore_index=True)


def doubts(lines: pd.DataFrame) -> list[tuple[str, ...]]:
    """For each line of `scores` the sentences that a reader must know before comparing it with others."""
    all_lines = lines.to_dict("records")
    shown: dict[str, list[Mapping[Any, Any]]] = {}
    for line in all_lines:
        if not math.isnan(line["mean"]):
            shown.setdefault(line["dataset"], []).append(line)
    return [tuple(_doubts(line, shown.get(line["dataset"], ()))) for line in all_lines]


def _doubts(line: Mapping[Any, Any], shown: Sequence[Mapping[Any, Any]]) -> Iterator[str]:
    """The doubts about one line; `shown` are the lines of its data set that have a mean."""
    halves = line["n_seen"] + line["n_unseen"]
    if 0 < halves < line["n"]:
        yield (
            f"{line['n'] - halves} of {line['n']} instances are neither seen nor unseen; only the overall mean "
            "includes them."
        )
    if math.isnan(line["mean"]):
        return
    # Three things that make a mean incomparable, in the order of their weight: fewer clicks, fewer instances, or as
    # many instances but others. `alike` has a key for each of three means; [0][0] is the hash of all instances behind
    # the mean.
    made, last = line["clicks"], max(one["clicks"] for one in shown)
    if made < last:
        own = f"After {_clicks(made)}, this method's last" if made else "Without a click"
        others = f"{last:.0f}" if made else _clicks(last)
        yield f"{own}; others had up to {others}: gains and ranks compare only methods that had the same clicks."
    most = max(one["n"] for one in shown)
    if line["n"] < most:
        yield (
            f"Over {line['n']} instances, others over {most}: it has no rank and is never marked as the best; gains "
            "are over the same instances."
        )
    elif other := [one for one in shown if one["n"] == most and one["alike"][0][0] != line["alike"][0][0]]:
        yield f"Over {line['n']} instances, not those of {other[0]['method']}: the means cannot be compared."
    # Two networks never have three means that agree to the last bit, over more than one instance: one of them is a
    # copy.
    means = [line[name] for name in MEANS]
    equal = [one for one in shown if one["n"] == line["n"] > 1 and one["method"] != line["method"]]
    if same := [one for one in equal if np.array_equal([one[name] for name in MEANS], means, equal_nan=True)]:
        yield f"Every mean equals that of {same[0]['method']}: the same weights, or a number that was copied?"
