"""`python -m harness watch runs/x`: how a run goes, from another shell."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from harness.progress import STATUS, JobState, clock, facts
from harness.structures import UserError

SILENT_S = 60
"""After so long without news a run is probably gone."""


def news(run_folder: Path, every_s: float = 1.0) -> Iterator[dict[str, Any]]:
    """What the run says of itself, whenever that changes, until it ends.

    Raises:
        UserError: It says nothing: no such run, or one that never came to its first image.
    """
    path, last = run_folder / STATUS, -1.0
    while True:
        if not path.is_file():
            raise UserError(f"{path}: no such file; wanted the folder of a run that was started, such as runs/x.")
        said = json.loads(path.read_bytes())  # written whole or not at all
        if said["time"] != last or time.time() - said["time"] > SILENT_S:
            last = said["time"]
            yield said
        if said["ended"]:
            return
        time.sleep(every_s)


def shown(said: dict[str, Any]) -> Table:
    """A line a job."""
    table = Table("Method", "Data set", "Images", "To go", "", "Failed", caption=_state(said))
    for job in said["jobs"]:
        state = JobState(**job)
        to_go = "–" if state.to_go_s is None else clock(state.to_go_s)
        images = f"{state.images}/{state.of}"
        table.add_row(escape(state.method), escape(state.dataset), images, to_go, facts(state), str(state.failed))
    return table


def _state(said: dict[str, Any]) -> str:
    if said["ended"]:
        return "ended"
    age = time.time() - said["time"]
    if age > SILENT_S:
        return f"no news for {clock(age)}: process {said['pid']} may be gone. The same command resumes the run."
    return f"running, process {said['pid']}"
