"""A table in GitHub's Markdown."""

from __future__ import annotations

import re
from urllib.parse import quote

from harness.report.layout import URL, Cell, Table, beneath, plain, raised


def to_markdown(table: Table) -> str:
    """GitHub's dialect; it has one header row, so a group stands before each of its headings."""
    rules = [{"left": ":--", "center": ":-:", "right": "--:"}[column.align] for column in table.columns]
    body = [[_cell(table, cell) for cell in row.cells] for row in table.body]
    lines = [f"| {' | '.join(cells)} |" for cells in [[_escaped(h) for h in table.headings], rules, *body]]
    under = [f"- {_escaped(line)}" for line in beneath(table)]
    parts = [[f"**{_escaped(table.title)}**"], lines, under]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _cell(table: Table, cell: Cell) -> str:
    links = [f"[{_escaped(text)}](<{quote(target, URL)}>)" for text, target in cell.links]
    text = ", ".join(links) or _escaped(cell.whole)
    return f"{f'**{text}**' if cell.strong and text else text} {raised(table, cell)}".strip()


def _escaped(text: str) -> str:
    """Markdown's characters escaped; an underscore inside a word means nothing to GitHub and stays readable."""
    text = re.sub(r"([\\|`*\[\]<~$&])", r"\\\1", plain(text))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
