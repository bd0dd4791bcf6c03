"""The column `clicks` as numbers: how many clicks each row has, where, and whether two rows have the same ones."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64, UInt64

from harness.storage.rows import COLUMNS


def click_counts(clicks: pd.Series[Any]) -> Int64[np.ndarray, " n"]:
    """How many clicks each row has; 0 for a row without a list."""
    return pc.fill_null(pc.list_value_length(_listed(clicks)), 0).to_numpy().astype(np.int64)


def click_lists(clicks: pd.Series[Any]) -> list[list[dict[str, Any]]]:
    """The clicks of each row, as x, y and positive; an empty list for a row without one."""
    return [one or [] for one in _listed(clicks).to_pylist()]


def click_keys(clicks: pd.Series[Any], most: int | None = None) -> UInt64[np.ndarray, " n"]:
    """A number a row: equal for the same clicks in the same order, different otherwise but for one chance in 2^64.

    Two methods may only be compared where they had the same clicks. Comparing millions of lists of points in Python
    takes minutes, so each list becomes one number: each click's x, y, sign and place in the list are packed into 64
    bits and mixed, and a row's numbers are added up.

    Args:
        clicks: The column.
        most: Use only this many clicks of a row, the first ones.
    """
    listed = _listed(clicks)
    if most is not None:
        listed = pc.list_slice(listed, 0, most)
    # Arrow keeps all clicks of all rows end to end; row i has those from offsets[i] to offsets[i + 1]:
    #
    #    rows      [p q]  []  [r]        offsets   0 2 2 3      counts   2 0 1
    #    clicks     p q r                place     0 1 0
    #
    # So all clicks are packed and mixed at once, and `add.at` sums them by row. The place within the row is mixed in,
    # since a sum alone would give [p q] and [q p] the same number.
    offsets = listed.offsets.to_numpy().astype(np.int64)
    x, y, positive = (np.asarray(listed.values.field(name)).astype(np.int64) for name in ("x", "y", "positive"))
    counts = np.diff(offsets)
    place = np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], counts)
    span = slice(offsets[0], offsets[-1])
    mixed = _mixed((x << 33 ^ y << 1 ^ positive)[span].astype(np.uint64) ^ _mixed(place.astype(np.uint64)))
    keys = np.zeros(len(counts), dtype=np.uint64)
    np.add.at(keys, np.repeat(np.arange(len(counts)), counts), mixed)
    return keys


def click_points(clicks: pd.Series[Any]) -> list[list[list[int]]]:
    """Each row's clicks as x, y and whether it is positive (1 or 0); an empty list for a row without clicks."""
    listed = _listed(clicks)
    columns = [np.asarray(listed.values.field(name)).astype(np.int64) for name in ("x", "y", "positive")]
    points = np.stack(columns, axis=1).tolist()
    return [points[start:end] for start, end in itertools.pairwise(listed.offsets.to_pylist())]


def _mixed(numbers: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Splitmix64's finaliser (Steele, Lea and Flood, OOPSLA 2014), which turns near numbers into unrelated ones.

    Without it, sums would collide: the clicks (1, 2) and (3, 4) add up to the same as (1, 4) and (3, 2).
    """
    numbers = (numbers + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _listed(clicks: pd.Series[Any]) -> pa.ListArray:
    """The clicks as one Arrow array, without copies where they are one."""
    kind = COLUMNS["clicks"]
    if isinstance(clicks.dtype, pd.ArrowDtype):
        found = pa.array(clicks)
        found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
        return found.cast(kind)
    return pa.array([list(one) if hasattr(one, "__iter__") else None for one in clicks], kind)
