"""Finds faults in printed means by arithmetic on the means alone.

A printed overall, seen and unseen mean imply w = (overall - unseen) / (seen - unseen), the share of seen instances.
Each number was rounded, so w is known within bounds. If these exclude the data set's own share, or the share of
another line of the same table, the numbers cannot all be right:

    overall 60.00, seen 62.00, unseen 50.00      w = 10 / 12 = 0.833, with rounding 0.8325 to 0.8342
    a data set with a share of 0.82              fits, as 0.82 is within 0.02
    seen and unseen swapped                      w = -2 / -12 = 0.167, which is the share of unseen instances
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.report.paper.rows import HALVES, MEANS, Published

SHARES = {"voc": 2801 / 3422, "coco": 20631 / 36335, "refcoco": 0.693, "openimages": 0.239}
"""Data set plugin -> the share of seen instances: counted in VOC 2012 val and COCO val2017 without crowds, and what
Table 1 implies in both lines of the others."""

SHARE_TOLERANCE = 0.02
"""A list of instances may differ by rules on crowds and small objects; a share further off is another list or split."""

ROUNDING = 0.005
"""The largest distance of a number printed with two digits from the true one, to either side."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: The check that found it.
        row: The index of the printed line that it is about; None if it is about the text alone.
        columns: The means that it is about; empty for the whole line.
        text: A sentence for a footnote.
        where: The place in the text, if it is about no line.
    """

    rule: str
    row: int | None
    columns: tuple[str, ...]
    text: str
    where: str = ""


def implied_share(overall: float, seen: float, unseen: float, rounding: float = ROUNDING) -> tuple[float, float, float]:
    """The share of seen instances that three means in percent imply, with the bounds that rounding allows.

    NaN with infinite bounds if seen and unseen may be equal.
    """
    if abs(seen - unseen) <= 2 * rounding:
        return float("nan"), float("-inf"), float("inf")
    # w is monotonic in each of the three means while the denominator keeps its sign, which was just made sure of. So
    # its extremes over all true values are at the eight corners, each mean rounded down or up.
    steps = itertools.product((-rounding, rounding), repeat=3)
    corners = [(overall + a - unseen - c) / (seen + b - unseen - c) for a, b, c in steps]
    return (overall - unseen) / (seen - unseen), min(corners), max(corners)


def findings(rows: Sequence[Published]) -> list[Finding]:
    """The findings of all rules of this file on printed lines."""
    rules = (_shares, _instances, _gains, _changed, _repeated, _boundaries, _metrics)
    return [found for rule in rules for found in rule(rows)]


def _shares(rows: Sequence[Published]) -> Iterator[Finding]:
    """Lines whose means do not fit the data set's seen share; the finding says if they do once seen and unseen swap."""
    for index, row in enumerate(rows):
        if row.seen is None or row.unseen is None or row.dataset not in SHARES:
            continue
        share, known = implied_share(row.overall, row.seen, row.unseen), SHARES[row.dataset]
        if _fits(share, known):
            continue
        swapped = implied_share(row.overall, row.unseen, row.seen)
        if _fits(swapped, known):
            yield Finding("share", index, HALVES, _swapped(rows, row, share[0], swapped[0], known))
        else:
            said = (
                f"The printed means imply a seen share of {share[0]:.3f}, or {swapped[0]:.3f} if seen and unseen are "
                f"swapped; neither is the data set's, about {known:.3f}."
            )
            yield Finding("share", index, (), said)


def halved(rows: Sequence[Published]) -> list[tuple[int, Published, tuple[float, float, float]]]:
    """The lines that print both halves, without those that look swapped: index, line and implied share."""
    swapped = {found.row for found in _shares(rows) if found.columns == HALVES}
    return [
        (index, row, implied_share(row.overall, row.seen, row.unseen))
        for index, row in enumerate(rows)
        if row.seen is not None and row.unseen is not None and index not in swapped
    ]


def _swapped(rows: Sequence[Published], row: Published, share: float, swapped: float, known: float) -> str:
    others = [one for one in rows if (one.table, one.dataset) == (row.table, row.dataset) and one.method != row.method]
    against = "".join(f" {one.method}'s is {one.unseen:.2f}." for one in others if one.unseen is not None)
    return (
        f"Seen and unseen look swapped: as printed they imply a seen share of {share:.3f}, swapped back "
        f"{swapped:.3f}, and the data set has about {known:.3f}. Swapped back, the unseen mean is "
        f"{row.seen:.2f};{against}"
    )


def _instances(rows: Sequence[Published]) -> Iterator[Finding]:
    """Lines of one table and data set whose bounds on the seen share do not overlap."""
    for (i, one, a), (j, other, b) in itertools.combinations(halved(rows), 2):
        if _group(one) == _group(other) and (a[1] > b[2] or b[1] > a[2]):
            said = (
                f"The printed means imply a seen share of {a[0]:.3f} for {one.method} and of {b[0]:.3f} for "
                f"{other.method}: they were not computed on the same instances, or divide the classes differently."
            )
            yield from (Finding("instances", index, (), said) for index in (i, j))


def _gains(rows: Sequence[Published]) -> Iterator[Finding]:
    """Printed gains that are not the difference of the printed means."""
    for index, row in enumerate(rows):
        base = next((one for one in rows if _group(one) == _group(row) and one.text == "none"), None)
        for name in MEANS if base else ():
            printed, value, other = row.gains.get(name), getattr(row, name), getattr(base, name)
            # Rounded means may differ by 0.01 from a gain that was computed before rounding.
            if printed is not None and abs(printed - (value - other)) > 2 * ROUNDING + 1e-6:
                said = f"The paper prints this gain as {printed:+.2f}; its own means give {value - other:+.2f}."
                yield Finding("gain", index, (name,), said)


def _changed(rows: Sequence[Published]) -> Iterator[Finding]:
    """One model's mean on one data set, printed with another value in an earlier table."""
    for index, row in enumerate(rows):
        before = [one for one in rows if one.table < row.table and _asked(one) == _asked(row)]
        for name in MEANS if before else ():
            here, there = getattr(row, name), getattr(before[0], name)
            if None not in (here, there) and here != there:
                said = f"The printed {name} mean is {here:.2f}; Table {before[0].table} prints {there:.2f}"
                mended = _mended(row, name, there)
                yield Finding("changed", index, (name,), f"{said} for the same model{mended}.")


def _mended(row: Published, name: str, value: float) -> str:
    """`, with which the seen share is 0.820`, if the other value would mend the line; else ""."""
    means = {one: getattr(row, one) for one in MEANS} | {name: value}
    if None in means.values() or row.dataset not in SHARES:
        return ""
    share = implied_share(**means)
    return f", with which the seen share is {share[0]:.3f}" if _fits(share, SHARES[row.dataset]) else ""


def _repeated(rows: Sequence[Published]) -> Iterator[Finding]:
    """A half's mean that equals another method's to both digits on the same data set: it may have been copied."""
    for index, row in enumerate(rows):
        others = [one for one in rows if one.dataset == row.dataset and one.method != row.method]
        for name in HALVES:
            value = getattr(row, name)
            same = [one for one in others if one.table <= row.table and getattr(one, name) == value]
            if value is not None and same:
                said = f"The printed {name} mean, {value:.2f}, is Table {same[0].table}'s for {same[0].method}."
                yield Finding("repeated", index, (name,), said)


def _boundaries(rows: Sequence[Published]) -> Iterator[Finding]:
    """Boundary IoU above the same model's mask IoU."""
    for index, row in enumerate(rows):
        mask = next((one for one in rows if one.metric == "miou" and model(one) == model(row)), None)
        if row.metric == "boundary_iou" and mask and row.overall > mask.overall:
            said = (
                f"The printed boundary IoU, {row.overall:.2f}, is above the same model's mask IoU in Table "
                f"{mask.table}, {mask.overall:.2f}: implausible if both are over the same instances."
            )
            yield Finding("boundary", index, ("overall",), said)


def _metrics(rows: Sequence[Published]) -> Iterator[Finding]:
    """Tables that mix lines of different metrics under one heading."""
    for table in dict.fromkeys(row.table for row in rows):
        own = [row for row in rows if row.table == table]
        kinds = {kind: [row.method for row in own if row.measured == kind] for kind in {row.measured for row in own}}
        if len(kinds) > 1:
            named = "; ".join(f"{kind}: {', '.join(dict.fromkeys(kinds[kind]))}" for kind in sorted(kinds))
            said = (
                f"The lines of the paper's Table {table} have different metrics ({named}), so they cannot be compared."
            )
            yield from (Finding("metrics", index, (), said) for index, row in enumerate(rows) if row.table == table)


def _fits(share: tuple[float, float, float], known: float) -> bool:
    return share[1] - SHARE_TOLERANCE <= known <= share[2] + SHARE_TOLERANCE


def _group(row: Published) -> tuple[object, ...]:
    """Lines that should be over the same instances; Table 2 has three pairs of them."""
    return (row.table, row.dataset, row.train_classes if row.table == 2 else "")


def _asked(row: Published) -> tuple[object, ...]:
    return (row.metric, *model(row))


def model(row: Published) -> tuple[object, ...]:
    """A key of a model and its prompts. COCO's seen classes are VOC's 20, so "voc20" and "seen" are one there."""
    classes = "seen" if row.train_classes == "voc20" and row.train_data == "coco" else row.train_classes
    given = (row.text, row.positive_clicks, row.negative_clicks)
    return (row.dataset, row.method, row.variant, *given, row.train_data, classes)
