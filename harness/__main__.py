"""The command line, `python -m harness` or `harness`: this process is its own, other importers' are not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

from harness.interrupts import answer_at_once


def main() -> NoReturn:
    """Run the command line; Ctrl-C ends it with one line from here on, the imports of the commands included."""
    answer_at_once()
    if (
        str(Path.cwd()) not in sys.path
    ):  # `python -m` puts it there, so that plugins in it are found; `harness` does not.
        sys.path.insert(0, str(Path.cwd()))
    from harness.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
