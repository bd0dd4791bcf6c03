"""The command line, `python -m harness` or `harness`: this process is its own, other importers' are not."""

from __future__ import annotations

import errno
import io
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

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
    _name_files_in_utf8()
    _have_streams()
    here = str(Path.cwd())
    if here not in sys.path:  # `python -m` puts it there, so that plugins in it are found; `harness` does not.
        sys.path.insert(0, here)
    from harness.cli import main as run_command

    run_command()


def _name_files_in_utf8() -> None:
    """Start again in Python's UTF-8 mode in a locale of another encoding; the terminal keeps its encoding.

    Python names files in the locale's encoding, pyarrow always in UTF-8. In Latin-1 one would write the shards of a
    method "Größe" to a folder that the other does not find; in ASCII such a folder could not be made at all.
    """
    # `utf8_mode` ends the loop, and `ignore_environment` (python -I) would not heed the variable.
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode or sys.flags.ignore_environment:
        return
    said = {"PYTHONUTF8": "1", "PYTHONIOENCODING": getattr(sys.stdout, "encoding", "utf-8")}
    os.execve(sys.executable, sys.orig_argv, os.environ | said)


def _have_streams() -> None:
    """Replace outputs that cannot always be written: a terminal's, and one that the shell closed (`>&-`).

    For a closed one Python has None; what is printed there is dropped.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif stream.isatty():
            raw = io.BufferedWriter(_Terminal(number, "wb", closefd=False))
            setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True))


class _Terminal(io.FileIO):
    """A terminal, which may be closed while a run goes on or ends: what is then printed is dropped."""

    def write(self, content: Any) -> int:
        """Write bytes to the terminal, and return their number."""
        try:
            return super().write(content)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return len(content)


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
