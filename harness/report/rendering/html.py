"""Tables in HTML, by Jinja templates: one for a page of one's own, or a whole page.

Jinja escapes every text, so that a class named `<script>` is shown, not run; `plain` goes over each text before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.report.layout import URL, Table, marks, plain

_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=lambda value: plain(value) if type(value) is str else value,  # Markup is a str that is escaped already.
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def to_html(table: Table, to_rows: bool = False) -> str:
    """A `<figure>` with the table, for a page of one's own: no style, no script, classes to style it by.

    Args:
        table: The table.
        to_rows: Whether means are links to the page's part "instances", which say whose rows are behind them.
    """
    known: dict[str, Any] = {"marks": lambda cell: marks(table, cell), "address": lambda target: quote(target, URL)}
    return _PAGES.get_template("table.html.jinja").render(table=table, to_rows=to_rows, **known)


def to_page(tables: Sequence[Table]) -> str:
    """A whole page with the tables one beneath the other: it has its style in itself, opens from a disk, and prints."""
    title = tables[0].title if tables else "No table"
    return _PAGES.get_template("page.html.jinja").render(title=title, tables=[to_html(one) for one in tables])
