"""Walks a JSON file with one very long list: yields each element with its place in the file, and keeps none of them.

    {"info": {...}, "images": [...], "annotations": [{...}, {...}, ...], "categories": [...]}
                                                     start^   ^stop

The walk parses the outermost object key by key. So it cannot mistake a list of the same name inside "images" for the
long one, as a search for the text `"annotations"` could.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Generator, Iterator
from typing import Any

import orjson

_PARSER = json.JSONDecoder()
_FLOATS_AS_TEXT = json.JSONDecoder(parse_float=str)  # Coordinates are not used here; text halves the time.
_SIGN = re.compile(r"[ \t\n\r]*([][{}:,])[ \t\n\r]*")
_UTF_8_MARK, _UTF_16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


class Document:
    """One pass over a JSON file in UTF-8 whose outermost value is an object.

    Args:
        content: The file's bytes.
        long: The key of the long list.

    Attributes:
        rest: All other keys with their values; complete once `elements` has ended.
    """

    def __init__(self, content: mmap.mmap | bytes, long: str) -> None:
        if content[:2] in _UTF_16_MARKS:
            raise ValueError("its text is UTF-16; wanted UTF-8. Save it in that encoding")
        self.rest: dict[str, Any] = {}
        self._content, self._long = content, long
        # Python's parsers work on text, but positions must be in bytes. Latin-1 has one character for each byte, so
        # both are the same. It reads text beyond ASCII wrongly ("é", two bytes in UTF-8, becomes "Ã©"), so such values
        # are parsed again from their bytes.
        self._text = str(content, "latin-1")
        self._is_ascii = self._text.isascii()

    def elements(self) -> Iterator[tuple[Any, int, int]]:
        """Each element of the long list, with the start and the end of its text in the file, in bytes.

        Numbers with a point or an exponent, very large numbers and letters beyond ASCII may differ from the file:
        `exact` parses an element exactly.

        Raises:
            ValueError, RecursionError: The file is no complete JSON object, or has no such list, or a key twice.
        """
        met: set[str] = set()
        at, more = self._opened("{", "}", len(_UTF_8_MARK) if self._content[:3] == _UTF_8_MARK else 0)
        while more:
            key, at = self._parsed(at)
            if not isinstance(key, str) or key in met:
                raise ValueError(f"found {key!r} as a key at byte {at}; wanted text, each key once")
            met.add(key)
            at = self._past(":", at)
            if key == self._long:
                at = yield from self._elements(at)
            else:
                self.rest[key], at = self._parsed(at)
            at, more = self._next(at, "}")
        if self._long not in met:
            raise ValueError(f"no list of `{self._long}`")
        if at < len(self._text):
            raise ValueError(f"more text after the end, at byte {at}")

    def exact(self, start: int, stop: int) -> Any:
        """The value whose text is at these bytes."""
        return json.loads(self._content[start:stop])

    def _elements(self, at: int) -> Generator[tuple[Any, int, int], None, int]:
        """Yield the elements of the list that begins at `at`, and return where it ends."""
        if self._text[at : at + 1] != "[":
            raise ValueError(f"no list of `{self._long}`")
        at, more = self._opened("[", "]", at)
        while more:
            value, stop = self._element(at)
            yield value, at, stop
            at, more = self._next(stop, "]")
        return at

    def _element(self, at: int) -> tuple[Any, int]:
        """The element that begins at `at`, and the place where it ends.

        orjson is several times as fast as Python's json, but it needs the end of a value, while json finds it. An
        object ends at a "}", mostly at the first one. So the text up to there is tried with orjson, and if that is no
        complete object, json reads it.
        """
        #    {"id": 1, "area": 2.5}                   whole at its first "}": orjson reads it
        #    {"id": 1, "s": {"size": [2, 3]}, ...}    {"id": 1, "s": {"size": [2, 3]} is no whole object: json reads it
        #    {"id": 1, "name": "a}b"}                 {"id": 1, "name": "a} is no whole object: json reads it
        #
        # The try cannot be wrong: if a text is a whole object at its first "}", the object ends there.
        stop = self._text.find("}", at) + 1
        try:
            return orjson.loads(self._text[at:stop]), stop
        except orjson.JSONDecodeError:  # It contains another object, or is no object, or has NaN.
            return _FLOATS_AS_TEXT.raw_decode(self._text, at)

    def _parsed(self, at: int) -> tuple[Any, int]:
        value, stop = _PARSER.raw_decode(self._text, at)
        in_ascii = self._is_ascii or self._text[at:stop].isascii()
        return (value if in_ascii else self.exact(at, stop)), stop

    def _opened(self, sign: str, end: str, at: int) -> tuple[int, bool]:
        """Past an opening sign: where the first element or key begins, or the end of an empty list or object."""
        at = self._past(sign, at)
        return (self._past(end, at), False) if self._text[at : at + 1] == end else (at, True)

    def _past(self, sign: str, at: int) -> int:
        """The position after a sign and the blanks around it."""
        found = _SIGN.match(self._text, at)
        if found is None or found[1] != sign:
            raise ValueError(f"no '{sign}' at byte {at}")
        return found.end()

    def _next(self, at: int, end: str) -> tuple[int, bool]:
        """Past a comma or the end: where the next element or key begins, and whether there is one."""
        found = _SIGN.match(self._text, at)
        if found is None or found[1] not in (",", end):
            raise ValueError(f"no ',' or '{end}' at byte {at}")
        return found.end(), found[1] == ","
