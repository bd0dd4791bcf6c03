"""`python -m harness list`: every name that a config may use."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from harness.cli.terminal import console
from harness.plugins.kinds import KINDS
from harness.plugins.listing import described

Kind = StrEnum("Kind", list(KINDS))  # type: ignore[misc]
"""What `list` lists."""


def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """Every name that a config may use, with one line on each."""
    listing = Table("Name", "What it is")
    for name, line in described(kind.value):
        listing.add_row(escape(name), escape(line))
    console.print(listing)
