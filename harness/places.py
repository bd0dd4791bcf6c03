"""Finds files: those that come with the harness, and the user's; and hashes them.

There are two ways to have the harness. In a checkout, the folders harness/, methods/, datasets/ and configs/ are side
by side, and relative paths count from their root, wherever a command is started. A wheel installs one package:

    site-packages/harness/            harness/ of the checkout
    site-packages/harness/methods/    methods/, the embedded weights included
    site-packages/harness/datasets/   datasets/
    site-packages/harness/configs/    configs/

Relative paths then count from the current folder. A file that is not there, but is in one of the four folders that come
with the harness, is taken from the package: `configs/quickstart.yaml` works in an empty folder.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from harness.structures import UserError

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = ("configs", "datasets", "harness", "methods")
_ONLY_HERE = ("data", "runs", "weights")
"""Folders of a checkout that the copies for Ray's workers leave out."""


def is_checkout(folder: Path) -> bool:
    """Whether this folder is a checkout of the harness's source."""
    return (folder / "pyproject.toml").is_file() and (folder / "harness" / "places.py").is_file()


CHECKOUT = _PACKAGE.parent if is_checkout(_PACKAGE.parent) else None
"""The checkout that this code is part of; None where the harness is installed."""

ROOT = CHECKOUT or Path.cwd()
"""The folder from which relative paths count."""


def shipped(path: str | Path) -> Path:
    """A file or folder that comes with the harness, by its path in the checkout: `configs/quickstart.yaml`."""
    return CHECKOUT / path if CHECKOUT else _PACKAGE / str(path).removeprefix("harness/")


def is_installed(path: Path) -> bool:
    """Whether a file is in the installed package; False in a checkout, whose files the user may change."""
    return CHECKOUT is None and path.is_relative_to(_PACKAGE)


def with_home(path: str | Path) -> Path:
    """A path in which a leading `~` or `~user` is the home folder of that user.

    Raises:
        UserError: This machine knows no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{path}: this machine knows no home folder of '{Path(path).parts[0]}'. Write the folder's whole path."
        ) from error


def located(path: str | Path) -> Path:
    """The file or folder on this machine to which a config's path leads.

    HARNESS_DATA replaces data/. A relative path counts from ROOT; a file that is not there may come with the harness.
    """
    path = with_home(path)
    data = os.environ.get("HARNESS_DATA")
    if data and path.parts[:1] == ("data",):
        return with_home(data).absolute().joinpath(*path.parts[1:])
    comes_along = path.parts[:1] and path.parts[0] in _SHIPPED and not (ROOT / path).exists()
    return shipped(path) if comes_along and shipped(path).exists() else ROOT / path


def index_folder() -> Path:
    """The folder that keeps listings and embedded texts between runs: HARNESS_INDEX, or runs/.index under ROOT."""
    return ROOT / with_home(os.environ.get("HARNESS_INDEX") or "runs/.index")


def for_workers(path: str | Path) -> Path:
    """A config's path in the form by which workers find the same file on any node.

    A file that comes with the harness keeps its relative path, since each node has its own copy. Every other path
    becomes absolute: its file is on this machine, or on a disk that all nodes share.
    """
    path = with_home(path)
    only_here = path.is_absolute() or (path.parts[:1] and path.parts[0] in _ONLY_HERE)
    return path if not only_here and located(path) == shipped(path) else located(path)


def config(path: Path) -> Path:
    """The file of a config, which may be given by its name alone if it comes with the harness.

    `quickstart` is configs/quickstart.yaml. A file of that very path in the current folder comes first.
    """
    by_name = path.name == str(path) and not path.suffix
    named = shipped("configs") / f"{path}.yaml" if by_name else shipped(path)
    return named if not path.exists() and (by_name or path.parts[:1] == ("configs",)) and named.is_file() else path


def config_names() -> list[str]:
    """The configs that come with the harness, by name."""
    return sorted(file.stem for file in shipped("configs").glob("*.yaml"))


def file_state(path: Path) -> tuple[int, int, int]:
    """Three numbers that show if a file is written or replaced: its size in bytes, modification time in ns, and inode.

    Raises:
        OSError: There is none.
    """
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def sha256(path: Path) -> str:
    """A file's SHA-256; a process hashes it again only when its `file_state` has changed.

    Raises:
        OSError: It cannot be read.
    """
    return _hashed(path, file_state(path))


@lru_cache
def _hashed(path: Path, state: tuple[int, int, int]) -> str:
    del state
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
