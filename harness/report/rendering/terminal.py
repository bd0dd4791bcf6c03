"""Prints tables in a terminal. One that is too wide is cut into parts, each with the columns of names:

Dataset  Method   mIoU   seen            Dataset  Method   unseen   n
coco     SAM      61.2   60.4            coco     SAM      63.0     900
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from harness.report.layout import Column, Table, beneath, plain, texts_of


def to_terminal(table: Table) -> RenderableType:
    """The table for a rich console; one that is too wide is printed in several parts."""
    return _Printed(table)


@dataclass(frozen=True)
class _Printed:
    """A table that is laid out when it is printed, since only then the console's width is known."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        body = [[plain(text) for text in texts_of(self.table, row)] for row in self.table.body]
        yield Text(plain(self.table.title), style="bold")
        for part in _parts(self.table, body, options.max_width):
            yield Text()
            yield _grid(self.table, body, part)
        yield Text()
        yield from (Text(plain(line)) for line in beneath(self.table))


Texts = Sequence[Sequence[str]]
"""The body as it is printed: for each row the texts of its columns."""


def _grid(table: Table, body: Texts, part: Sequence[int]) -> RichTable:
    """These columns; numbers are never broken over lines."""
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in (table.columns[at] for at in part):
        heading = plain("\n".join(filter(None, [column.group, column.heading])), "\n")
        grid.add_column(Text(heading), justify=column.align, no_wrap=column.align == "right", overflow="fold")
    for row, texts, following in itertools.zip_longest(table.body, body, table.body[1:]):
        cells = [Text(texts[at], style="bold" if row.cells[at].strong else "") for at in part]
        ends = following is not None and following.starts_section
        grid.add_row(*cells, style="dim" if row.quoted else None, end_section=ends)
    return grid


WRAPPED = 24
"""Characters that are enough for a column of words, which may go on in the next line."""


def _parts(table: Table, body: Texts, width: int) -> list[list[int]]:
    """Cut the columns into parts that fit the width; the columns of words at the start are in every part."""
    widths = [_width(column, [texts[at] for texts in body]) for at, column in enumerate(table.columns)]
    names = list(itertools.takewhile(lambda at: table.columns[at].align != "right", range(len(widths)))) or [0]
    parts: list[list[int]] = [[]]
    for at in range(len(names), len(widths)):
        if parts[-1] and sum(widths[one] for one in (*names, *parts[-1], at)) > width + GAP:
            parts.append([])
        parts[-1].append(at)
    return [[*names, *part] for part in parts]


GAP = 3
"""Characters between two columns."""


def _width(column: Column, texts: Sequence[str]) -> int:
    widest = max(cell_len(text) for text in (column.group, column.heading, *texts))
    return GAP + (widest if column.align == "right" else min(widest, WRAPPED))


def to_text(table: Table, width: int = 160) -> str:
    """The terminal's table without colours, `width` characters wide at most."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(to_terminal(table))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
