"""Reads texts.csv: the users' words for the instances in their folder.

Registers no data set.
"""

from __future__ import annotations

import csv
import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.structures import UserError

COLUMNS = ("image", "instance", "category", "text", "seen")
_SEEN = {"": None, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Words(NamedTuple):
    """The content of a row, with its place in the file for messages."""

    category: str = ""
    text: str = ""
    seen: bool | None = None
    where: str = ""


def read_texts(path: Path, stems: Mapping[str, str]) -> dict[str, dict[str, Words]]:
    """Image -> instance -> words, in the file's order; empty if there is no file. An unnamed instance is "".

    Args:
        path: The CSV, in UTF-8.
        stems: A name that a row may have for an image, with or without suffix -> the name without suffix.

    Raises:
        UserError: A column or a row has no meaning.
    """
    texts: dict[str, dict[str, Words]] = {}
    seen: dict[str, Words] = {}
    for where, row in _rows(path) if path.exists() else ():
        image = _stem(row["image"], stems, where)
        words = Words(row["category"], row["text"], _is_seen(row["seen"], where), where)
        # `setdefault` gives the row that was kept for this instance: this one if it is the first, else the earlier one.
        earlier = texts.setdefault(image, {}).setdefault(row["instance"], words)
        if earlier is not words:
            raise UserError(f"{where}: found a second row of an instance, after {earlier.where}. Delete one of them.")
        # The same for a category: its first row says whether it is seen, and all others must agree.
        if (first := seen.setdefault(words.category, words)).seen is not words.seen and words.category:
            raise UserError(
                f"{where}: found seen={row['seen']!r} for '{words.category}', unlike {first.where}; wanted one "
                "answer per category."
            )
    return texts


def named(texts: Mapping[str, Words], keys: Sequence[str], image: str) -> dict[str, Words]:
    """An image's words by instance; a row that names none means the only one.

    Args:
        texts: Instance, as its row names it -> its words.
        keys: The instances; "" for the one of `masks/<image>.png`, which a row may also call by its file's name.
        image: The image's name without suffix.

    Raises:
        UserError: A row names no instance of the image.
    """
    known = {key or image: key for key in keys}
    found: dict[str, Words] = {}
    for key, words in texts.items():
        said = next(iter(known)) if not key and len(keys) == 1 else key
        if said not in known:
            raise UserError(
                f"{words.where}: found instance {key!r}; wanted one of the image's {len(keys)}: "
                f"{', '.join([*known][:10])}{', ...' if len(keys) > 10 else ''}."
            )
        if known[said] in found:
            raise UserError(f"{words.where}: found a second row of instance {said!r}. Delete one of them.")
        found[known[said]] = words
    return found


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'a'?`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def _rows(path: Path) -> Iterable[tuple[str, dict[str, str]]]:
    """Each row with its place; a column that is not there is empty."""
    try:
        # "utf-8-sig" skips the mark that Excel puts before a CSV; without it the first column would not be called
        # "image".
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = _columns(path, [name.strip() for name in next(reader, [])])
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                if len(cells) > len(columns):
                    raise UserError(
                        f"{where}: found {len(cells)} cells; wanted {len(columns)}. Put text with a comma in quotes."
                    )
                if any(cell.strip() for cell in cells):
                    # A file's name may have an accented letter as two characters, as macOS wrote it; NFC makes both
                    # spellings one.
                    texts = (unicodedata.normalize("NFC", cell.strip()) for cell in cells)
                    yield where, dict.fromkeys(COLUMNS, "") | dict(zip(columns, texts, strict=False))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}). Wanted a CSV in UTF-8, with commas.") from error


def _columns(path: Path, columns: list[str]) -> list[str]:
    for column in columns:
        if column not in COLUMNS or columns.count(column) > 1:
            raise UserError(
                f"{path}: found the column {column!r}{' twice' if column in COLUMNS else ''}; "
                f"wanted some of {', '.join(COLUMNS)}, with commas between."
            )
    if "image" not in columns:
        raise UserError(f"{path}: found no column 'image'; wanted {', '.join(COLUMNS)} in the first line.")
    return columns


def _stem(image: str, stems: Mapping[str, str], where: str) -> str:
    if image not in stems:
        raise UserError(f"{where}: found image {image!r}; wanted one in images/.{did_you_mean(image, stems)}")
    return stems[image]


def _is_seen(answer: str, where: str) -> bool | None:
    if answer.lower() not in _SEEN:
        raise UserError(f"{where}: found seen={answer!r}; wanted true, false or nothing.")
    return _SEEN[answer.lower()]
