"""Seen classes: the lists of harness/plugins/splits/, one file a split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.messages import suggest
from harness.structures import UserError

_FOLDER = Path(__file__).parent / "splits"


def seen_names(seen: str | Sequence[str]) -> tuple[str, ...]:
    """The names of a split: those given, or those in harness/plugins/splits/<seen>.txt, one a line, # for comments."""
    if not isinstance(seen, str):
        return tuple(seen)
    path = _FOLDER / f"{seen}.txt"
    if not path.is_file():
        known = (file.stem for file in _FOLDER.glob("*.txt"))
        raise UserError(f"datasets: no split harness/plugins/splits/{seen}.txt. {suggest(seen, known)}")
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def marked(names: Sequence[str] | None, classes: Sequence[str], where: str) -> Mapping[str, bool]:
    """Class -> whether it is among the seen names; empty without a split.

    Raises:
        UserError: A name is no class.
    """
    for name in names or ():
        if name not in classes:
            raise UserError(f"{where}: no category '{name}', which `seen` names. {suggest(name, classes)}")
    return {} if names is None else {name: name in names for name in classes}


def split_hash(names: Iterable[str]) -> str:
    """The first 12 digits of the SHA-256 of the sorted names, one a line: it identifies a split whatever its name."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(set(names))).encode()).hexdigest()[:12]


def split_of(seen: Mapping[str, bool]) -> str | None:
    """The hash of `marked` classes' split, for a data set's fingerprint; None without a split."""
    return split_hash(name for name, known in seen.items() if known) if seen else None
