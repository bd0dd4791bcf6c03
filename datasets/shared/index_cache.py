"""Listings that take long to make, kept as Parquet from one run to the next.

An index is a cache and nothing else: it may be deleted at any time, and where none can be kept all goes on without.
Registers no data set.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from harness.places import ROOT

_KEPT = 8
"""Entries that a name keeps, those used last: several roots or splits, and not every state that they ever were in."""

_log = logging.getLogger("harness.index_cache")


def index_folder() -> Path:
    """Where entries lie: HARNESS_INDEX, or runs/.index in the checkout."""
    return ROOT / Path(os.environ.get("HARNESS_INDEX") or "runs/.index").expanduser()


def cached(name: str, files: Sequence[Path], build: Callable[[], pa.Table]) -> pa.Table:
    """What `build` makes of the files: read from the index folder if it was made of their present state.

    Several processes may ask at once: each builds, whole entries replace each other. An entry that is not what was
    written is made anew. Of a file that is not there its absence is part of the state.

    Args:
        name: Of the kind of index, with its builder's version and what else it depends on ("voc 2 val").
        files: All that `build` reads. A file's state is its path, its size and its time of change (ns).
        build: Makes the table; whatever it raises goes through, and nothing is kept. It depends on the files alone:
            other parameters belong in `name`.

    Returns:
        The table, its schema's metadata included.
    """
    folder, kind = index_folder(), re.sub(r"[^a-zA-Z0-9_.]", "_", name)[:80]
    key = f"{kind}-{_digest_of_states(name, files)}"
    for path in folder.glob(f"{key}-*.parquet"):
        table = _read(path)
        if table is not None:
            return table
    table = build()
    try:
        _write(table, folder, key)
        _drop_old(folder, kind)
    except OSError as error:
        _log.info("%s: the index of %s is not kept (%s)", folder, name, error)
    return table


def _digest_of_states(name: str, files: Sequence[Path]) -> str:
    digest = hashlib.sha256(repr(name).encode())
    for path in files:
        digest.update(repr((os.fspath(path.absolute()), *_state(path))).encode())
    return digest.hexdigest()[:20]


def _state(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _read(path: Path) -> pa.Table | None:
    """An entry, marked as used; None if its bytes are not those of its name."""
    try:
        if not path.stem.endswith(_digest_of_content(path)):
            return None
        table = pq.read_table(path, partitioning=None, memory_map=True)
        _touch(path)
        return table
    except (OSError, pa.ArrowException):  # gone, not readable, or another version's
        return None


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:  # another user's
        return


def _write(table: pa.Table, folder: Path, key: str) -> None:
    """Under another name first: a name promises whole content, which its last part is the digest of."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{key}-{uuid4().hex}.partial"
    try:
        pq.write_table(table, partial, compression="zstd")
        partial.replace(folder / f"{key}-{_digest_of_content(partial)}.parquet")
    finally:
        partial.unlink(missing_ok=True)


def _digest_of_content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:20]


def _drop_old(folder: Path, kind: str) -> None:
    """Let go of entries beyond those a name keeps, and of what killed processes left."""
    entries = [*folder.glob(f"{kind}-*.parquet"), *folder.glob(f"{kind}-*.partial")]
    for path in sorted(entries, key=_last_used, reverse=True)[_KEPT:]:
        path.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process was faster
        return 0.0
