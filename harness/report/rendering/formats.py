r"""Tables in the formats that are not for a terminal: LaTeX, HTML, CSV and Parquet.

Cells hold plain text. Each format takes its own markup's characters for what they are, so that a class named
`<script>` or `a & b \ c` is printed, not obeyed.
"""

from __future__ import annotations

import csv
import html
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from harness.messages import suggest
from harness.report.layout import URL, Cell, Column, Row, Table, marks, plain, to_markdown
from harness.report.rendering.terminal import to_text
from harness.structures import UserError

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "–": r"\textendash{}",
    "✓": r"$\checkmark$",
    "≥": r"$\geq$",
    "²": r"\textsuperscript{2}",
    "±": r"$\pm$",
}

_LIGATURES = {"--": "-{}-", ",,": ",{},", "''": "'{}'"}
"""What T1 fonts would draw as one sign."""

_UNSET = "ĦħĸĿŀŉŦŧſ"
"""Of Latin-1 and Latin Extended-A, what LaTeX does not know in T1 fonts."""


def to_latex(table: Table) -> str:
    r"""A `table` environment with booktabs' rules; it wants \usepackage{booktabs, amssymb} and T1 fonts.

    Letters beyond Latin are spelled as `U+4E2D`, for pdflatex stops at them.
    """
    align = "".join(column.align[0] for column in table.columns)
    body = [line for row in table.body for line in _latex_row(table, row)]
    beneath = [_latex_note(f"{number}", note) for number, note in enumerate(table.footnotes, start=1)]
    beneath += [_latex_note("", note) for note in table.notes]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(table.title)}}}",
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        *_latex_header(table),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *([r"\par\footnotesize", *beneath] if beneath else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def to_html(table: Table) -> str:
    """A `<figure>` with the table, for a page of one's own: no style, no script, classes to style it by."""
    body = "\n".join(_html_row(table, row) for row in table.body)
    footnotes = "".join(f"<li>{_html(note)}</li>" for note in table.footnotes)
    notes = "".join(f"<p>{_html(note)}</p>" for note in table.notes)
    parts = [
        '<figure class="results">',
        f"<table>\n<caption>{_html(table.title)}</caption>",
        f"<thead>\n{''.join(_html_header(table))}</thead>",
        f"<tbody>\n{body}\n</tbody>\n</table>",
        f"<ol>{footnotes}</ol>" if footnotes else "",
        f"<figcaption>{notes}</figcaption>" if notes else "",
        "</figure>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def to_csv(table: Table) -> str:
    """As printed, a column more for what the row's footnotes say; a title is for whoever writes several to one file."""
    lines = [_csv_line([*[plain(heading) for heading in headings(table)], "notes"])]
    for row in table.body:
        notes = " ".join(dict.fromkeys(note for cell in row.cells for note in cell.notes))
        lines.append(_csv_line([*[plain(cell.whole) for cell in row.cells], plain(notes)]))
    return "".join(lines)


def to_arrow(tables: Sequence[Table]) -> pa.Table:
    """A line a cell, for machines.

    Its columns: table, row (from 0), column (its heading), text, value_percent with low_percent and high_percent (its
    95 % interval), n (instances), published (another's number), strong, notes.
    """
    lines = [
        {
            "table": table.title,
            "row": number,
            "column": heading,
            "text": cell.whole,
            "value_percent": _percent(cell.value),
            "low_percent": _percent(cell.low),
            "high_percent": _percent(cell.high),
            "n": cell.n,
            "published": row.quoted,
            "strong": cell.strong,
            "notes": list(cell.notes),
        }
        for table in tables
        for number, row in enumerate(table.body)
        for heading, cell in zip(headings(table), row.cells, strict=True)
    ]
    return pa.Table.from_pylist(lines, _CELLS)


def headings(table: Table) -> list[str]:
    """Each column's heading, its group before it."""
    return [" ".join(filter(None, [column.group, column.heading])) for column in table.columns]


def rendered(tables: Sequence[Table], form: str) -> bytes:
    """Tables in one of FORMATS, one beneath the other.

    Raises:
        UserError: No such format.
    """
    if form == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(to_arrow(tables), sink, compression="zstd")
        return bytes(sink.getvalue())
    if form not in _TEXTS:
        raise UserError(f"report: no format '{form}'. {suggest(form, FORMATS)}")
    parts = [_TEXTS[form](table) for table in tables]
    if form == "csv" and len(tables) > 1:
        parts = [_csv_line([plain(table.title)]) + part for table, part in zip(tables, parts, strict=True)]
    return "\n".join(parts).encode()


def _csv_line(cells: Sequence[str]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow(cells)
    return file.getvalue()


_TEXTS: dict[str, Callable[[Table], str]] = {
    "terminal": to_text,
    "md": to_markdown,
    "latex": to_latex,
    "html": to_html,
    "csv": to_csv,
}

FORMATS = (*_TEXTS, "parquet")
"""What a table can be written as."""

_CELLS = pa.schema(
    [
        ("table", pa.string()),
        ("row", pa.int32()),
        ("column", pa.string()),
        ("text", pa.string()),
        ("value_percent", pa.float64()),
        ("low_percent", pa.float64()),
        ("high_percent", pa.float64()),
        ("n", pa.int64()),
        ("published", pa.bool_()),
        ("strong", pa.bool_()),
        ("notes", pa.list_(pa.string())),
    ]
)


def _percent(share: float | None) -> float | None:
    return None if share is None or share != share else 100 * share


def _groups(table: Table) -> Iterator[tuple[str, int]]:
    """The header's upper row: a group and how many columns it spans."""
    for group, columns in itertools.groupby(table.columns, key=lambda column: column.group):
        count = len(list(columns))
        yield from [(group, count)] if group else [("", 1)] * count


def _latex(text: str) -> str:
    text = "".join(_LATEX.get(char, char if _in_t1(char) else f"U+{ord(char):04X}") for char in plain(text))
    for signs, apart in _LIGATURES.items():
        text = text.replace(signs, apart).replace(signs, apart)
    return text


def _in_t1(char: str) -> bool:
    return char < "\u0180" and char not in _UNSET


def _latex_line(cells: Iterable[str]) -> str:
    r"""A line of the table; after the \\ before it a bracket or a star would be an argument."""
    line = " & ".join(cells)
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"


def _latex_header(table: Table) -> Iterator[str]:
    if any(column.group for column in table.columns):
        spans = [
            rf"\multicolumn{{{count}}}{{c}}{{{_latex(group)}}}" if group else "" for group, count in _groups(table)
        ]
        yield _latex_line(spans)
    yield _latex_line(_latex(column.heading) for column in table.columns)


def _latex_row(table: Table, row: Row) -> Iterator[str]:
    if row.starts_section and row is not table.body[0]:
        yield r"\midrule"
    cells = [_latex_cell(table, cell) for cell in row.cells]
    yield _latex_line(rf"\textit{{{cell}}}" if row.quoted and cell else cell for cell in cells)


def _latex_cell(table: Table, cell: Cell) -> str:
    text = rf"\textbf{{{_latex(cell.whole)}}}" if cell.strong else _latex(cell.whole)
    numbers = ",".join(map(str, marks(table, cell))) if cell.notes else ""
    return text + (rf"\textsuperscript{{{numbers}}}" if numbers else "")


def _latex_note(number: str, note: str) -> str:
    return (rf"\textsuperscript{{{number}}} " if number else "") + _latex(note) + r" \par"


def _html(text: str) -> str:
    return html.escape(plain(text))


def _html_header(table: Table) -> Iterator[str]:
    if any(column.group for column in table.columns):
        spans = [f'<th colspan="{count}" scope="colgroup">{_html(group)}</th>' for group, count in _groups(table)]
        yield f"<tr>{''.join(spans)}</tr>\n"
    names = [f'<th scope="col" class="{column.align}">{_html(column.heading)}</th>' for column in table.columns]
    yield f"<tr>{''.join(names)}</tr>\n"


def _html_row(table: Table, row: Row) -> str:
    said = [name for name, holds in (("section", row.starts_section), ("published", row.quoted)) if holds]
    cells = "".join(_html_cell(table, column, cell) for column, cell in zip(table.columns, row.cells, strict=True))
    start = f'<tr class="{" ".join(said)}">' if said else "<tr>"
    return f"{start}{cells}</tr>"


def _html_cell(table: Table, column: Column, cell: Cell) -> str:
    links = ", ".join(f'<a href="{_html(quote(target, URL))}">{_html(text)}</a>' for text, target in cell.links)
    text = f"<strong>{_html(cell.text)}</strong>" if cell.strong else links or _html(cell.text)
    numbers = ", ".join(map(str, marks(table, cell))) if cell.notes else ""
    raised = f"<sup>{numbers}</sup>" if numbers else ""
    spread = f'<span class="spread">{_html(cell.spread)}</span>' if cell.spread else ""
    return f'<td class="{column.align}">{text}{spread}{raised}</td>'
