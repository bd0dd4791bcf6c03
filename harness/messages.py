"""Makes parts of messages to the reader: what was meant, what was found and what was wanted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_WANTED = {
    "missing": "a value",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "a path",
    "too_short": "at least one",
    "invalid_key": "text as every key",
    "dataclass_type": "a mapping",
}
"""pydantic's error type -> the wanted value, in words for a reader who knows YAML but not Python."""


def readable(text: str) -> str:
    r"""Text that every file and terminal takes: bytes that are no Unicode, as in Latin-1 names, become `\udce9`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


_FOLDERS = re.compile(r"(?:^|(?<=[\s'\"`(=\[{,:]))(?:file://)?/(?:[^\s/'\"`,;:()\[\]{}<>|]+/)+(?=[\w.])")
"""The folders of an absolute path, up to its last part; not the folders of a URL or the / of "and/or" or "</b>".

A path of one part, `/mnt`, has no folder to hide, and looks like the "(/wo text)" of a label.
"""


def without_folders(text: str) -> str:
    """Text for others: of the absolute paths of this machine the last part stays, `.../a.jpg` of `/home/ada/a.jpg`."""
    return _FOLDERS.sub(".../", text)


def number_of(number: int, noun: str) -> str:
    """`1 row`, `3 rows`: a noun that takes an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def suggest(name: str, known: Iterable[str]) -> str:
    """`Did you mean 'sam'? There are: ours, sam.`; a name with a comma in it is quoted."""
    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"Did you mean '{close[0]}'? " if close else ""
    listed = (f"'{one}'" if "," in one else one for one in known)
    return f"{meant}There are: {', '.join(listed) or 'none'}."


def nearest(name: str, known: Iterable[str]) -> str:
    """`Did you mean '12a', '12b'?`, for names that are too many to list; "" where none is close."""
    close = difflib.get_close_matches(name, list(known), n=3)
    return f"Did you mean {', '.join(repr(one) for one in close)}?" if close else ""


def complaint(mistakes: Sequence[Mapping[str, Any]]) -> str:
    """The mistakes that pydantic found in a value, in this project's words: `found 'four'; wanted a valid integer.`"""
    absent = mistakes[0]["type"] == "missing" or mistakes[0]["input"] is None
    found = "nothing" if absent else repr(mistakes[0]["input"])
    wanted = [_WANTED.get(mistake["type"]) or mistake["msg"].removeprefix("Input should be ") for mistake in mistakes]
    return f"found {found}; wanted {', or '.join(dict.fromkeys(wanted))}."
