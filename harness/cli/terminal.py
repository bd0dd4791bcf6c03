"""What every command prints with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from harness.interrupts import in_order

if TYPE_CHECKING:
    from harness.results.reported import Finished
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


def warn_missing(finished: Finished, command: str) -> None:
    """Warn of what no table shows and what is odd, and of instances without a row, with the command that makes them."""
    for why in (*finished.withheld, *finished.broken, *finished.doubts):
        warn(why)
    if finished.missing:
        some = f"{'At least ' if finished.uncounted else ''}{finished.missing}"
        warn(f"{some} of {finished.instances + finished.missing} instances have no row: {command}.")


@contextmanager
def live(run: Folder | None = None, as_json: bool = False) -> Iterator[Live]:
    """Show the progress of what runs inside, and keep it in the run's folder for `watch`."""
    from harness.running.progress import Live

    with in_order(), Live(console, run, errors, as_json) as shown:
        yield shown
