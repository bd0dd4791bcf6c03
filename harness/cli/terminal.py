"""The consoles and functions by which every command prints."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from harness.interrupts import INTERRUPTED, in_order

if TYPE_CHECKING:
    from harness.running.progress import Live
    from harness.storage.folder import Folder

# A file or a pipe is as wide as the widest table; Rich would assume 80 columns.
console = Console(width=None if sys.stdout.isatty() else 150, emoji=False)
errors = Console(stderr=True, emoji=False)


def say(text: str) -> None:
    """Print a line as it is, however long."""
    console.print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a line to stderr, in red."""
    errors.print(text, markup=False, soft_wrap=True, style="red")


def end(shortfalls: Sequence[str], again: str = "", failing: bool = False) -> None:
    """Print what the tables lack; every command that prints tables ends with this.

    Args:
        shortfalls: Sentences on what is missing: rows, methods that were not asked for the same, or a failed table.
        again: The command that makes the missing rows.
        failing: Whether there is another reason for exit code 1, which was printed before.

    Raises:
        typer.Exit: With exit code 1, if anything is missing.
    """
    for said in shortfalls:
        warn(said)
    if shortfalls and again:
        warn(f"To compute what is missing: {again}.")
    if shortfalls or failing:
        raise typer.Exit(1)


@contextmanager
def live(run: Folder | None = None, as_json: bool = False, interrupted: str = INTERRUPTED) -> Iterator[Live]:
    """Show the progress of what runs inside, and keep it in the run's folder for `watch`.

    Args:
        run: The run's folder.
        as_json: Whether to write events as lines of JSON.
        interrupted: The one line that an interrupt prints.
    """
    from harness.running.progress import Live

    with in_order(interrupted), Live(console, run, errors, as_json) as shown:
        yield shown
