"""Seen classes: the lists of datasets/class_splits/, one file a split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.registry import suggest
from harness.structures import UserError

_FOLDER = Path(__file__).parent / "class_splits"


def seen_names(seen: str | Sequence[str]) -> tuple[str, ...]:
    """The names of a split: those given, or those in datasets/class_splits/<seen>.txt, one a line, # for comments."""
    if not isinstance(seen, str):
        return tuple(seen)
    path = _FOLDER / f"{seen}.txt"
    if not path.is_file():
        known = (file.stem for file in _FOLDER.glob("*.txt"))
        raise UserError(f"datasets: no split datasets/class_splits/{seen}.txt. {suggest(seen, known)}")
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
