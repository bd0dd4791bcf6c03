"""Tables as Parquet: a line a cell, for machines."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from harness.report.layout import Table

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


def to_parquet(tables: Sequence[Table]) -> bytes:
    """The bytes of a Parquet file of `to_arrow`."""
    sink = pa.BufferOutputStream()
    pq.write_table(to_arrow(tables), sink, compression="zstd")
    return bytes(sink.getvalue())


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
        for heading, cell in zip(table.headings, row.cells, strict=True)
    ]
    return pa.Table.from_pylist(lines, _CELLS)


def _percent(share: float | None) -> float | None:
    return None if share is None or share != share else 100 * share
