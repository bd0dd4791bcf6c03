"""Files that are whole or not there: the one place where the harness, its methods and its data sets write to a disk.

A file is first written under another name in the same folder, then flushed to the disk, then renamed, and a rename
is one step for every reader and for a crash:

    .results.parquet.5f0c...    being written; whoever lists the folder takes it for no result
    results.parquet             the old content until the rename, the new one from then on, never a part of it

A write that fails raises OSError; the caller decides whether that is worth a message, a warning or nothing.
"""

from __future__ import annotations

import fcntl
import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends; if it raises, `path` stays as it was.

    Raises:
        OSError: It cannot be written, as on a full disk.
    """
    # In the same folder, for a rename is one step only within one file system. The random part keeps two writers of one
    # file from writing into the same temporary file.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Before the rename, the bytes must be on the disk. A file system may write names before contents: after a power
        # cut the new name could then lead to an empty file, and the old content would be gone.
        with temporary.open("xb") as file:
            yield file
            _sync(file)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write(path: Path, content: bytes) -> None:
    """Write a whole file.

    Raises:
        OSError: It cannot be written; the old file is kept.
    """
    with replacing(path) as file:
        file.write(content)


def create(path: Path, content: bytes) -> bool:
    """Write a small file that is not there yet; if two processes try at once, one of them writes it.

    Returns:
        Whether this process wrote it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # "x" fails if the file exists, and the system decides between two processes. A temporary file and a rename
        # would not do: a rename replaces the existing file, and both would believe that they were first. The price is
        # that a reader may open the file before its few bytes are in it.
        file = path.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(content)
    except OSError:
        path.unlink()
        raise
    return True


def is_left_over(name: str) -> bool:
    """Whether a file has the name of a temporary file that is being written, or that a killed writer left."""
    return re.fullmatch(r"\..+\.[0-9a-f]{32}", name) is not None


def remove_left_over(path: Path) -> None:
    """Remove the temporary files that killed writers of a file left behind.

    Call it only while holding a lock on the file: without one, a temporary file may belong to a writer that still runs.
    """
    for one in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if is_left_over(one.name):
            one.unlink(missing_ok=True)


@contextmanager
def continuing(path: Path, start: int) -> Iterator[BinaryIO]:
    """A file to which a download is added from byte `start`, which is the file's end, or 0 to begin anew.

    It stays on the disk if the block raises, so that a later try can go on. `rename` gives it its final name once it is
    whole.
    """
    with path.open("ab" if start else "wb") as file:
        yield file
        _sync(file)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for a lock file and hold it, among all threads and processes; the system frees it if its holder dies.

    Raises:
        OSError: The file cannot be made. On a disk without locks, such as some network disks, nothing is raised and
            nothing is locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def rename(path: Path, to: Path) -> None:
    """Give a file that is whole and synced its name."""
    path.replace(to)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
