"""The paper's checkable sentences as data, when a sentence is true, and whether the printed numbers support it.

A sentence of claims.csv is about one number, a difference of means or a difference of two such differences:

    a - b over `part`                             "text improves the overall mIoU": text_click - click_only, on all
    (a - b over `part`) - (c - d over `against`)  "mostly from unseen classes": the same on unseen, less that on seen

c and d are a and b if the file leaves them out. `relation` says what the number must be, in points: above 0 (`more`),
not below 0 by more than `value` (`reaches`), within `value` of 0 (`alike`), or `value` itself (`by`).

A number is known within bounds: an interval of a run, or what rounding leaves of a printed number. With the value 2:

    relation    must lie in     holds           does not hold     cannot be told
    more        (0, inf)        [+1, +5]        [-4, -1]          [-1, +3]
    reaches     (-2, inf)       [-1, +5]        [-4, -3]          [-3, +1]
    alike       (-2, 2)         [-1, +1]        [+3, +6]          [+1, +3]
    by          2               [+1, +3]        [+3, +6]          never
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from harness.report.paper.findings import ROUNDING, Finding
from harness.report.paper.rows import Published

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"

TRAINING = ("most", "fewer", "fewest")
"""Networks of one kind that were trained on several numbers of classes, the most first."""

MEANS = {"all": "overall", "seen": "seen", "unseen": "unseen"}
"""A part of the instances -> the name of the mean that the paper prints of it."""

UNSAFE = {"share", "changed", "repeated", "boundary"}
"""The rules whose findings say that a printed mean is not what its heading says; no verdict rests on such a mean."""


@dataclass(frozen=True)
class Side:
    """One side of a difference: `sam:confidence`, `text_click 2+1`, `click_only fewest`.

    Attributes:
        method: The method's plugin.
        ranking: The ranking that chooses its mask; "" for a lone mask.
        clicks: The numbers of positive and of negative clicks.
        training: "all" or "seen" classes, or one of TRAINING; "" for any.
    """

    method: str
    ranking: str = ""
    clicks: tuple[int, int] = (1, 0)
    training: str = ""

    @classmethod
    def of(cls, said: str) -> Side:
        """Read a side as the file writes it; without clicks it means one positive click."""
        (method, _, ranking), side = said.split()[0].partition(":"), cls("")
        for word in said.split()[1:]:
            positive, plus, negative = word.partition("+")
            side = replace(side, clicks=(int(positive), int(negative))) if plus else replace(side, training=word)
        return replace(side, method=method, ranking=ranking)

    @property
    def said(self) -> str:
        """`click_only with 2+1 clicks trained on the fewest classes`."""
        name = self.method + (f" by {self.ranking}" if self.ranking else "")
        clicks = "" if self.clicks == (1, 0) else f" with {self.clicks[0]}+{self.clicks[1]} clicks"
        which = self.training if self.training in ("", "all") else f"the {self.training}"
        return name + clicks + (f" trained on {which} classes" if which else "")


@dataclass(frozen=True)
class Claim:
    """One line of claims.csv.

    Attributes:
        where: The place in the paper.
        sentence: The sentence, in short.
        tables: The paper's tables with the numbers; they are searched in this order.
        datasets: The data sets that it is about, by their plugins.
        elsewhere: Whether it can be tested on a data set that is not one of the paper's.
        terms: a and b, then c and d if a second difference is subtracted.
        parts: The instances that each difference is over; one part for each pair of `terms`.
        relation: "more", "reaches", "alike" or "by".
        value: The relation's value, in points.
        metric: "iou" or "boundary_iou".
    """

    where: str
    sentence: str
    tables: tuple[int, ...]
    datasets: tuple[str, ...]
    elsewhere: bool
    terms: tuple[Side, ...]
    parts: tuple[str, ...]
    relation: str
    value: float
    metric: str

    def verdict(self, low: float, high: float) -> str:
        """The verdict if the number lies between two bounds, in points."""
        bounds = {
            "more": (0.0, float("inf")),
            "reaches": (-self.value, float("inf")),
            "alike": (-self.value, self.value),
            "by": (self.value, self.value),
        }
        least, most = bounds[self.relation]
        if high < least or low > most:
            return FAILS
        # For a single value the question is turned round: no interval lies within a point, but it may contain it.
        inside = low <= self.value <= high if self.relation == "by" else least < low and high < most
        return HOLDS if inside else OPEN


@dataclass(frozen=True)
class Verdict:
    """The result of testing a claim on one data set.

    Attributes:
        claim: The claim.
        dataset: The data set's name.
        said: HOLDS, FAILS or OPEN.
        difference: The number that it is about, in points; None if there is none.
        low: The lower end of its 95 % interval; None for printed numbers. `high` is the upper end.
        n: The number of instances; for two differences both numbers.
        why: The means behind it, or what is missing.
    """

    claim: Claim
    dataset: str
    said: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n: tuple[int, ...] = ()
    why: str = ""


@cache
def load_claims() -> tuple[Claim, ...]:
    """Every claim, in the paper's order."""
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return tuple(map(_claim, csv.DictReader(file)))


def _claim(line: Mapping[str, str]) -> Claim:
    second = line["c"] or line["d"] or line["against"]
    named = [line["a"], line["b"], *([line["c"] or line["a"], line["d"] or line["b"]] if second else [])]
    return Claim(
        where=line["where"],
        sentence=line["sentence"],
        tables=tuple(map(int, line["tables"].split())),
        datasets=tuple(line["datasets"].split()),
        elsewhere=line["elsewhere"] == "yes",
        terms=tuple(map(Side.of, named)),
        parts=(line["part"], *([line["against"] or line["part"]] if second else [])),
        relation=line["relation"],
        value=float(line["value"] or 0),
        metric=line["metric"],
    )


def printed_verdicts(rows: Sequence[Published], found: Sequence[Finding]) -> list[Verdict]:
    """Test every claim on the printed numbers alone, on each data set that it is about.

    Args:
        rows: The printed lines.
        found: The findings on them: no verdict rests on a mean that is not what its heading says.
    """
    return [_judged(claim, name, rows, found) for claim in load_claims() for name in claim.datasets]


def unborne(rows: Sequence[Published], found: Sequence[Finding]) -> Iterator[Finding]:
    """The claims that the printed numbers contradict, and those about a method without printed numbers."""
    for verdict in printed_verdicts(rows, found):
        claim, methods = verdict.claim, {row.method for row in rows}
        lines = [_line(side, claim, verdict.dataset, rows) for side in claim.terms]
        said = f'"{claim.sentence}" ({claim.where})'
        if verdict.said == FAILS:
            columns = tuple(dict.fromkeys(MEANS[part] for part in claim.parts))
            yield Finding("claim", lines[0], columns, f"{said} does not hold on {verdict.dataset}: {verdict.why}.")
        for silent in [side.method for side in claim.terms if side.method not in methods]:
            yield Finding("claim", None, (), f"{said}: the paper prints no number of {silent}.", claim.where)


def _judged(claim: Claim, dataset: str, rows: Sequence[Published], found: Sequence[Finding]) -> Verdict:
    lines = [_line(side, claim, dataset, rows) for side in claim.terms]
    parts = [part for part in claim.parts for _ in range(2)]
    for side, line, part in zip(claim.terms, lines, parts, strict=True):
        if line is None or part not in MEANS or getattr(rows[line], MEANS[part]) is None:
            return Verdict(claim, dataset, OPEN, why=f"The paper prints no number of {side.said} on {part}")
    used = [line for line in lines if line is not None]
    unsafe = [one for one in found if one.row in used and one.rule in UNSAFE and _concerns(one, claim.parts)]
    numbers = [getattr(rows[line], MEANS[part]) for line, part in zip(used, parts, strict=True)]
    difference = sum(sign * number for sign, number in zip((1, -1, -1, 1), numbers, strict=False))
    # Each printed mean may be off by half of its last digit, so a difference of two lies within 0.01 of the true one:
    # 61.52 - 53.65 = 7.87 means [7.86, 7.88].
    slack = ROUNDING * len(numbers) + 1e-9
    said = claim.verdict(difference - slack, difference + slack)
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    why = " less ".join(f"{a - b:+.2f} ({a:.2f} against {b:.2f})" for a, b in pairs)
    if unsafe:
        said, why = OPEN, unsafe[0].text.removesuffix(".")
    elif len({rows[line].measured for line in used}) > 1:
        said, why = OPEN, f"{why}, by different metrics ({', '.join(rows[line].measured for line in used)})"
    return Verdict(claim, dataset, said, difference, why=why)


def _concerns(finding: Finding, parts: Sequence[str]) -> bool:
    """Whether a finding is about one of the means. One about a whole line puts both halves in doubt."""
    columns = finding.columns or ("seen", "unseen")
    return any(MEANS.get(part) in columns for part in parts)


def _line(side: Side, claim: Claim, dataset: str, rows: Sequence[Published]) -> int | None:
    """The index of the printed line of a side, in the first of the claim's tables that has one."""
    kind = "boundary_iou" if claim.metric == "boundary_iou" else "miou"
    for table in claim.tables:
        own = [(index, row) for index, row in enumerate(rows) if (row.table, row.dataset) == (table, dataset)]
        counts = sorted({_count(row) for _, row in own}, reverse=True)
        trained = dict(zip(TRAINING, counts, strict=False))
        for index, row in own:
            alike = (row.method, row.positive_clicks, row.negative_clicks) == (side.method, *side.clicks)
            ranked = not side.ranking or row.variant == side.ranking
            classes = side.training in ("", row.train_classes) or trained.get(side.training) == _count(row)
            if alike and ranked and classes and row.metric == kind:
                return index
    return None


def _count(row: Published) -> int:
    """The number in `seen34`; -1 without one."""
    digits = row.train_classes.removeprefix("seen")
    return int(digits) if digits.isdecimal() else -1
