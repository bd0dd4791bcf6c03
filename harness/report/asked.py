"""Writes the line under a table that says how its methods were asked: clicks, words, data and seed.

Asked: 1 click by paper/v1 (margin 0.35); text given; text none for Click only; scenes val; seed 0.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.report.context import Asked, Context
from harness.report.layout import Table

Ways = Mapping[tuple[str, str], Asked]
"""(method's label, data set's label) -> how the run asked."""

HASH = 12
"""Characters of a file's hash that are shown."""

MOST = 4
"""Ways of clicking, or of wording, that a line spells out."""


def with_asked(table: Table, context: Context) -> Table:
    """The table with the line as its last note."""
    line = asked_line(context.asked)
    return replace(table, notes=(*table.notes, line)) if line else table


def asked_lines(runs: Mapping[str, Ways]) -> list[str]:
    """A single line if it is the same for all runs; otherwise a line for each run, with its folder."""
    lines = {folder: line for folder, asked in runs.items() if (line := asked_line(asked))}
    if len(set(lines.values())) < 2:
        return list(dict.fromkeys(lines.values()))
    return [f"{folder}. {line}" for folder, line in lines.items()]


def asked_line(asked: Ways) -> str:
    """`Asked: 1 click by paper/v1 (margin 0.35); text given; scenes val; seed 0.`; "" if nothing is known.

    The usual clicks and texts come first, then the others with the methods that got them.
    """
    if not asked:
        return ""
    clicks = _told({key: clicks_said(one) for key, one in asked.items()}, "click rules; the rows name each")
    texts = _told({key: f"text {one.text}" for key, one in asked.items()}, "text rules; the rows name each")
    data = dict.fromkeys(f"{dataset} {one.split}".strip() for (_, dataset), one in asked.items())
    seeds = dict.fromkeys(f"seed {one.seed}" for one in asked.values())
    return f"Asked: {'; '.join([clicks, texts, ', '.join(data), *seeds])}."


def clicks_said(asked: Asked) -> str:
    """`1 click by paper/v1 (margin 0.35)`, with `, 5 draws` if there are several; `no click` for text or box alone."""
    start = asked.options.get("start")
    begun = f", from {start['rule']}{_listed(start['options'])}" if start else ""
    draws = f", {asked.draws} draws" if asked.draws > 1 else ""
    if not asked.max_clicks:
        return f"no click{begun}{draws}"
    options = {name: value for name, value in asked.options.items() if name != "start"}
    count = f"{asked.max_clicks} click{'s' * (asked.max_clicks > 1)}"
    return f"{count} by {asked.clicks}{_listed(options)}{begun}{draws}"


def _listed(options: Mapping[str, Any]) -> str:
    """` (margin 0.35)`; "" without options."""
    told = [f"{name} {_value(name, value)}" for name, value in options.items() if value not in (None, "")]
    return f" ({', '.join(told)})" if told else ""


def _value(name: str, value: object) -> str:
    """An option's value as text; only the first digits of a file's hash, which the rows keep whole."""
    if not isinstance(value, str):
        return json.dumps(value)
    return value[:HASH] if name == "sha256" else value


def _told(ways: Mapping[tuple[str, str], str], many: str) -> str:
    """The most frequent way, then each other one with its methods."""
    counts = Counter(ways.values())
    if len(counts) > MOST:
        return f"{len(counts)} {many}"
    usual, *others = [way for way, _ in counts.most_common()]
    return "; ".join([usual, *(f"{way} for {_names(ways, way)}" for way in others)])


def _names(ways: Mapping[tuple[str, str], str], way: str) -> str:
    return ", ".join(dict.fromkeys(method for (method, _), own in ways.items() if own == way))
