"""`python -m harness watch runs/x`: how a run goes, from another shell."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from harness.folder import Folder
from harness.progress import STATUS, JobState, clock, facts
from harness.structures import UserError

SILENT_S = 60
"""After so long without news a run is probably gone."""

LOOK_EVERY_S = {"disk": 1.0, "bucket": 5.0}


def news(run: str | Path) -> Iterator[dict[str, Any]]:
    """What the run in a folder or a bucket says of itself, whenever that changes, until it ends.

    Raises:
        UserError: It says nothing: no such run, or one that never came to its first image.
    """
    folder, last = Folder.at(run), -1.0
    while True:
        try:
            said = json.loads(folder.read(STATUS))  # written whole or not at all
        except FileNotFoundError as error:
            raise UserError(
                f"{folder / STATUS}: no such file; wanted the folder of a run that was started, such as runs/x."
            ) from error
        if said["time"] != last or time.time() - said["time"] > SILENT_S:
            last = said["time"]
            yield said
        if said["ended"]:
            return
        time.sleep(LOOK_EVERY_S["disk" if folder.local else "bucket"])


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
        return f"no news for {clock(age)}: {_process(said)} may be gone. The same command resumes the run."
    return f"running, {_process(said)}"


def _process(said: dict[str, Any]) -> str:
    return f"process {said['pid']}" + (f" on {said['host']}" if "host" in said else "")
