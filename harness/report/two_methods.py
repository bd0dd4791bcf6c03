"""A comparison of two methods as tables: the differences by slice, and the instances that changed most.

A line by slice reads as follows. On 40 instances in 25 images, a has a mean of 62.00 and b of 60.00:

    Difference +2.00     95 %  [+0.40, +3.60]     the images resampled, with all their instances
    p 0.018              how often signs flipped at random, image by image, give a difference as large
    q 0.054              the false-discovery rate among the slices; a mark (*) only below 0.05
    Win 22, Tie 6, Loss 12      instances on which a is better, equal, worse
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from harness.plugins.scale import NUMBER, Scale
from harness.report.layout import Cell, Column, Row, Table, limited_to
from harness.statistics.comparisons import Comparison
from harness.statistics.resampling import RESAMPLES

NAMES = {
    "dataset": "data set",
    "seen": "split",
    "same_class_count": "objects of the class",
    "under_click": "under the click",
    "category": "class",
    "click": "after click",
}
"""A slice's column -> its name in the table."""

FOUND = 0.05
"""A slice with a false-discovery rate below this is marked."""


def tables_of(found: Comparison, limited: str = "") -> tuple[Table, ...]:
    """The tables by slice, of the clicks needed (if a run had several clicks) and of the most changed instances.

    Args:
        found: The comparison.
        limited: As `Context.limited`, if a run was cut short.
    """
    tables = (by_slice(found), *([clicks_needed(found)] if len(found.noc) else []), most_changed(found))
    return tuple(limited_to(limited, table) for table in tables) if limited else tables


def by_slice(found: Comparison) -> Table:
    """A line for all instances, then one for each slice."""
    heads = ("Slice", "", found.a, found.b, "Difference", "95 %", "p", "q", "Win", "Tie", "Loss", "n", "Images")
    columns = tuple(Column(head, align="left" if index < 2 else "right") for index, head in enumerate(heads))
    lines = found.lines.to_dict("records")
    body = tuple(
        _row(line, found.scale, starts=index == 0 or line["slice"] != lines[index - 1]["slice"])
        for index, line in enumerate(lines)
    )
    title = f"{found.a} against {found.b}, {found.metric}{found.scale.said}"
    return Table(title, columns, body, tuple(_notes(found)))


def clicks_needed(found: Comparison) -> Table:
    """A line for each data set and quality."""
    heads = ("Dataset", "", found.a, found.b, "Difference", "95 %", "p", "n", "Images")
    columns = tuple(Column(head, align="left" if index < 2 else "right") for index, head in enumerate(heads))
    notes = (
        "NoC@q: mean clicks until the IoU is at least q %; an instance that never reaches it counts with all its "
        "clicks. Negative differences speak for the first. Each method's clicks follow its own masks, from the same "
        "first click. Over the instances on which both answered every click.",
    )
    body = tuple(_clicks_row(line) for line in found.noc.to_dict("records"))
    return Table(f"Clicks needed, {found.a} against {found.b}, {found.metric}", columns, body, notes)


def _clicks_row(line: dict[Any, Any]) -> Row:
    spread = "–" if math.isnan(line["low"]) else f"[{NUMBER.signed(line['low'])}, {NUMBER.signed(line['high'])}]"
    names = (line["dataset"], f"NoC@{100 * line['quality']:.0f}")
    numbers = (f"{line['a']:.2f}", f"{line['b']:.2f}", NUMBER.signed(line["difference"]), spread, _p(line["p"]))
    return Row(tuple(Cell(text) for text in (*names, *numbers, str(line["n"]), str(line["images"]))))


def most_changed(found: Comparison) -> Table:
    """The instances with the largest differences, first those in favour of a, then those in favour of b."""
    names = [name for name in found.changed.columns if name not in ("a", "b", "difference")]
    heads = [Column(name) for name in names]
    numbers = [Column(name, align="right") for name in (found.a, found.b, "Difference")]
    # With the metric's sign, since for pixels missed a smaller number is better. A new section starts at the first
    # instance for b, that is where `better` turns from True to False.
    better = found.scale.sign * found.changed["difference"] > 0
    starts = ~better & better.shift(fill_value=False)
    body = tuple(
        Row((*[Cell(str(line[name])) for name in names], *_means(line, found.scale)), starts_section=start)
        for line, start in zip(found.changed.to_dict("records"), starts, strict=True)
    )
    title = f"Most changed: {better.sum()} instances for {found.a}, {(~better).sum()} for {found.b}"
    return Table(title, (*heads, *numbers), body, (f"{found.metric} {_units(found.scale)}.",))


def _units(scale: Scale) -> str:
    if scale.is_share:
        return "in percent, differences in points"
    return f"in {scale.unit}, differences too" if scale.unit else "as the metric gives them, differences too"


def _means(line: dict[Any, Any], scale: Scale) -> Iterator[Cell]:
    yield from (Cell(scale.shown(line[name]), value=line[name], scale=scale) for name in ("a", "b"))
    low, high = line.get("low"), line.get("high")
    yield Cell(scale.signed(line["difference"]), value=line["difference"], low=low, high=high, scale=scale)


def _row(line: dict[Any, Any], scale: Scale, starts: bool) -> Row:
    spread = "–" if math.isnan(line["low"]) else f"[{scale.signed(line['low'])}, {scale.signed(line['high'])}]"
    counts = [Cell(str(line[name])) for name in ("win", "tie", "loss", "n", "images")]
    mark = "*" if line["q"] < FOUND else ""
    rates = (Cell(_p(line["p"])), Cell(_p(line["q"]) + mark))
    names = (Cell(NAMES.get(line["slice"], line["slice"])), Cell(line["value"]))
    return Row((*names, *_means(line, scale), Cell(spread), *rates, *counts), starts)


def _p(value: float) -> str:
    if math.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _notes(found: Comparison) -> Iterator[str]:
    scale = found.scale
    yield (
        f"Means {_units(scale)}, over the instances that both segmented from the same clicks. 95 %: the images are "
        f"resampled {RESAMPLES} times; p: the signs of their differences are flipped {RESAMPLES} times. q: the "
        f"false-discovery rate among the slices; * below {FOUND:g}. A tie is a difference of at most "
        f"{scale.factor * found.tie:g}{' points' if scale.is_share else f' {scale.unit}'.rstrip()}."
    )
    if not scale.higher_is_better:
        yield f"Less {found.metric} is better: negative differences speak for the first, and a win is a smaller value."
    compared, *last = found.clicks
    if set(last) != {compared}:
        yield (
            f"Compared after click {compared}, the last one up to which their clicks are the same; {found.a} went on "
            f"to click {last[0]}, {found.b} to click {last[1]}."
        )
    dropped = [f"{count} {why}" for why, count in found.dropped.items() if count]
    yield f"Instances that were not compared: {'; '.join(dropped)}." if dropped else "No instance was left out."
    for line in found.latency.to_dict("records"):
        if not math.isnan(line["ratio"]):
            named = line["cost"].removesuffix("_ms")
            yield f"{named}, median: {line['a']:.1f} ms against {line['b']:.1f} ms, ratio {line['ratio']:.3g}."
