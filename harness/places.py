"""Where things lie: the code and what comes with it, the user's data, and a file's hash."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_IN_CHECKOUT = (_PACKAGE.parent / "pyproject.toml").is_file() and (_PACKAGE.parent / "methods").is_dir()

ROOT = _PACKAGE.parent if _IN_CHECKOUT else Path.cwd()
"""What relative paths of configs count from: the checkout or, where the harness is installed, the current folder."""


def shipped(path: str) -> Path:
    """A file or folder that comes with the harness, by its path in the checkout: `methods`, `configs/quickstart.yaml`.

    A wheel carries methods/, datasets/ and configs/ inside the package harness/.
    """
    if _IN_CHECKOUT:
        return _PACKAGE.parent / path
    return _PACKAGE / path.removeprefix("harness/")


def located(path: str | Path) -> Path:
    """A config's path on this machine: from the checkout's root, or from HARNESS_DATA for what lies in data/."""
    path = Path(path).expanduser()
    data = os.environ.get("HARNESS_DATA")
    if data and path.parts[:1] == ("data",):
        return Path(data).expanduser().absolute().joinpath(*path.parts[1:])
    return ROOT / path


@lru_cache
def sha256(path: Path, changed_ns: int) -> str:
    """A file's SHA-256; `changed_ns` is its modification time, so that a changed file is hashed anew."""
    del changed_ns
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
