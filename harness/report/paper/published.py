"""The paper's printed numbers, which tables show beside ours, and their known faults.

Source: Warner, Hahn, Huang, Essa and Birodkar, "Text and Click inputs for unambiguous open vocabulary instance
segmentation", Tables 1 to 8. `published.csv` holds them as printed, in percent. No test expects our numbers to equal
them: the tables show both, with footnotes on what is doubtful. Where the doubts come from:

    findings.py         arithmetic on the means of one table
    contradictions.py   one table compared with another
    stated.py           the text compared with itself
    claims.py           the paper's sentences compared with its numbers
    FLAGS below         what needs other knowledge, such as the README of LAVT
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

from harness.report.paper.claims import unborne
from harness.report.paper.contradictions import contradictions
from harness.report.paper.findings import Finding, findings
from harness.report.paper.rows import MEANS, Published
from harness.report.paper.stated import Stated, disagreements, load_stated


@dataclass(frozen=True)
class Flag:
    """A doubt about printed rows: about all that agree with every field which is not None."""

    text: str
    table: int | None = None
    dataset: str | None = None
    method: str | None = None
    train_classes: str | None = None

    def concerns(self, row: Published) -> bool:
        """Whether it is about this row."""
        wanted = [(name.name, getattr(self, name.name)) for name in fields(self) if name.name != "text"]
        return all(value is None or getattr(row, name) == value for name, value in wanted)


FLAGS = (
    Flag("The paper does not say which of refCOCO's val, testA and testB it used.", dataset="refcoco"),
    Flag(
        "The paper's text has 5 seen classes in VOC; its numbers imply a seen share of 0.82, which is that of the "
        "usual split, 15 seen and 5 unseen.",
        table=1,
        dataset="voc",
    ),
    Flag(
        "LAVT's 72.73 is its overall (cumulative) IoU; its mean over sentences is 74.46 by its README. Neither is a "
        "mean over instances.",
        table=8,
        method="lavt",
    ),
    Flag(
        "VLT's 65.65 is a mean over sentences, not over instances: VLT's released evaluation computes it in this way "
        "(at the image's size, threshold 0.35); its paper does not say.",
        table=8,
        method="vlt",
    ),
)


@cache
def load_published() -> tuple[Published, ...]:
    """Every printed row, in the paper's order, with its flags."""
    found = known_findings()
    return tuple(_flagged(row, [one for one in found if one.row == at]) for at, row in enumerate(printed_rows()))


@cache
def printed_rows() -> tuple[Published, ...]:
    """Every printed row as it stands in the file, without flags."""
    with Path(__file__).with_name("published.csv").open(newline="", encoding="utf-8") as file:
        return tuple(_row(line) for line in csv.DictReader(file))


@cache
def known_findings() -> tuple[Finding, ...]:
    """The faults in the paper's printed numbers, text and sentences."""
    return tuple(everything_wrong(printed_rows(), load_stated()))


def everything_wrong(rows: Sequence[Published], figures: Sequence[Stated]) -> list[Finding]:
    """The findings of all rules on printed rows, on figures in the text, and on the sentences that rest on them."""
    # The sentences come last, since none of them is judged by a number that the other rules put in doubt.
    found = [*findings(rows), *contradictions(rows), *disagreements(rows, figures)]
    return [*found, *unborne(rows, found)]


def published_rows(table: int, dataset: str) -> list[Published]:
    """The printed rows of one of the paper's tables for one data set plugin; none for a data set of our own."""
    return [row for row in load_published() if (row.table, row.dataset) == (table, dataset)]


def _row(line: dict[str, str]) -> Published:
    means = {name: float(line[name]) if line[name] else None for name in MEANS}
    counts = {name: int(line[name]) for name in ("table", "positive_clicks", "negative_clicks")}
    gains = {name: float(line[f"gain_{name}"]) for name in MEANS if line[f"gain_{name}"]}
    rest = {name: value for name, value in line.items() if not name.startswith("gain_")}
    return Published(**{**rest, **counts, **means}, gains=gains)  # type: ignore[arg-type]


def _flagged(row: Published, found: list[Finding]) -> Published:
    stated = [flag.text for flag in FLAGS if flag.concerns(row)]
    flags = tuple(dict.fromkeys([*stated, *(one.text for one in found)]))
    doubts = {name: tuple(one.text for one in found if name in one.columns) for name in MEANS}
    return replace(row, flags=flags, doubts={name: texts for name, texts in doubts.items() if texts})
