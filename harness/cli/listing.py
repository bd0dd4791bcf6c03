"""`python -m harness list`: every name that a config may use, or the parameters of one of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from harness.cli.terminal import console, say
from harness.plugins.kinds import KINDS
from harness.plugins.listing import described

Kind = StrEnum("Kind", list(KINDS))  # type: ignore[misc]
"""The kinds of plugins that `list` lists."""


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show one plugin of the list, or module:name: what it is, its arguments and their defaults."
        ),
    ] = None,
) -> None:
    """Every name that a config may use, with one line on each; with a name, its docstring and arguments."""
    if name is not None:
        _say_one(kind.value, name)
        return
    listing = Table("Name", "What it is")
    for known, line in described(kind.value):
        listing.add_row(escape(known), escape(line))
    console.print(listing)


def _say_one(kind: str, name: str) -> None:
    """Print a plugin's docstring and a table of its parameters: its constructor's, or the options of a function."""
    from harness.plugins.annotations import default_in_words, in_words
    from harness.plugins.docstrings import entries, prose
    from harness.plugins.parameters import ANY_OTHER, parameters_of
    from harness.plugins.registry import entry

    found = entry(kind, name, f"list {kind}")
    say(f"{name}, {found.place}\n\n{prose(found.thing)}\n")
    # `parameters_of` leaves out the first of the arguments that every plugin of the kind gets. The others are left out
    # by their place, since a metric may call its two masks as it likes.
    given = max(0, len(KINDS[kind].takes) - 1)
    own = list(parameters_of(found.thing).items())[given:]
    wanted = {key: one for key, one in own if key != ANY_OTHER}
    if not wanted:
        say("It takes no arguments.")
        return
    said = entries(found.thing, "Args")
    table = Table("Argument", "Type", "Default", "What it is")
    for key, (annotation, default) in wanted.items():
        cells = (key, in_words(annotation), default_in_words(default), said.get(key, ""))
        table.add_row(*map(escape, cells))
    console.print(table)
