"""Tables by name. A table is one function in a file of harness/report/tables/; nothing else lists it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace

from harness.messages import suggest
from harness.report.context import Context
from harness.report.layout import Table, limited_to
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import Rows
from harness.structures import UserError

TableBuilder = Callable[[FinalClicks, Context], Table]
"""The rows that means are over, and what else is known of the run -> the table."""

_TABLES: dict[str, TableBuilder] = {}


def table(name: str) -> Callable[[TableBuilder], TableBuilder]:
    """Function decorator: makes a table known as `name`."""

    def add(builder: TableBuilder) -> TableBuilder:
        other = _TABLES.setdefault(name, builder)
        if other.__module__ != builder.__module__:
            raise UserError(
                f"report: '{name}' is registered by {other.__module__} and by {builder.__module__}. Rename one of them."
            )
        _TABLES[name] = builder
        return builder

    return add


def tables() -> dict[str, TableBuilder]:
    """Every table of harness/report/tables/, by name."""
    package = importlib.import_module("harness.report.tables")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_TABLES.items()))


def build_table(name: str, rows: Rows, context: Context) -> Table:
    """Build one table; it says which run it is of and, loudly, when that run was limited.

    Args:
        name: One of `tables()`.
        rows: A run's; for several tables make one `FinalClicks.of` them, so that they are checked and sorted once.
        context: What the run's config and manifest add.

    Raises:
        UserError: No such table, or rows that no table can be made of.
    """
    known = tables()
    if name not in known:
        raise UserError(f"report: no table '{name}'. {suggest(name, known)}")
    return _marked(known[name](FinalClicks.of(rows), context), context)


def _marked(built: Table, context: Context) -> Table:
    built = replace(built, title=f"{built.title} (run {context.run})")
    return built if context.limited is None else limited_to(context.limited, built)
