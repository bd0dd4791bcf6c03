"""A comparison of two methods as tables: what it comes to by slice, and the instances that changed most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from harness.paired import Comparison
from harness.report.layout import Cell, Column, Row, Table, percent, signed
from harness.resampling import RESAMPLES

FOUND = 0.05
"""A slice with a false-discovery rate below this is marked."""


def tables_of(found: Comparison) -> tuple[Table, Table]:
    """The table by slice, and that of the most changed instances."""
    return by_slice(found), most_changed(found)


def by_slice(found: Comparison) -> Table:
    """All instances, then a line a slice."""
    heads = ("Slice", "", found.a, found.b, "Difference", "95 %", "p", "q", "Win", "Tie", "Loss", "n", "Images")
    columns = tuple(Column(head, align="left" if index < 2 else "right") for index, head in enumerate(heads))
    lines = found.lines.to_dict("records")
    body = tuple(
        _row(line, starts=index == 0 or line["slice"] != lines[index - 1]["slice"]) for index, line in enumerate(lines)
    )
    return Table(f"{found.a} against {found.b}, {found.metric}", columns, body, tuple(_notes(found)))


def most_changed(found: Comparison) -> Table:
    """The instances with the largest differences."""
    names = [name for name in found.changed.columns if name not in ("a", "b", "difference")]
    heads = [Column(name) for name in names]
    numbers = [Column(name, align="right") for name in (found.a, found.b, "Difference")]
    body = tuple(
        Row((*[Cell(str(line[name])) for name in names], *_means(line))) for line in found.changed.to_dict("records")
    )
    return Table(f"The {len(body)} instances that changed most", (*heads, *numbers), body)


def _means(line: dict[Any, Any]) -> Iterator[Cell]:
    yield from (Cell(percent(line[name]), value=line[name]) for name in ("a", "b"))
    yield Cell(signed(line["difference"]), value=line["difference"], low=line.get("low"), high=line.get("high"))


def _row(line: dict[Any, Any], starts: bool) -> Row:
    spread = "–" if math.isnan(line["low"]) else f"[{signed(line['low'])}, {signed(line['high'])}]"
    counts = [Cell(str(line[name])) for name in ("win", "tie", "loss", "n", "images")]
    mark = "*" if line["q"] < FOUND else ""
    rates = (Cell(_p(line["p"])), Cell(_p(line["q"]) + mark))
    return Row((Cell(line["slice"]), Cell(line["value"]), *_means(line), Cell(spread), *rates, *counts), starts)


def _p(value: float) -> str:
    if math.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _notes(found: Comparison) -> Iterator[str]:
    yield (
        f"Means in percent, differences in points, over the instances that both segmented from the same clicks. "
        f"95 % and p: images are drawn anew, or the signs of their differences flipped, {RESAMPLES} times. q: the "
        f"false-discovery rate among the slices; * below {FOUND:g}. A tie is a difference of at most "
        f"{100 * found.tie:g} points."
    )
    dropped = [f"{count} {why}" for why, count in found.dropped.items() if count]
    yield f"Not compared, instances: {'; '.join(dropped)}." if dropped else "No instance was left out."
    for line in found.latency.to_dict("records"):
        if not math.isnan(line["ratio"]):
            named = line["cost"].removesuffix("_ms")
            yield f"{named}, median: {line['a']:.1f} ms against {line['b']:.1f} ms, ratio {line['ratio']:.2f}."
