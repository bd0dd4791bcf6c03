"""Reads ids and sizes from people's JSON: whole numbers, also written as `1.0` or "1", as other tools do."""

from __future__ import annotations

import re
from typing import Any

# Python reads no whole number of more than 4300 digits.
_WHOLE = re.compile(r"(-?\d{1,4000})(?:\.0*)?", re.ASCII)
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}


def whole(value: Any) -> int | None:
    """The whole number that a JSON value stands for (1, 1.0, "1", "1.0"), or None."""
    if type(value) is int:
        return value
    if isinstance(value, str):
        found = _WHOLE.fullmatch(value)
        return int(found[1]) if found else None
    return int(value) if isinstance(value, float) and value.is_integer() else None


def id_text(value: Any) -> str:
    """An id as text: of a number its value, so that 1 and 1.0 are one id; text stays as it stands."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def kind_of(value: Any) -> str:
    """The kind of a JSON value, in words."""
    return "nothing" if value is None else _KINDS[type(value)]
