"""Counts the words by which a method was asked for instances, and those of them that it does not know.

A method that was trained with a vocabulary of its own reads any other word as "unknown". For such a class its mask is
as good as without words, so tables show how often that happened. For the texts "left car" and "kayak", and a vocabulary
with "left" and "car", the counts are (0 unknown, 2 read) and (1, 1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from harness.plugins.failures import contained
from harness.plugins.interfaces import Method
from harness.structures import Record


def words_asked(method: Method, records: Sequence[Record]) -> dict[str, tuple[int, int]]:
    """Image's id -> how many words of its instances the method does not know, and how many it reads.

    An instance counts once, however many clicks, draws and rankings it has; a failed one counts, too.

    Args:
        method: The method that was asked.
        records: The rows.

    Returns:
        The counts; empty for a method without a vocabulary of its own, and without images that were asked without text.
    """
    if type(method).unknown_words is Method.unknown_words:
        return {}
    asked = {(one.image_id, one.instance_id): one.text for one in records if one.text}
    counts = {text: _counted(method, text) for text in set(asked.values())}
    found: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for (image, _), text in asked.items():
        unknown, read = counts[text]
        found[image] = found[image][0] + unknown, found[image][1] + read
    return dict(found)


def _counted(method: Method, text: str) -> tuple[int, int]:
    """The counts of one text; (0, 0) if the method fails on it, since its row then has the reason."""
    try:
        with contained():
            return method.unknown_words(text) or (0, 0)
    except Exception:
        return 0, 0
