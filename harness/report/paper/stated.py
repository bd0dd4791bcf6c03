"""Figures that the paper's text and captions state, and that none of its tables has."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.report.paper.findings import Finding
from harness.report.paper.rows import Published


@dataclass(frozen=True)
class Stated:
    """One line of stated.csv.

    Attributes:
        about: A description of the figure; two lines with the same description should have the same value.
        value: The figure.
        table: The table of the paper that it is about; None for none.
        dataset: The lines of that table that it is about, by the data set plugin's name.
        source: Its place in the paper: a section or a caption.
        said: The words there.
    """

    about: str
    value: float
    table: int | None
    dataset: str
    source: str
    said: str


@cache
def load_stated() -> tuple[Stated, ...]:
    """Every figure, in the file's order."""
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return tuple(
            Stated(**{**line, "value": float(line["value"]), "table": int(line["table"]) if line["table"] else None})  # type: ignore[arg-type]
            for line in csv.DictReader(file)
        )


def disagreements(rows: Sequence[Published], figures: Sequence[Stated]) -> Iterator[Finding]:
    """Figures with two values; a finding on the table's lines that they are about, or on the text alone."""
    for about in dict.fromkeys(one.about for one in figures):
        own = [one for one in figures if one.about == about]
        if len({one.value for one in own}) == 1:
            continue
        said = f"The {about}: {', '.join(f'{one.value:g} in {one.source}' for one in own)}."
        places = {(one.table, one.dataset) for one in own}
        lines = [index for index, row in enumerate(rows) if (row.table, row.dataset) in places]
        where = ", ".join(one.source for one in own)
        yield from (Finding("stated", index, (), said, where) for index in lines or (None,))
