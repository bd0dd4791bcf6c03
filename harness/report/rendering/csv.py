"""Tables as CSV: as printed, with a column more for what the row's footnotes say."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from harness.report.layout import Table, plain


def to_csv(table: Table) -> str:
    """As printed, a column more for what the row's footnotes say; a title is for whoever writes several to one file."""
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
