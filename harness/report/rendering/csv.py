"""Tables as CSV: the cells as printed, and footnotes, title and notes in columns of their own."""

from __future__ import annotations

import csv
import io
import re

from harness.report.layout import Table, plain

_NUMBER = re.compile(r"[+-]?[\d,]*\.?\d+%?")
_FORMULA = ("=", "+", "-", "@")


def to_csv(table: Table) -> str:
    """A line for each row: its cells, then its footnotes, the table's title and the table's notes.

    Title and notes are in every line, so that a line that is copied elsewhere still says that its run was LIMITED. A
    table without rows has one line for them.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    about = [table.title, " ".join(table.notes)]
    writer.writerow(map(_cell, [*table.headings, "notes", "table", "table notes"]))
    for row in table.body:
        notes = " ".join(dict.fromkeys(note for cell in row.cells for note in cell.notes))
        writer.writerow(map(_cell, [*[cell.whole for cell in row.cells], notes, *about]))
    if not table.body:
        writer.writerow(map(_cell, [*[""] * len(table.columns), "", *about]))
    return file.getvalue()


def _cell(text: str) -> str:
    """The text, with an apostrophe in front if a spreadsheet would take it for a formula and run it.

    Runs may come from anybody, and with them a method named `=HYPERLINK(...)`. A number with a sign, such as +4.52, is
    no formula and stays a number.
    """
    text = plain(text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
