"""Cuts a text into the word pieces that BERT knows, as LAVT's authors do.

The package `tokenizers` (Apache-2.0, in the extra `referring`) does the cutting. The published weights need the
vocabulary that BERT's authors publish, a text file with one piece on each line. Weights that were trained here contain
their own words; any other word is spelled letter by letter:

    left car      [CLS] left car [SEP]
    left boat     [CLS] left b ##o ##a ##t [SEP]
"""

from __future__ import annotations

import hashlib
import string
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from harness.plugins.interfaces import TextLimit
from harness.structures import UserError

LENGTH = 20
"""How many word pieces LAVT reads, the marks at the beginning and the end included."""

BERT_BASE_UNCASED = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
"""SHA-256 of the vocabulary of bert-base-uncased, with which all published weights were trained."""

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""The pieces that are no part of a word: padding, an unknown word, a text's beginning and its end."""

WHERE = "methods/lavt/word_pieces.py"
REMEDY = "Set `vocab` to the vocabulary of bert-base-uncased: python -m harness weights fetch bert_base_uncased_vocab."


class WordPieces:
    """Texts -> the numbers of their word pieces.

    Args:
        vocabulary: The word pieces; the place in this list is the piece's number.
        source: The origin of the vocabulary, for messages.
    """

    def __init__(self, vocabulary: Sequence[str], source: str) -> None:
        try:
            from tokenizers import BertWordPieceTokenizer
        except ImportError as error:
            raise UserError(
                f"{WHERE}: found no package tokenizers ({error}); wanted it installed. Run `pip install tokenizers`, "
                "or install this package with its extra `referring`."
            ) from error
        self.source = source
        numbers = {piece: number for number, piece in enumerate(vocabulary)}
        self.tokenizer: Any = BertWordPieceTokenizer(numbers, lowercase=True)
        self.unknown = numbers["[UNK]"]

    @classmethod
    def from_file(cls, vocab: Path, size: int) -> WordPieces:
        """The word pieces in a vocabulary's file, for a BERT that knows `size` pieces.

        Raises:
            UserError: The file is missing, is no vocabulary of BERT, or has another number of pieces.
        """
        return cls(read_vocabulary(vocab, size), str(vocab))

    def __call__(self, texts: list[str]) -> tuple[Int64[Tensor, "n 20"], Float[Tensor, "n 20"]]:
        """The pieces' numbers, padded with 0; and a 1 for each piece, 0 for padding.

        A text with more pieces is cut, and the mark at its end is cut off, too, as in the weights' training.

        Raises:
            ValueError: The vocabulary has no piece for any word of a text, as far as it is read.
        """
        ids, known = torch.zeros(len(texts), LENGTH, dtype=torch.int64), torch.zeros(len(texts), LENGTH)
        for row, text in enumerate(texts):
            found = self.tokenizer.encode(text).ids
            self._check(text, found)
            # A slice ends where the row ends, so a longer text fills the row and leaves no padding.
            ids[row, : len(found)] = torch.tensor(found[:LENGTH])
            known[row, : len(found)] = 1
        return ids, known

    def reads_whole(self, word: str) -> bool:
        """Whether a word of the vocabulary is read as the piece that it is there, and not cut or changed before."""
        return list(self.tokenizer.encode(word, add_special_tokens=False).tokens) == [word]

    def _check(self, text: str, found: list[int]) -> None:
        # The marks at both ends are left out. A text of unknown words alone would get a mask unrelated to it.
        if all(one == self.unknown for one in found[1:-1][: LENGTH - 1]):
            raise ValueError(f"found no word in {text!r} that {self.source} knows; wanted one at least.")
        if len(found) > LENGTH:
            warnings.warn(
                f"LAVT reads the first {LENGTH} word pieces of a text, as in its authors' code; longer texts are cut.",
                stacklevel=2,
            )


def spelling(words: Sequence[str]) -> tuple[str, ...]:
    """A vocabulary of these words, and of all letters and digits, by which any other word is spelled."""
    signs = string.ascii_lowercase + string.digits
    return tuple(dict.fromkeys([*MARKS, *words, *signs, *(f"##{sign}" for sign in signs)]))


def word_piece_limit(vocab: Path | Sequence[str]) -> list[TextLimit]:
    """LAVT's limit of word pieces; empty if the package is missing, or the file is no vocabulary of BERT.

    Args:
        vocab: The vocabulary's file, or the word pieces, each at its number.
    """
    try:
        from tokenizers import BertWordPieceTokenizer
    except ImportError:
        return []
    try:
        pieces = pieces_in(vocab) if isinstance(vocab, Path) else vocab
    except UserError:  # Loading it reports the fault.
        return []
    tokenizer: Any = BertWordPieceTokenizer({piece: number for number, piece in enumerate(pieces)}, lowercase=True)

    def beyond(text: str) -> int:
        pieces = len(tokenizer.encode(text).ids)
        return pieces if pieces > LENGTH else 0

    return [TextLimit(LENGTH, "word pieces", "LAVT", beyond, cut=True)]


def read_vocabulary(vocab: Path, size: int) -> list[str]:
    """The word pieces in a file; warns if it is not the published one.

    Raises:
        UserError: There is no such file, it is no vocabulary of BERT, or it has another number of pieces.
    """
    pieces = pieces_in(vocab)
    if len(pieces) != size or pieces[0] != MARKS[0]:
        raise UserError(
            f"{WHERE}: {vocab}: found {len(pieces)} word pieces, {pieces[0]!r} first; wanted the {size} of the "
            f"checkpoint's BERT, '{MARKS[0]}' first: this is the vocabulary of another model. {REMEDY}"
        )
    if hashlib.sha256(vocab.read_bytes()).hexdigest() != BERT_BASE_UNCASED:
        warnings.warn(
            f"{vocab} is not the vocabulary of bert-base-uncased (SHA-256 {BERT_BASE_UNCASED[:12]}...), with which "
            "the published weights of LAVT were trained. With another vocabulary LAVT misreads the words.",
            stacklevel=2,
        )
    return pieces


def pieces_in(vocab: Path) -> list[str]:
    """The word pieces in a file.

    Raises:
        UserError: There is no such file, or it is no vocabulary of BERT.
    """
    if not vocab.is_file():
        raise UserError(f"{WHERE}: no file at vocab={vocab}. {REMEDY}")
    try:
        pieces = [line.rstrip() for line in vocab.read_text("utf-8").rstrip("\n").split("\n")]
    except UnicodeDecodeError as error:
        raise UserError(
            f"{WHERE}: {vocab}: found no text ({error}); wanted one word piece per line. {REMEDY}"
        ) from error
    if lacking := [mark for mark in MARKS if mark not in pieces]:
        raise UserError(f"{WHERE}: {vocab}: found no {', '.join(lacking)}; wanted a vocabulary of BERT. {REMEDY}")
    return pieces
