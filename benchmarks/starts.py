"""Times how long commands take to start: `python -m benchmarks.starts`, no downloads, no network.

Each command is a new process. Its figure is the CPU time of that process and its children, which other programs change
little; on a free machine it is about what one waits. The run is the quickstart's, of two images and without Ray; once
it is complete, the same command finds nothing to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.goals import verdict
from harness.places import ROOT

IMAGES = 2


def cpu_s(command: Sequence[str]) -> float:
    """The CPU seconds of one `python -m harness COMMAND`."""
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "harness", *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def commands(folder: Path) -> dict[str, tuple[Sequence[str], float | None]]:
    """What is timed -> the command, and its goal in seconds, if it has one."""
    limits = ["--limit", str(IMAGES), "--set", "workers.executor=local", "--runs", str(folder)]
    return {
        "--help": (["--help"], None),
        "list methods": (["list", "methods"], 1.5),
        "report of a run": (["report", str(folder / "quickstart")], 1.5),
        "run, which is complete": (["run", "configs/quickstart.yaml", *limits], 2.0),
    }


def main(rounds: Annotated[int, typer.Option(min=1, help="How often each command is started.")] = 5) -> None:
    """Time the start of four commands, in turns."""
    with TemporaryDirectory() as folder:
        asked = commands(Path(folder))
        cpu_s(asked["run, which is complete"][0])  # Computes the rows.
        taken = [[cpu_s(command) for command, _ in asked.values()] for _ in range(rounds)]
    shown = Table("command", "CPU s", "goal", title="Starts", caption=f"medians of {rounds}")
    for (name, (_, goal)), seconds in zip(asked.items(), zip(*taken, strict=True), strict=True):
        found = median(seconds)
        shown.add_row(name, f"{found:.2f}", verdict(found <= goal, f"at most {goal} s") if goal else "")
    Console().print(shown)


if __name__ == "__main__":
    typer.run(main)
