"""A table as data: columns, rows, cells, footnotes and notes. `rendering/` writes it in every format.

Cells hold plain text. Each format prints the characters of its own markup as they are, so that a method named
`[red]a|b` is printed, not obeyed.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

from harness.messages import without_folders
from harness.plugins.scale import SHARE, Scale


@dataclass(frozen=True)
class Column:
    """A column's heading; neighbours of one `group` share that heading above their own."""

    heading: str
    group: str = ""
    align: Literal["left", "center", "right"] = "left"


class RowsOf(NamedTuple):
    """The rows that a mean is over: a data set's rows of an entry, "SAM ViT-H (confidence)"; `seen` None for all."""

    dataset: str
    entry: str
    seen: bool | None = None


@dataclass(frozen=True)
class Cell:
    """A cell's text and its footnotes, in full; the renderers number them.

    Attributes:
        spread: The interval and n, which follow the text if intervals were asked for; a page may show and hide them.
        value: The mean or the difference that the text rounds, for formats that programs read; None if there is none.
        low: The lower end of the mean's 95 % interval, if intervals were asked for; `high` is the upper.
        n: How many instances the mean is over.
        strong: The best of its column; printed bold.
        links: Texts with their targets, printed in place of the text if the format has links.
        scale: The scale of `value`: a share, where more is better, or the scale that another metric declares.
        alike: A key for the instances that the mean is over and for how they were clicked. The best is chosen among
            cells with equal keys.
        rows: The rows behind it; a page that has them links to them.
    """

    text: str = ""
    notes: tuple[str, ...] = ()
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    strong: bool = False
    spread: str = ""
    links: tuple[tuple[str, str], ...] = ()
    scale: Scale = SHARE
    alike: Hashable = None
    rows: RowsOf | None = None

    @property
    def whole(self) -> str:
        """Text and spread."""
        return self.text + self.spread


@dataclass(frozen=True)
class Row:
    """One line of the body.

    Attributes:
        cells: One for each column.
        starts_section: Whether a rule separates it from the line above, in formats that have rules.
        quoted: Whether its numbers are someone else's, not measured here; it is set apart where the format can.
        bound: Whether it is an upper bound and no result, as the oracle's line; it is never the best of a column.
    """

    cells: tuple[Cell, ...]
    starts_section: bool = False
    quoted: bool = False
    bound: bool = False


@dataclass(frozen=True)
class Table:
    """A title, columns, a body and the notes beneath; the cells' footnotes come before the notes.

    Raises:
        ValueError: A row has more or fewer cells than there are columns.
    """

    title: str
    columns: tuple[Column, ...]
    body: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError(f"the table '{self.title}' has no column; wanted at least one")
        for number, row in enumerate(self.body, start=1):
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"row {number} of the table '{self.title}' has {len(row.cells)} cells; wanted {len(self.columns)}, "
                    "one for each column"
                )

    @property
    def headings(self) -> tuple[str, ...]:
        """Each column's heading with its group before it, for formats with one row of them."""
        return tuple(" ".join(filter(None, [column.group, column.heading])) for column in self.columns)

    @property
    def groups(self) -> tuple[tuple[str, int], ...]:
        """The header's upper row: each group and how many columns it spans; () where no column has one."""
        # ("", "", "VOC", "VOC", "COCO") -> ("", 1), ("", 1), ("VOC", 2), ("COCO", 1): columns without a group are not
        # joined, since each has its own heading below and no common one above.
        spans: list[tuple[str, int]] = []
        for group, columns in itertools.groupby(self.columns, key=lambda column: column.group):
            count = len(list(columns))
            spans += [(group, count)] if group else [("", 1)] * count
        return tuple(spans) if any(group for group, _ in spans) else ()

    @cached_property
    def footnotes(self) -> tuple[str, ...]:
        """The cells' footnotes, each once, in reading order; the first is number 1."""
        return tuple(dict.fromkeys(note for row in self.body for cell in row.cells for note in cell.notes))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Footnote -> its number."""
        return {note: number for number, note in enumerate(self.footnotes, start=1)}


def for_others(table: Table) -> Table:
    """The table without absolute paths of this machine, which its texts and notes may name."""
    body = tuple(replace(row, cells=tuple(map(_for_others, row.cells))) for row in table.body)
    return replace(table, title=without_folders(table.title), body=body, notes=tuple(map(without_folders, table.notes)))


def _for_others(cell: Cell) -> Cell:
    links = tuple((without_folders(text), target) for text, target in cell.links)
    return replace(cell, text=without_folders(cell.text), notes=tuple(map(without_folders, cell.notes)), links=links)


def with_interval(cell: Cell, low: float, high: float, shown: Callable[[float], str] | None = None) -> Cell:
    """The cell of a mean with its 95 % interval and n behind it; as it was where there is no mean.

    Args:
        cell: The cell.
        low: The lower end, in the unit of the cell's value.
        high: The upper end.
        shown: Writes an end; by default without a sign, as the cell's scale does.
    """
    if cell.value is None or math.isnan(cell.value):
        return cell
    shown = shown or cell.scale.shown
    ends = shown(low), shown(high)
    bounds = (None, None) if math.isnan(low) else (low, high)
    return replace(cell, low=bounds[0], high=bounds[1], spread=spread(*ends, cell.n))


def spread(low: str, high: str, n: int | None) -> str:
    """The text behind a mean: its interval and the number of its instances."""
    return f" [{low}, {high}], n = {n}"


def comparable(cells: Sequence[Cell]) -> list[bool]:
    """Says for each of several means whether it may be compared: only those over the same, largest set of instances.

    The clicks on these instances must have been made in the same way, too.

    A method that fails on the hard instances has the better mean over the others, so that a mean over fewer never
    competes. If the largest means are over different sets of equal size, the set that most of these means share is
    compared; if no set has more means than the others, nothing is.
    """
    #    a    0.70 over 100        compared
    #    b    0.68 over 100        compared, if over the same 100, clicked alike
    #    c    0.75 over 80         not: the 20 that it failed on may be the hard ones
    #
    # With a fourth method d, 0.72 over 100 other instances, a and b are still compared (two against one), d is not.
    # Without b, one set stands against another, nobody can say which is right, and nothing is printed bold.
    known = [cell for cell in cells if _worth(cell) is not None]
    most = max((cell.n or 0 for cell in known), default=0)
    sets = Counter(cell.alike for cell in known if (cell.n or 0) == most).most_common(2)
    if not sets or (len(sets) > 1 and sets[0][1] == sets[1][1]):
        return [False] * len(cells)
    return [_worth(cell) is not None and (cell.n or 0) == most and cell.alike == sets[0][0] for cell in cells]


def best_strong(body: Sequence[Row], columns: Sequence[int]) -> tuple[Row, ...]:
    """The rows, with the best measured number of each of these columns strong in every section that has several."""
    sections: list[list[Row]] = []
    for row in body:
        if row.starts_section or not sections:
            sections.append([])
        sections[-1].append(row)
    return tuple(row for section in sections for row in best_of_columns(section, columns))


def best_of_columns(rows: Sequence[Row], columns: Sequence[int]) -> tuple[Row, ...]:
    """The rows, with the best measured number of each of these columns strong, where several rows have one.

    Only numbers that are `comparable` have a best.
    """
    # Rows that do not compete stay in the table, so the places among the competing rows are translated back.
    chosen: list[set[int]] = [set() for _ in rows]
    competing = [at for at, row in enumerate(rows) if not (row.quoted or row.bound)]
    for column in columns:
        for at in _best([rows[one].cells[column] for one in competing]):
            chosen[competing[at]].add(column)
    return tuple(replace(row, cells=_with_strong(row, own)) for row, own in zip(rows, chosen, strict=True))


def best_of_row(row: Row, columns: Sequence[int]) -> Row:
    """The row, with the best of these columns strong, where several hold a number."""
    chosen = {columns[at] for at in _best([row.cells[column] for column in columns])}
    return replace(row, cells=_with_strong(row, chosen))


def _best(cells: Sequence[Cell]) -> list[int]:
    """The places of the cells that are the best of those that may be compared; none if fewer than two may."""
    may = [at for at, alike in enumerate(comparable(cells)) if alike]
    worths = {at: worth for at in may if (worth := _worth(cells[at])) is not None}
    return [at for at, worth in worths.items() if len(may) > 1 and worth == max(worths.values())]


def limited_to(said: str, table: Table) -> Table:
    """The table of a run that was cut short, which says so, loudly; `said` is `Context.limited`."""
    mark = f"LIMITED to {said}"
    return replace(table, title=f"{mark}: {table.title}", notes=(f"{mark}: not a result.", *table.notes))


def percent(share: float) -> str:
    """0.5776 -> `57.76`; a dash where there is no number."""
    return SHARE.shown(share)


def signed(share: float) -> str:
    """0.0452 -> `+4.52`, in percentage points; never `-0.00`; a dash where there is no number."""
    return SHARE.signed(share)


def number(value: float, digits: int = 2) -> str:
    """`4.25`; a dash where there is no number."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def share(value: float, notes: tuple[str, ...] = (), more: str = "", n: int | None = None) -> Cell:
    """A share in percent, with what stands behind it; a dash where there is no number."""
    return Cell(percent(value) + more, notes, None if math.isnan(value) else value, n=n)


def cells(texts: Sequence[str], notes: tuple[str, ...] = ()) -> list[Cell]:
    """Cells that share their footnotes."""
    return [Cell(text, notes) for text in texts]


def texts_of(table: Table, row: Row) -> Iterator[str]:
    """The row's texts, each with its footnotes' numbers."""
    for cell in row.cells:
        yield f"{cell.whole} {raised(table, cell)}".strip()


def marks(table: Table, cell: Cell) -> list[int]:
    """The numbers of a cell's footnotes."""
    return [table.numbers[note] for note in dict.fromkeys(cell.notes)]


def raised(table: Table, cell: Cell) -> str:
    """The numbers of a cell's footnotes as raised digits: `¹ ³`."""
    return " ".join(map(_superscript, marks(table, cell)))


URL = "/:.@"
"""The signs that a link's target may hold besides letters and digits; all others are percent-encoded."""


def _worth(cell: Cell) -> float | None:
    """The number as it is printed, so that equals in print are equals; turned around where less is better."""
    if cell.value is None or math.isnan(cell.value):
        return None
    return cell.scale.sign * round(cell.scale.factor * cell.value, 2)


def _with_strong(row: Row, columns: set[int]) -> tuple[Cell, ...]:
    return tuple(replace(cell, strong=at in columns) for at, cell in enumerate(row.cells))


def beneath(table: Table) -> Sequence[str]:
    """The numbered footnotes and the notes."""
    numbered = [f"{_superscript(number)} {note}" for number, note in enumerate(table.footnotes, start=1)]
    return [*numbered, *table.notes]


def _superscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def plain(text: str, keep: str = "") -> str:
    """A text on one line, with control characters spelled out: a name must not move the cursor or reverse the text."""
    text = "".join(" " if char.isspace() and char not in keep else char for char in text)
    return "".join(char if char.isprintable() or char in keep else f"\\x{ord(char):02x}" for char in text)
