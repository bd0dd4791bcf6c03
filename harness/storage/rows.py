"""The columns of the results, and records as a table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from harness.messages import readable, suggest
from harness.structures import Record, UserError

_CLICKS = pa.list_(pa.struct([("x", pa.int32()), ("y", pa.int32()), ("positive", pa.bool_())]))

_BOXES = pa.list_(pa.struct([(side, pa.float64()) for side in ("left", "top", "right", "bottom")]))

COLUMNS: dict[str, pa.DataType] = {
    "run": pa.string(),
    "dataset": pa.string(),
    "dataset_plugin": pa.string(),
    "method": pa.string(),
    "method_plugin": pa.string(),
    "ranking": pa.string(),
    "image_id": pa.string(),
    "instance_id": pa.string(),
    "category": pa.string(),
    "seen": pa.bool_(),
    "text": pa.string(),
    "text_rule": pa.string(),
    "guess": pa.string(),
    "click_strategy": pa.string(),
    "click_options": pa.string(),
    "clicks": _CLICKS,
    "start": pa.string(),
    "boxes": _BOXES,
    "start_iou": pa.float64(),
    "draw": pa.int32(),
    "click_index": pa.int32(),
    "under_click": pa.int32(),
    "under_click_area_ratio": pa.float32(),
    "click_depth_px": pa.float32(),
    "partner": pa.string(),
    "shared_px": pa.int64(),
    "candidate": pa.int32(),
    "hit": pa.string(),
    "partner_iou": pa.float64(),
    "intersection_px": pa.int64(),
    "union_px": pa.int64(),
    "gt_area_px": pa.int64(),
    "pred_area_px": pa.int64(),
    "same_class_count": pa.int32(),
    "height": pa.int32(),
    "width": pa.int32(),
    "mask": pa.binary(),
    "holds_click": pa.bool_(),
    "encode_ms": pa.float32(),
    "segment_ms": pa.float32(),
    "device": pa.string(),
    "retried": pa.string(),
    "status": pa.string(),
    "error": pa.string(),
}
"""Every column but the metrics, which are float64 columns of their names."""

TEXTS = tuple(name for name, kind in COLUMNS.items() if pa.types.is_string(kind))
"""The columns of text."""

ORDER = ["dataset", "method", "image_id", "instance_id", "draw", "click_index", "ranking"]
"""The columns by which result rows are sorted, so that the order in which shards came leaves no trace."""

MEASURED = ("encode_ms", "segment_ms")
"""The only columns that differ between two runs of one config."""


def schema(metrics: Iterable[str], masks: bool = True) -> pa.Schema:
    """The columns of rows with the metrics that a run measured; with or without the masks."""
    measured = [pa.field(name, pa.float64()) for name in metrics]
    kinds = {name: kind for name, kind in COLUMNS.items() if masks or name != "mask"}
    return pa.schema([pa.field(name, kind) for name, kind in kinds.items()] + measured)


def metrics_in(rows: pd.DataFrame) -> list[str]:
    """The metrics that rows have: columns of numbers, or empty columns, that are not in COLUMNS."""
    others = [str(name) for name in rows.columns if name not in COLUMNS]
    return [name for name in others if _is_measured(rows[name])]


def check_metric(rows: pd.DataFrame, metric: str, where: str) -> None:
    """Refuse the name of a metric that rows do not have, or of a column that holds no numbers.

    Raises:
        UserError: It is one; the message lists the metrics, and begins with `where`.
    """
    if metric not in rows or not _is_measured(rows[metric]):
        raise UserError(f"{where}: the rows have no metric '{metric}'. {suggest(metric, metrics_in(rows))}")


def _is_measured(column: pd.Series[Any]) -> bool:
    numbers = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return numbers or bool(column.isna().all())


def table(records: Sequence[Record], metrics: Sequence[str]) -> pa.Table:
    """Records as rows, with a column for each of the metrics."""
    columns: dict[str, list[Any]] = {name: [getattr(record, name) for record in records] for name in COLUMNS}
    for name, kind in COLUMNS.items():
        if pa.types.is_string(kind):
            columns[name] = [readable(value) if isinstance(value, str) else value for value in columns[name]]
    columns["clicks"] = [
        None if rule is None else [vars(click) for click in clicks]
        for rule, clicks in zip(columns["click_strategy"], columns["clicks"], strict=True)
    ]
    columns["boxes"] = [boxes and [vars(box) for box in boxes] for boxes in columns["boxes"]]
    columns |= {name: [record.metrics.get(name) for record in records] for name in metrics}
    return pa.table(columns, schema=schema(metrics))


PIECE = 8_000
"""How many rows are sorted into a table at once."""


def joined(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of at least PIECE rows; many small tables would take half as much memory again."""
    waiting: list[pa.Table] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += len(part)
        if count >= PIECE:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, count = [], 0
            give_back()
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def ordered(parts: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """The rows of several tables in ORDER, nulls first.

    They come in pieces, so that memory never holds a second copy of all: only the key columns are joined and sorted,
    and each piece then takes its rows from the tables by their numbers.
    """
    keys = [(name, "ascending", "at_start") for name in ORDER]
    order = pc.sort_indices(pa.concat_tables([part.select(ORDER) for part in parts]), sort_keys=keys)
    for start in range(0, len(order), PIECE):
        yield _picked(parts, order.slice(start, PIECE).to_numpy().astype(np.int64))


def _picked(parts: Sequence[pa.Table], numbers: np.ndarray) -> pa.Table:
    """Rows of several tables by their numbers, counted through all tables.

    Example: of tables with 3 and 2 rows, the numbers [4, 0] are row 1 of the second and row 0 of the first.
    """
    # Tables of 3 and 2 rows, and the numbers 4 0 3. Their owners, the tables that hold them, are 1 0 1. Each table
    # gives all its rows in one call, so they come sorted by owner: 0 | 4 3. `by_owner` = 1 0 2 has the place of each of
    # these in `numbers`. The argsort of a permutation is its inverse, which puts them back: 4 0 3.
    ends = np.cumsum([len(part) for part in parts])
    owners = np.searchsorted(ends, numbers, side="right")
    by_owner = np.argsort(owners, kind="stable")
    starts = ends - [len(part) for part in parts]
    taken = [parts[one].take(numbers[owners == one] - starts[one]) for one in np.unique(owners)]
    return pa.concat_tables(taken).combine_chunks().take(np.argsort(by_owner))


def as_frame(rows: pa.Table) -> pd.DataFrame:
    """Rows for pandas; lists stay Arrow's, a tenth of the size that they would have as objects.

    Text columns that are dictionaries in Arrow become categoricals.
    """
    kept: Callable[[pa.DataType], Any] = lambda kind: pd.ArrowDtype(kind) if pa.types.is_list(kind) else None  # noqa: E731
    frame = rows.unify_dictionaries().to_pandas(types_mapper=kept, split_blocks=True, self_destruct=True)
    del rows
    give_back()
    return coded(
        frame, [name for name in TEXTS if name in frame and isinstance(frame[name].dtype, pd.CategoricalDtype)]
    )


def with_dictionaries(rows: pa.Table) -> pa.Table:
    """The rows with their text columns as dictionaries."""
    for name in (one for one in TEXTS if one in rows.column_names):
        at = rows.column_names.index(name)
        rows = rows.set_column(at, name, pc.dictionary_encode(rows[name]))
    return rows


def coded(rows: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The rows with text columns as ordered categoricals: a number for each row, and each text once.

    A run of five million rows names six methods. As texts a column takes 15 bytes a row, and every grouping and sorting
    hashes them anew; as categoricals it takes one byte, and the numbers are in the order of the texts.
    """
    made = {}
    for name in names:
        column = rows[name].astype("category")
        texts = column.cat.categories.astype("str")
        column = column.cat.rename_categories(texts)  # type: ignore[arg-type]  # An index is faster than a list.
        made[name] = column.cat.set_categories(column.cat.categories.sort_values(), ordered=True)
    return rows.assign(**made)


def repeats(rows: pd.DataFrame, by: Iterable[str]) -> Bool[np.ndarray, " rows"]:
    """Marks each row that repeats the row before it in these columns; two missing values count as the same.

    In sorted rows this finds all doubles, much faster than hashing millions of rows would.
    """
    found = np.ones(len(rows), bool)
    found[:1] = False
    for name in by:
        column = rows[name].cat.codes if rows[name].dtype == "category" else rows[name]
        values, lacking = column.to_numpy(), column.isna().to_numpy()
        found[1:] &= (values[1:] == values[:-1]) | (lacking[1:] & lacking[:-1])
    return found


def as_text(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with plain texts again: the opposite of `coded`."""
    return rows.astype({name: "str" for name in TEXTS if name in rows and rows[name].dtype == "category"})


def give_back() -> None:
    """Return freed memory to the system: Arrow keeps more of it after decoding than the rows take."""
    pa.default_memory_pool().release_unused()
