"""A table by its name: one function in a file of harness/report/tables/, or a plugin from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.plugins.registry import find
from harness.report.asked import with_asked
from harness.report.context import Context
from harness.report.layout import Table, limited_to
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import Rows

TableBuilder = Callable[[FinalClicks, Context], Table]
"""The rows that means are over, and what else is known of the run -> the table."""


def build_table(name: str, rows: Rows, context: Context) -> Table:
    """Build one table, which says what run it is of, how that run asked, its notes and, loudly, whether it was limited.

    A data set that `rows` withhold has no line or column; the first note says why.

    Args:
        name: As a config names it under `tables`.
        rows: A run's; for several tables make one `FinalClicks.of` them, so that they are checked and sorted once.
        context: What the run's config and manifest add.

    Raises:
        UserError: No such table, or rows that no table can be made of.
    """
    builder: TableBuilder = find("tables", name, "report")
    final = FinalClicks.of(rows)
    if final.withheld:
        expected = {key: count for key, count in context.expected_instances.items() if key[1] not in final.withheld}
        context = replace(context, expected_instances=expected)
    built = builder(final, context)
    built = with_asked(replace(built, title=f"{built.title} (run {context.run})"), context)
    built = replace(built, notes=(*final.withheld.values(), *built.notes, *context.notes))
    return built if context.limited is None else limited_to(context.limited, built)
