"""Reads word vectors from a text file: GloVe's, word2vec's or fastText's (.vec), a word and its numbers a line.

Pickles and binary files are never read. The vectors of millions of words would take gigabytes of memory, so only each
word's place in the file is kept, and its line is read when it is needed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from harness.structures import UserError

WHERE = "methods/vlt/word_vectors.py"
WANTED = "wanted word vectors as text, one word with its numbers per line, as GloVe, word2vec and fastText publish them"
HEADER = re.compile(rb"\d+ \d+\s*")
"""The first line of word2vec's and fastText's files: the number of words, and the length of a vector."""

SPLIT = (
    ("i", "m"),
    ("i you he she it we they", "ll d"),
    ("i you we they", "ve"),
    ("you they", "re"),
    ("he she", "s"),
    ("who what when where why how there that", "s ll ve d"),
    ("what when where why how there that", "re"),
    ("ca could do does did had may might must need ought sha should wo would", "nt"),
    ("ai are is was were have has dare", "nt"),
    ("could might must should would", "ve"),
    ("can", "not"),
    ("gon", "na"),
    ("got", "ta"),
    ("y", "all"),
)
WHOLE = {"ill", "hell", "shell", "well", "shed"}
CONTRACTIONS = {
    first + last: (first, last)
    for firsts, lasts in SPLIT
    for first in firsts.split()
    for last in lasts.split()
    if first + last not in WHOLE
}
"""The words without their apostrophe that spaCy, which the published run used, splits in two: "whos" is who, s. Words
that look like one but mean something else, such as "its" and "well", stay whole there, too.

Source: spacy/lang/en/tokenizer_exceptions.py of https://github.com/explosion/spaCy at 00cfadb."""


class WordVectors:
    """The vectors of a file.

    Args:
        path: The file.
        width: Numbers of a vector; the network's.
    """

    def __init__(self, path: Path, width: int) -> None:
        self.path, self.width = path, width
        self.places = places_of(path, width)

    def of(self, word: str) -> Float32[np.ndarray, " width"] | None:
        """A word's vector: the mean over its parts ("t-shirt": t, -, shirt), as in spaCy; None if no part has one.

        Raises:
            ValueError: A line of the file holds something other than numbers.
        """
        parts = CONTRACTIONS.get(word) or [part for part in re.split(r"(-)", word) if part]
        found = [self._read(part) for part in parts if part in self.places]
        # A part without a vector counts as zeros in the mean.
        return np.asarray(np.sum(found, axis=0) / len(parts), np.float32) if found else None

    def _read(self, word: str) -> Float32[np.ndarray, " width"]:
        with self.path.open("rb") as file:
            file.seek(self.places[word])
            numbers = file.readline().split()[1:]
        try:
            vector = np.array(numbers, np.float32)
        except ValueError as error:
            raise ValueError(f"{self.path}: found no numbers after {word!r} ({error}); {WANTED}.") from error
        if not np.isfinite(vector).all():  # They would make every logit NaN, and the mask empty.
            raise ValueError(f"{self.path}: found NaN or infinity after {word!r}; {WANTED}.")
        return vector


def places_of(path: Path, width: int) -> dict[str, int]:
    """The byte at which each word's line begins; if a word comes twice, its first line.

    Lines with another number of fields are left out: some of GloVe's words contain blanks.

    Raises:
        UserError: The file is missing, is no text, holds no vectors, or they have another width.
    """
    if not path.is_file():
        raise UserError(f"{WHERE}: no file at vectors={path}; {WANTED}. Correct `vectors` (docs/referring.md).")
    with path.open("rb") as file:
        first = file.readline()
    found = _width(first, path)
    if found != width:
        raise UserError(
            f"{WHERE}: {path}: found vectors of {found} numbers; wanted {width}, as the checkpoint's words have. Take "
            "the file of that width."
        )
    places: dict[str, int] = {}
    with path.open("rb") as file:
        place = 0
        for number, line in enumerate(file):
            kept = line.rstrip()
            if kept.count(b" ") == width and not (number == 0 and HEADER.fullmatch(line)):
                places.setdefault(kept[: kept.index(b" ")].decode("utf-8", "replace"), place)
            place += len(line)
    if not places:
        raise UserError(f"{WHERE}: {path}: found no line with a word and {width} numbers, blanks between; {WANTED}.")
    return places


def _width(first: bytes, path: Path) -> int:
    """How many numbers a vector has, found from the file's first line."""
    fields: list[Any] = first.split()
    try:
        first.decode("utf-8")
        if HEADER.fullmatch(first):
            return int(fields[1])
        [float(one) for one in fields[1:]]
    except (UnicodeDecodeError, ValueError):
        fields = []
    if len(fields) < 2:
        raise UserError(f"{WHERE}: {path}: found no vectors in its first line; {WANTED}, no binary file and no pickle.")
    return len(fields) - 1
