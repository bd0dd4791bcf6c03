"""Reads docstrings in Google's form: the prose, and the text on each argument or attribute."""

from __future__ import annotations

import inspect
import re
from typing import Any

SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields")
"""Headings of their own, each followed by an indented block."""


def whole(thing: Any) -> str:
    """A class's or a function's docstring without its indentation; "" without one of its own."""
    return inspect.cleandoc(vars(thing).get("__doc__") or "" if isinstance(thing, type) else thing.__doc__ or "")


def prose(thing: Any) -> str:
    """The part of a docstring before its first section."""
    return re.split(rf"^(?:{'|'.join(SECTIONS)}):$", whole(thing), maxsplit=1, flags=re.MULTILINE)[0].strip()


def section(thing: Any, heading: str) -> str:
    """The block below a heading, without its indentation; "" where there is none."""
    found = re.search(rf"^{heading}:\n((?:(?:    .*)?(?:\n|\Z))*)", whole(thing), flags=re.MULTILINE)
    return inspect.cleandoc("\n" + found[1]).strip() if found else ""


def entries(thing: Any, heading: str) -> dict[str, str]:
    """The entries of a section, name -> text on one line: from `radius: In pixels.`, "radius" -> "In pixels."

    A class also has the entries of its constructor, and of the classes that it extends; its own replace theirs.
    """
    inherited = [one for one in reversed(thing.__mro__) if one is not object] if isinstance(thing, type) else [thing]
    own = [each for one in inherited for each in (one, vars(one).get("__init__")) if each]
    found: dict[str, str] = {}
    for one in own:
        for name, text in re.findall(r"^(\w+): (.*(?:\n .*)*)", section(one, heading), flags=re.MULTILINE):
            found[name] = " ".join(text.split())
    return found
