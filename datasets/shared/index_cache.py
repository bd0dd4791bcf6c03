"""Keeps listings that take long to make, as Parquet files, from one run to the next.

The files are only a cache: they may be deleted at any time, and if one cannot be written, the work goes on without it.

An entry's file name has three parts, `voc_2_val-<state>-<content>.parquet`: the kind of index, a digest of the state
(path, size, time of change) of the files that it was made of, and a digest of its own bytes. So a reader needs no lock:
a changed source gives another name, and a half-written or damaged entry does not match its name and is made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harness import atomic
from harness.places import index_folder

_KEPT = 8
"""How many entries of a kind are kept, the last used ones: enough for several roots or splits, not for every state."""

_log = logging.getLogger("harness.index_cache")


def cached(name: str, files: Sequence[Path], build: Callable[[], pa.Table]) -> pa.Table:
    """The table that `build` makes from the files; read from the index folder if they have not changed since.

    Several processes may call this at once: each builds the table, and whole entries replace each other. A missing file
    is a state, too, so the table is built anew once the file is there.

    Args:
        name: The kind of index, with the version of its builder and everything else that it depends on ("voc 2 val").
        files: All files that `build` reads.
        build: A function that makes the table from the files alone; its other parameters belong in `name`. If it
            raises, nothing is kept.

    Returns:
        The table with its schema's metadata.
    """
    folder, kind = index_folder(), re.sub(r"[^a-zA-Z0-9_.]", "_", name)[:80]
    key = f"{kind}-{_digest_of_states(name, files)}"
    # Usually there is one entry. One whose bytes do not match its name is damaged and is skipped.
    for path in folder.glob(f"{key}-*.parquet"):
        table = _read(path)
        if table is not None:
            return table
    table = build()
    try:
        _drop_old(folder, kind, _write(table, folder, key))
    except OSError as error:
        _log.info("%s: the index of %s is not kept (%s)", folder, name, error)
    return table


def _digest_of_states(name: str, files: Sequence[Path]) -> str:
    digest = hashlib.sha256(repr(name).encode())
    for path in files:
        # Size and time take the place of the content. Hashing the content would take as long as reading the file, and
        # the index exists to save that time.
        digest.update(repr((os.fspath(path.absolute()), *_state(path))).encode())
    return digest.hexdigest()[:20]


def _state(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    # A file that may not be read is as good as missing. Its size and time stay the same once it may be.
    return (stat.st_size, stat.st_mtime_ns) if os.access(path, os.R_OK) else (-1, -1)


def _read(path: Path) -> pa.Table | None:
    """Read an entry and mark it as used; None if its bytes do not match its name."""
    try:
        if not path.stem.endswith(_digest_of_content(path)):
            return None
        table = pq.read_table(path, partitioning=None, memory_map=True)
        _touch(path)
        return table
    except (OSError, pa.ArrowException):  # It is gone, unreadable or written by another version.
        return None


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:  # It belongs to another user.
        return


def _write(table: pa.Table, folder: Path, key: str) -> Path:
    """Write an entry, whose name ends in the digest of its content, so that one that was cut is known by its name."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content = sink.getvalue()
    path = folder / f"{key}-{hashlib.sha256(content).hexdigest()[:20]}.parquet"
    atomic.write(path, content)
    return path


def _digest_of_content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:20]


def _drop_old(folder: Path, kind: str, new: Path) -> None:
    """Delete all but the new and the last used entries of a kind, and what killed processes left."""
    entries = [*folder.glob(f"{kind}-*.parquet"), *folder.glob(f".{kind}-*.parquet.*")]
    # The others may have times of a clock that was ahead, and would then seem to be newer than the new one.
    others = sorted((path for path in entries if path != new), key=_last_used, reverse=True)
    for path in others[_KEPT - 1 :]:
        path.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # Another process has deleted it.
        return 0.0
