"""Tables in any of the formats, by the format's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.messages import suggest
from harness.report.layout import Table, for_others
from harness.report.rendering.csv import to_csv
from harness.report.rendering.html import to_page
from harness.report.rendering.latex import to_latex
from harness.report.rendering.markdown import to_markdown
from harness.report.rendering.parquet import to_parquet
from harness.report.rendering.terminal import to_text
from harness.structures import UserError

_TEXTS: dict[str, Callable[[Table], str]] = {
    "terminal": to_text,
    "md": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
}

FORMATS = (*_TEXTS, "html", "parquet")
"""The formats that a table can be written in."""


def rendered(tables: Sequence[Table], form: str) -> bytes:
    """Tables in one of FORMATS, one beneath the other, without absolute paths of this machine.

    Raises:
        UserError: No such format.
    """
    tables = [for_others(table) for table in tables]
    whole = {"parquet": to_parquet, "html": lambda tables: to_page(tables).encode()}
    if form in whole:
        return whole[form](tables)
    if form not in _TEXTS:
        raise UserError(f"report: no format '{form}'. {suggest(form, FORMATS)}")
    return "\n".join(_TEXTS[form](table) for table in tables).encode()
