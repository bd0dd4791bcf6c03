"""Writes tables as Parquet with a line for each cell, for machines.

The tables' own columns differ from table to table; a line for each cell has one schema for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from harness.report.layout import Cell, Table

_CELLS = pa.schema(
    [
        ("table", pa.string()),
        ("row", pa.int32()),
        ("column", pa.string()),
        ("text", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("unit", pa.string()),
        ("n", pa.int64()),
        ("published", pa.bool_()),
        ("strong", pa.bool_()),
        ("notes", pa.list_(pa.string())),
    ]
)


def to_parquet(tables: Sequence[Table]) -> bytes:
    """The bytes of a Parquet file of `to_arrow`."""
    sink = pa.BufferOutputStream()
    pq.write_table(to_arrow(tables), sink, compression="zstd")
    return bytes(sink.getvalue())


def to_arrow(tables: Sequence[Table]) -> pa.Table:
    """The tables with a line for each cell.

    Its columns: table, row (from 0), column (the heading), text, value with low and high (its 95 % interval) in unit
    ("%", or a metric's own), n (instances), published (whether it is quoted), strong, notes.
    """
    lines = [
        {
            "table": table.title,
            "row": number,
            "column": heading,
            "text": cell.whole,
            **{name: _printed(cell, name) for name in ("value", "low", "high")},
            "unit": None if _printed(cell, "value") is None else cell.scale.printed_in,
            "n": cell.n,
            "published": row.quoted,
            "strong": cell.strong,
            "notes": list(cell.notes),
        }
        for table in tables
        for number, row in enumerate(table.body)
        for heading, cell in zip(table.headings, row.cells, strict=True)
    ]
    return pa.Table.from_pylist(lines, _CELLS)


def _printed(cell: Cell, name: str) -> float | None:
    number: float | None = getattr(cell, name)
    return None if number is None or number != number else cell.scale.factor * number
