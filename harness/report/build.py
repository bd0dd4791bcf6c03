"""Builds a table by its name: a function in a file of harness/report/tables/, or a plugin from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Real

from harness.plugins.failures import contained, described, is_device_lost, lacks_memory
from harness.plugins.registry import find
from harness.report.asked import with_asked
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, limited_to
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import Rows
from harness.structures import UserError

TableBuilder = Callable[[FinalClicks, Context], Table]
"""Makes a table from the rows that its means are over and from the other facts about the run."""


class TableError(UserError):
    """A table's own code failed, or returned something other than a table."""


def build_table(name: str, rows: Rows, context: Context) -> Table:
    """Build one table, and add the run's name, how the run asked, its notes and, in the title, whether it was limited.

    A data set that `rows` withhold has no line or column; the first note says why. A table from elsewhere gets texts as
    plain texts. Ours get categoricals, which are smaller, but surprise: grouping by one also lists absent values.

    Args:
        name: The name in a config's `tables`.
        rows: A run's rows. For several tables pass one `FinalClicks.of` them, so that they are checked and sorted once.
        context: The facts from the run's config and manifest.

    Raises:
        UserError: There is no such table, or no table can be made of the rows.
        TableError: The table's own code fails, or returns something other than a table.
    """
    builder: TableBuilder = find("tables", name, "report")
    final = FinalClicks.of(rows)
    if final.withheld:
        expected = {key: count for key, count in context.expected_instances.items() if key[1] not in final.withheld}
        context = replace(context, expected_instances=expected)
    ours = builder.__module__.startswith("harness.")
    built = _built(name, builder, final if ours else final.as_text(), context)
    built = with_asked(replace(built, title=f"{built.title} (run {context.run})"), context)
    of_jobs = dict.fromkeys(note for notes in context.job_notes.values() for note in notes)
    notes = (*final.withheld.values(), *built.notes, *of_jobs, *context.notes, *context.doubts)
    built = replace(built, notes=notes)
    return limited_to(context.limited, built) if context.limited else built


def _built(name: str, builder: TableBuilder, final: FinalClicks, context: Context) -> Table:
    """Call the table's code; an exception of that code becomes a message that names the table."""
    try:
        with contained():
            made = builder(final, context)
    except UserError:
        raise
    except Exception as error:
        # These two are faults of the machine, not of the table: the caller handles them for the whole command.
        if is_device_lost(error) or lacks_memory(error):
            raise
        raise TableError(f"table '{name}' failed with {described(error)}.") from error
    if wrong := _wrong(made):
        raise TableError(f"table '{name}' returned {wrong}.")
    return made


def _wrong(made: object) -> str:
    """The reason why something is no table that every format can print; "" if it is one."""
    # Checked here once and named by the table, since a cell that is a number would fail in a renderer, far from its
    # cause.
    if not isinstance(made, Table):
        return f"{type(made).__name__}; wanted harness.report.layout.Table"
    for what, kind, parts in (("columns", Column, made.columns), ("body", Row, made.body), ("notes", str, made.notes)):
        if not isinstance(parts, tuple) or not all(isinstance(one, kind) for one in parts):
            return f"{what} that are no tuple of {kind.__name__}"
    for number, row in enumerate(made.body, start=1):
        if len(row.cells) != len(made.columns) or not all(isinstance(cell, Cell) for cell in row.cells):
            return f"{len(row.cells)} cells in row {number}; wanted {len(made.columns)} of Cell, one per column"
        if odd := next(filter(None, (_wrong_cell(cell, f"in row {number}") for cell in row.cells)), ""):
            return f"a cell with {odd}"
    return next(filter(None, map(_wrong_column, made.columns)), "")


def _wrong_column(column: Column) -> str:
    if not isinstance(column.heading, str) or not isinstance(column.group, str):
        return f"a column with heading={column.heading!r}, group={column.group!r}; wanted texts"
    if column.align not in ("left", "center", "right"):
        return f"a column with align={column.align!r}; wanted 'left', 'center' or 'right'"
    return ""


def _wrong_cell(cell: Cell, place: str) -> str:
    if not isinstance(cell.text, str):
        return f"{cell.text!r} {place}; wanted a text"
    if not isinstance(cell.notes, tuple) or not all(isinstance(note, str) for note in cell.notes):
        return f"notes={cell.notes!r} {place}; wanted a tuple of texts"
    if not (cell.value is None or isinstance(cell.value, Real)):
        return f"value={cell.value!r} {place}; wanted a number, or None"
    return ""
