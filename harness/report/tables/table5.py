"""The paper's Table 5: text or none, with two positive and one negative click, one click, and one of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.comparison import (
    CLICK,
    OURS,
    answers,
    base,
    gains,
    left_out,
    players,
    printed_beside,
    printed_cell,
    with_text,
)
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, best_of_columns
from harness.report.paper.rows import Published
from harness.report.scores import NO_ROWS, about, counted, failures, gaps, mean_cell, named, scores
from harness.statistics.final_clicks import FinalClicks
from harness.storage.clicks import click_counts

TRAINED = (
    "published: as the paper's Table 5 prints it, not measured here; one network for each number of clicks, trained "
    "on all classes."
)


@dataclass(frozen=True)
class Setting:
    """The prompt that a method is given: with text or without, and the numbers of positive and negative clicks."""

    text: bool
    positive: int
    negative: int

    @property
    def said(self) -> str:
        """`text, 2+1`: with text, two positive and one negative click."""
        return f"{'text' if self.text else 'no text'}, {self.positive}+{self.negative}"


PRINTED = (Setting(True, 2, 1), Setting(False, 2, 1), Setting(True, 1, 0), Setting(False, 1, 0), Setting(False, 1, 1))
"""The paper's lines."""

Asked = Mapping[str, Setting]
"""Method's label -> its setting."""


@register_table("table5")
def table5(final: FinalClicks, context: Context) -> Table:
    """Overall means, a line for each setting and method, a column for each data set; the paper's beneath ours."""
    asked = asked_with(final, context)
    lines = _lines(final, context, list(asked))
    datasets = list(dict.fromkeys(lines["dataset"])) if len(lines) else []
    settings = dict.fromkeys([*PRINTED, *asked.values()])  # the paper's settings, and then those that only we have
    body = [row for setting in settings for row in _section(setting, asked, lines, datasets, final, context)]
    heads = [Column("Text", align="center"), Column("Pclicks", align="right"), Column("Nclicks", align="right")]
    columns = (*heads, Column("Method"), *[Column(name, "mIoU", "right") for name in datasets])
    notes = [f"{line['dataset']}, {named(line)}: {counted(line)}." for _, line in lines.iterrows()]
    notes += [note for name in datasets for note in _gains(name, asked, lines, final, context)]
    absent = [setting.said for setting in PRINTED if setting not in asked.values()]
    notes += [f"No method of this run was asked with: {'; '.join(absent)}."] if absent else []
    notes += ["Means over instances, in percent.", *([TRAINED] if any(row.quoted for row in body) else [])]
    notes += left_out(5, final, context)
    title = "Table 5: text, positive and negative clicks"
    shown = best_of_columns(body, range(len(heads) + 1, len(columns)))
    return Table(title, columns, shown, tuple(notes) if lines.size else (NO_ROWS,))


def asked_with(final: FinalClicks, context: Context) -> dict[str, Setting]:
    """The setting of every method that any row shows with its clicks, in the config's order."""
    rows = final.every
    if rows.empty:
        return {}
    # Numbered from 0, as `iloc` below counts, and not by the rows' own index, which may have gaps.
    counts = pd.Series(click_counts(rows["clicks"]))
    # The row with the most clicks of each method, by its place: in a corrective protocol the earlier rows have fewer.
    most = counts[counts > 0].groupby(rows["method"].reset_index(drop=True)).idxmax()
    found = {}
    for method in [*context.labels, *sorted(set(most.index) - set(context.labels))]:
        if method in most:
            clicks = rows["clicks"].iloc[most[method]]
            positive = sum(bool(click["positive"]) for click in clicks)
            found[method] = Setting(with_text(method, final, context), positive, len(clicks) - positive)
    return found


def _lines(final: FinalClicks, context: Context, methods: Sequence[str]) -> pd.DataFrame:
    """The lines of `scores` of each method by itself, since methods here get different clicks.

    `scores` over all of them would refuse a gain, and put a footnote on every mean, because the clicks differ. Here the
    table's lines say how each was clicked.
    """
    parts = [
        answers(scores(final.where(final.rows["method"] == method), _only(context, method)), context)
        for method in methods
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _only(context: Context, method: str) -> Context:
    expected = {key: count for key, count in context.expected_instances.items() if key[0] == method}
    return replace(context, labels={method: context.facts(method)}, expected_instances=expected)


def _section(
    setting: Setting,
    asked: Asked,
    lines: pd.DataFrame,
    datasets: Sequence[str],
    final: FinalClicks,
    context: Context,
) -> Iterator[Row]:
    """One setting's lines: ours, then the paper's."""
    head = (Cell("✓" if setting.text else ""), Cell(str(setting.positive)), Cell(str(setting.negative)))
    starts = True
    methods = [name for name, own in asked.items() if own == setting]
    bases = [base(method, context) for method in methods]
    for method, entry in zip(methods, bases, strict=True):
        # Variants that differ in their words or click rule alone share a setting; only their labels tell them apart.
        name = method if bases.count(entry) > 1 else entry
        own = lines[lines["method"] == method]
        said = tuple(dict.fromkeys(note for _, line in own.iterrows() for note in about(line, final, context)))
        yield Row((*head, Cell(name, said), *_means(own, datasets, final)), starts_section=starts)
        starts = False
    printed = {name: _printed(setting, printed_beside(5, name, final, context)) for name in datasets}
    if any(printed.values()):
        label = next(row.label for row in printed.values() if row)
        said = tuple(dict.fromkeys(flag for row in printed.values() if row for flag in row.whole))
        means = [printed_cell(row, "overall") if row else Cell() for row in printed.values()]
        yield Row((*head, Cell(label, said), *means), starts_section=starts, quoted=True)


def _means(own: pd.DataFrame, datasets: Sequence[str], final: FinalClicks) -> Iterator[Cell]:
    for dataset in datasets:
        found = own[own["dataset"] == dataset]
        line: pd.Series[Any] | None = found.iloc[0] if len(found) else None
        # The table compares settings with different clicks, so only the instances must be the same.
        cell = Cell() if line is None else replace(mean_cell(line), alike=line["alike"][0][0])
        yield cell if line is None else replace(cell, notes=gaps(line) + failures(line, final))


def _printed(setting: Setting, rows: Sequence[Published]) -> Published | None:
    """The paper's number for a setting, among those that it prints for a data set."""
    for row in rows:
        if Setting(row.text != "none", row.positive_clicks, row.negative_clicks) == setting:
            return row
    return None


def _gains(dataset: str, asked: Asked, lines: pd.DataFrame, final: FinalClicks, context: Context) -> Iterator[str]:
    """The gain of the text for each number of clicks: ours over click-only, on the instances that both segmented."""
    whole = lines[(lines["dataset"] == dataset) & lines["mean"].notna()]
    ours, click = (players(part, whole, final, context) for part in (OURS, CLICK))
    for a in ours:
        for b in click:
            if (asked[a].positive, asked[a].negative) == (asked[b].positive, asked[b].negative) and asked[a].text:
                yield from gains(final, dataset, _answer(whole, a), _answer(whole, b))[1]


def _answer(lines: pd.DataFrame, method: str) -> tuple[str, str]:
    return method, str(lines.loc[lines["method"] == method, "ranking"].iloc[0])
