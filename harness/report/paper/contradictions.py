"""Printed means that cannot both be right, or hardly: one model in two tables, or two lines of one table.

`findings` looks at a line and its neighbours in one table; this file compares the paper's tables with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.report.paper.findings import SHARES, Finding, halved, model
from harness.report.paper.rows import Published

AS_MUCH = 0.95
"""If a single negative click gives at least this share of the text's gain, the finding says that it gives as much."""


def contradictions(rows: Sequence[Published]) -> Iterator[Finding]:
    """The findings of all rules of this file on printed lines."""
    for rule in (_lists, _supervised, _negative_clicks):
        yield from rule(rows)


def _lists(rows: Sequence[Published]) -> Iterator[Finding]:
    """One model's means by two metrics, whose seen shares exclude each other: they are over two lists of instances."""
    lines = halved(rows)
    for index, row, share in lines:
        earlier = [(one, at) for _, one, at in lines if one.table < row.table and model(one) == model(row)]
        apart = [(one, at) for one, at in earlier if share[1] > at[2] or at[1] > share[2]]
        for other, there in [(one, at) for one, at in apart if one.metric != row.metric][:1]:
            said = (
                f"The printed means imply a seen share of {share[1]:.3f} to {share[2]:.3f}; those of the same model "
                f"in Table {other.table} imply {there[1]:.3f} to {there[2]:.3f}: the instances are not the same."
            )
            yield Finding("lists", index, (), said)


def _supervised(rows: Sequence[Published]) -> Iterator[Finding]:
    """A model trained on all classes whose mean is below what it has on the seen ones when trained on these alone."""
    for index, row in enumerate(rows):
        few = next((one for one in rows if one.train_classes == "seen" and _trained_alike(one, row)), None)
        if row.train_classes != "all" or few is None or few.seen is None or row.overall >= few.seen:
            continue
        # If more training classes took nothing from the seen ones, their mean is still at least `few.seen`. The rest of
        # the overall mean must then come from the others: 70 = 0.8 * 75 + 0.2 * x gives x = 50.
        share = SHARES[row.dataset]
        rest = (row.overall - share * few.seen) / (1 - share)
        said = (
            f"Trained on all classes, {row.method} has {row.overall:.2f} on all classes; trained on the seen classes "
            f"alone, it has {few.seen:.2f} on them (Table {few.table}). If training on more classes did not lower "
            f"this mean, the other classes have {rest:.2f}, although they were trained on."
        )
        yield Finding("supervised", index, ("overall",), said)


def _trained_alike(one: Published, other: Published) -> bool:
    """Whether two lines are of one model, apart from the classes that it was trained on."""
    given = [(*model(row)[:-1], row.metric) for row in (one, other)]
    return given[0] == given[1]


def _negative_clicks(rows: Sequence[Published]) -> Iterator[Finding]:
    """A negative click that gives click-only as much as the text does."""
    for index, row in enumerate(rows):
        if (row.text, row.positive_clicks, row.negative_clicks) != ("none", 1, 1):
            continue
        beside = [one for one in rows if _place(one) == _place(row) and _clicks(one) == (1, 0)]
        base = next((one.overall for one in beside if one.method == row.method), None)
        text = next((one.overall for one in beside if one.text != "none"), None)
        if base is not None and text is not None and row.overall - base >= AS_MUCH * (text - base):
            said = (
                f"One negative click gives {row.method} {row.overall - base:+.2f}; the text gives {text - base:+.2f}."
            )
            yield Finding("negative click", index, ("overall",), said)


def _place(row: Published) -> tuple[object, ...]:
    return row.table, row.dataset, row.train_data, row.train_classes


def _clicks(row: Published) -> tuple[int, int]:
    return row.positive_clicks, row.negative_clicks
