"""Keeps vectors of texts on disk, one file for each text, so that a text tower reads each once for all processes.

    runs/.index/texts/<model and sentences>/<text>      both names are hashes
    runs/.index/texts/<model and sentences>/lock        held by the process that computes

A shelf is only a cache: it may be deleted at any time, and if it cannot be written, the work goes on without it. A file
begins with the SHA-256 of the rest, so that a cut or damaged file is noticed, logged and computed again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from harness import atomic
from harness.places import index_folder

MOST_TEXTS = 10_000
"""How many texts a shelf holds, of 1 to 4 KB each; further ones are computed each time."""

MOST_SHELVES = 8
"""How many shelves are kept; the ones that were not used for the longest time are deleted."""

_DIGEST_BYTES = 32
_LOCK = "lock"

_log = logging.getLogger(__name__)


class TextShelf:
    """The vectors of one model in one set of sentences.

    Args:
        name: A hash of everything that decides a vector.
        kept: Whether vectors are kept; otherwise the shelf does not use the disk.

    Attributes:
        folder: The folder of the files.
    """

    def __init__(self, name: str, kept: bool = True) -> None:
        self.folder = index_folder() / "texts" / name
        self.kept = kept
        if kept:
            # Opening a shelf counts as using it: its folder's time decides which shelves `_drop_old` keeps.
            with suppress(OSError):  # There is none yet.
                os.utime(self.folder)
        self.count: int | None = None

    def read(self, text: str) -> Float32[np.ndarray, " d"] | None:
        """A text's vector; None where there is none, or its file is damaged."""
        path = self._path(text)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, vector = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(vector).digest() != digest:
            _log.warning("%s: damaged; the vector of '%s' is computed again", path, text)
            return None
        return np.frombuffer(vector, np.float32).copy()

    def keep(self, text: str, vector: Float32[np.ndarray, " d"]) -> None:
        """Write a text's vector, whole or not at all, if the shelf has room and can be written."""
        if not self.kept:
            return
        content = np.ascontiguousarray(vector, np.float32).tobytes()
        try:
            if self.count is None:  # Counted once and then added up; what other processes add shows at the next start.
                self.folder.mkdir(parents=True, exist_ok=True)
                self._drop_old()
                self.count = sum(1 for _ in self.folder.iterdir())
            if self.count < MOST_TEXTS:
                atomic.write(self._path(text), hashlib.sha256(content).digest() + content)
                self.count += 1
        except OSError as error:
            self._not_kept(error)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the shelf against all other threads and processes; without a lock if the disk has none."""
        with ExitStack() as held:
            if self.kept:
                try:
                    held.enter_context(atomic.alone(self.folder / _LOCK))
                except OSError as error:
                    self._not_kept(error)
            yield

    def _path(self, text: str) -> Path:
        return self.folder / hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _not_kept(self, error: OSError) -> None:
        _log.warning("%s: embeddings of texts cannot be kept there (%s)", self.folder, error.strerror)
        self.kept = False

    def _drop_old(self) -> None:
        """Delete all but the last used shelves; a process that reads one meanwhile computes the missing vectors."""
        others = [one for one in self.folder.parent.iterdir() if one != self.folder]
        for old in sorted(others, key=_last_used, reverse=True)[MOST_SHELVES - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


def _last_used(shelf: Path) -> float:
    try:
        return shelf.stat().st_mtime
    except OSError:  # Another process has deleted it.
        return 0.0
