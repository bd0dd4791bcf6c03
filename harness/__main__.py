"""The command line, `python -m harness` or `harness`: this process is its own, other importers' are not."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from harness.interrupts import answer_at_once

LEAST_PYTHON = (3, 11)
NEEDED = ("typer", "rich", "yaml", "numpy", "jaxtyping", "pydantic", "torch", "ray", "pandas", "pyarrow")
"""Modules without which no command works, whichever Python is asked."""


def main() -> NoReturn:
    """Run the command line; Ctrl-C ends it with one line from here on, the imports of the commands included."""
    answer_at_once()
    if said := unfit():
        sys.stderr.write(f"error {said}\n")
        sys.exit(2)
    here = str(Path.cwd())
    if here not in sys.path:  # `python -m` puts it there, so that plugins in it are found; `harness` does not.
        sys.path.insert(0, here)
    from harness.cli import main as run_command

    run_command()


def unfit() -> str:
    """The reason why this Python cannot run the harness, with what to do; "" if it can.

    A common reason is an environment that was not activated.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, LEAST_PYTHON))
    lacks = [name for name in NEEDED if find_spec(name) is None]
    if sys.version_info >= LEAST_PYTHON and not lacks:
        return ""
    old = sys.version_info < LEAST_PYTHON
    why = f"is {version}; wanted {wanted} or later" if old else f"lacks {', '.join(lacks)}"
    root = Path(__file__).resolve().parents[1]
    own = root / ".venv" / "bin" / "python"
    if own.is_file() and Path(sys.prefix).resolve() != own.parents[1].resolve():
        todo = f"There is an environment that has them: run {own} -m harness ..., or first source {own.parent}/activate"
    elif (root / "pyproject.toml").is_file():
        made = f"python{wanted} -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[dev]'"
        todo = f"Set up an environment: make quickstart, or: {made} (README, Installing)"
    else:
        todo = f"Install the harness again, with its dependencies, under Python {wanted} or later (README, Installing)"
    return f"harness: this Python ({sys.executable}) {why}. {todo}"


if __name__ == "__main__":
    main()
