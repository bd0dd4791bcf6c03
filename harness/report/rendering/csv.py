"""Tables as CSV: as printed, with a column more for what the row's footnotes say."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from harness.report.layout import Table, plain


def to_csv(table: Table) -> str:
    """The cells as printed and, in a last column, each row's footnotes. Title and notes are left out: rows alone."""
    lines = [csv_line([*[plain(heading) for heading in table.headings], "notes"])]
    for row in table.body:
        notes = " ".join(dict.fromkeys(note for cell in row.cells for note in cell.notes))
        lines.append(csv_line([*[plain(cell.whole) for cell in row.cells], plain(notes)]))
    return "".join(lines)


def csv_line(cells: Sequence[str]) -> str:
    """One line of a CSV file."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow(cells)
    return file.getvalue()
