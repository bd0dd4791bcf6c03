"""People's prompts, one in each file: a prompt is confirmed to the browser only once it is on the disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.clicks.recordings import COLUMNS
from harness.storage.folder import write_bytes
from harness.storage.shards import parquet

ID = re.compile(r"[0-9a-f]{32}")
"""The form of a recording's id, since it names its file."""


def record(folder: Path, row: Mapping[str, Any]) -> Path:
    """Write a prompt to a file of its own, whole or not at all, and return once it is on the disk.

    Two browsers never write the same file, and a prompt that is sent again replaces itself.

    Args:
        folder: The folder of recordings.
        row: A value for each of `COLUMNS`; the id matches `ID`.

    Raises:
        UserError: The folder cannot be written.
    """
    assert ID.fullmatch(row["id"]), "the id names the file"
    path = folder / f"{row['id']}.parquet"
    write_bytes(path, parquet(pa.Table.from_pylist([dict(row)], schema=COLUMNS)))
    return path


def count(folder: Path) -> int:
    """How many prompts a folder holds."""
    return sum(1 for _ in folder.glob("*.parquet"))
