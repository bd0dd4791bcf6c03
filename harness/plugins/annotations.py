"""An annotation in words that a reader of YAML knows: `tuple[str, ...]` is a list of texts."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    type(None): "null",
    Any: "anything",
    ...: "",
}
"""A type -> what YAML's writer calls it."""

SIGNS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}", "min_length": "at least {} of them"}
"""A constraint's attribute -> its wording."""

SIGNS_OF_TEXT = SIGNS | {"min_length": "of length {} or more"}
"""The wording for a text, which is no list."""


def in_words(annotation: Any) -> str:
    """Describes the values that may be written for a parameter or a key of this annotation."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join([in_words(inner[0]), *_limits(inner[1:], SIGNS_OF_TEXT if inner[0] is str else SIGNS)])
    if origin is Literal:
        return " or ".join(f"`{one}`" if isinstance(one, str) else str(one) for one in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(in_words, inner)))
    if origin in (tuple, list, set, frozenset, Sequence):
        kinds = [one for one in inner if one is not ...]
        return f"list of {in_words(kinds[0])}" if len(set(kinds)) == 1 else f"list of {', '.join(map(in_words, kinds))}"
    if origin in (dict, Mapping):
        return f"mapping of {in_words(inner[0])} to {in_words(inner[1])}"
    name: str = getattr(annotation, "__name__", str(annotation))
    return PLAIN.get(annotation, name)


def default_in_words(default: Any) -> str:
    """A default as YAML would have it; "needed" where there is none."""
    if default is inspect.Parameter.empty:
        return "needed"
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, (list, tuple)):
        return f"[{', '.join(map(default_in_words, default))}]"
    return str(default) if str(default) else '""'


def _limits(constraints: Sequence[Any], signs: Mapping[str, str]) -> list[str]:
    """`from 0`, `above 0` of pydantic's `Field(ge=0)`."""
    found = [one for constraint in constraints for one in (*getattr(constraint, "metadata", ()), constraint)]
    return [said.format(getattr(one, sign)) for one in found for sign, said in signs.items() if hasattr(one, sign)]
