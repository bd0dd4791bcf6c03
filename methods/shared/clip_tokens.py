"""CLIP's tokenizer, and the number of tokens that a CLIP reads."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Int64
from torch import Tensor

from harness import atomic
from harness.plugins.interfaces import TextLimit
from harness.structures import UserError

from .clip_config import model_config

if TYPE_CHECKING:
    import open_clip

FULL_VOCABULARY = 49408
"""How many tokens open_clip's vocabulary file has."""

CONTEXT = 77
"""How many tokens a CLIP reads if its config does not say."""

_BYTES_AND_SPECIALS = 2 * 256 + 2


def clip_tokenizer(text_config: Mapping[str, Any]) -> open_clip.SimpleTokenizer:
    """open_clip's tokeniser, its vocabulary cut to the config's `vocab_size` most frequent tokens.

    It cuts a text longer than `context_length` tokens; `check_lengths` refuses such a text. `open_clip.get_tokenizer`
    cannot cut the vocabulary; its token numbers would exceed the embedding of a smaller model.
    """
    import open_clip
    from open_clip.tokenizer import default_bpe

    context_length = text_config.get("context_length", CONTEXT)
    size = _vocabulary_size(text_config)
    if size == FULL_VOCABULARY:
        return open_clip.SimpleTokenizer(context_length=context_length)
    # A vocabulary is 256 bytes, the same 256 as ends of words, one token a merge, and two special tokens. The file has
    # a heading and then the merges, the most frequent first, so the first lines alone are a smaller vocabulary.
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[: 1 + size - _BYTES_AND_SPECIALS]
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "vocabulary.txt.gz"
        atomic.write(cut, gzip.compress("\n".join(lines).encode()))
        return open_clip.SimpleTokenizer(bpe_path=str(cut), context_length=context_length)


def _vocabulary_size(text_config: Mapping[str, Any]) -> int:
    size: int = text_config.get("vocab_size", FULL_VOCABULARY)
    if not _BYTES_AND_SPECIALS < size <= FULL_VOCABULARY:
        raise UserError(
            f"methods/shared/clip_tokens.py: text_cfg.vocab_size is {size}; wanted "
            f"{_BYTES_AND_SPECIALS} plus a number of merges, at most {FULL_VOCABULARY}. Correct the model's config."
        )
    return size


def clip_text_limit(model: str, templates: Callable[[], Sequence[str]], longest: str) -> TextLimit:
    """How many tokens a CLIP reads of a text in its longest template; its weights are not looked at.

    Args:
        model: The model, as `load_clip` takes it.
        templates: Gives the sentences, with one "{}" each; it is asked only for a long text.
        longest: The longest of them.

    Raises:
        UserError: There is no such model, or its vocabulary has a size that cannot be.
    """
    config = model_config(model)["text_cfg"]
    _vocabulary_size(config)  # Told now, not by the first long text or by a worker.
    most = config.get("context_length", CONTEXT)
    tokenizer = cache(lambda: clip_tokenizer(config))
    marks = 2  # of a text's start and its end

    def beyond(text: str) -> int:
        # A token is a byte at least, so that most texts need no tokeniser, whose package takes seconds to import. Only
        # other letters than ASCII may become longer first: the tokeniser parts some of them into a letter and its mark.
        sentence = longest.replace("{}", text)
        if sentence.isascii() and len(sentence) + marks <= most:
            return 0
        tokens = max(len(tokenizer().encode(one.replace("{}", text))) for one in templates()) + marks
        return tokens if tokens > most else 0

    return TextLimit(most, "tokens", f"the CLIP {model}", beyond)


def check_lengths(
    tokenizer: open_clip.SimpleTokenizer, texts: Sequence[str], tokens: Int64[Tensor, "texts context"]
) -> None:
    """Refuse a text that the tokeniser cut, as the tokeniser of OpenAI's own code does."""
    # A text that was cut fills its row up to the end mark in the last place. One that fits exactly does so too.
    for index in (tokens[:, -1] != 0).nonzero().flatten().tolist():
        needed = len(tokenizer.encode(texts[index])) + 2  # the marks of its start and its end
        if needed > tokens.shape[1]:
            raise ValueError(
                f"found a text of {needed} tokens, '{texts[index]}'; wanted at most {tokens.shape[1]}, which is all "
                "that this CLIP reads. Shorten the text or its template, or choose a CLIP with a longer context."
            )
