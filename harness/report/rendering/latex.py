r"""A table in LaTeX. It prints `&`, `\` and all other markup as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.report.layout import Cell, Row, Table, marks, plain

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
"""Pairs of signs that T1 fonts draw as one sign: "--" becomes a dash."""

_UNSET = "ĦħĸĿŀŉŦŧſ"
"""The letters of Latin-1 and Latin Extended-A that LaTeX does not know in T1 fonts."""


def to_latex(table: Table) -> str:
    r"""A `table` environment with booktabs' rules; it needs \usepackage{booktabs, amssymb} and T1 fonts.

    Letters beyond Latin are spelled as `U+4E2D`, since pdflatex stops at them.
    """
    align = "".join(column.align[0] for column in table.columns)
    body = [line for row in table.body for line in _row(table, row)]
    beneath = [_note(f"{number}", note) for number, note in enumerate(table.footnotes, start=1)]
    beneath += [_note("", note) for note in table.notes]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.title)}}}",
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        *_header(table),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *([r"\par\footnotesize", *beneath] if beneath else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    text = "".join(_LATEX.get(char, char if _in_t1(char) else f"U+{ord(char):04X}") for char in plain(text))
    # Twice, for three in a row: in "---" the first pass replaces the first two, and the third then stands beside a "-"
    # again.
    for signs, apart in _LIGATURES.items():
        text = text.replace(signs, apart).replace(signs, apart)
    return text


def _in_t1(char: str) -> bool:
    return char < "\u0180" and char not in _UNSET


def _line(cells: Iterable[str]) -> str:
    r"""A line of the table. One that begins with [ or * would be read as an argument of the \\ before it."""
    line = " & ".join(cells)
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"


def _header(table: Table) -> Iterator[str]:
    if table.groups:
        spans = [
            rf"\multicolumn{{{count}}}{{c}}{{{_escaped(group)}}}" if group else "" for group, count in table.groups
        ]
        yield _line(spans)
    yield _line(_escaped(column.heading) for column in table.columns)


def _row(table: Table, row: Row) -> Iterator[str]:
    if row.starts_section and row is not table.body[0]:
        yield r"\midrule"
    cells = [_cell(table, cell) for cell in row.cells]
    yield _line(rf"\textit{{{cell}}}" if row.quoted and cell else cell for cell in cells)


def _cell(table: Table, cell: Cell) -> str:
    text = rf"\textbf{{{_escaped(cell.whole)}}}" if cell.strong else _escaped(cell.whole)
    numbers = ",".join(map(str, marks(table, cell))) if cell.notes else ""
    return text + (rf"\textsuperscript{{{numbers}}}" if numbers else "")


def _note(number: str, note: str) -> str:
    return (rf"\textsuperscript{{{number}}} " if number else "") + _escaped(note) + r" \par"
