"""`python -m harness watch runs/x`: how a run goes, from another shell."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live as Screen
from rich.markup import escape
from rich.table import Table

from harness.interrupts import in_order
from harness.running.progress import STATUS, JobState, clock, facts
from harness.storage.folder import Folder
from harness.storage.lock import holder
from harness.structures import UserError

SILENT_S = 60
"""After so long without news a run is probably gone."""

_LEFT = "No longer watching. The run itself is not touched."

LOOK_EVERY_S = {"disk": 1.0, "bucket": 5.0}


def follow(run: str | Path, console: Console) -> None:
    """Show how a run goes until it ends: a table that changes in a terminal, JSON lines where there is none.

    Raises:
        UserError: As `news`.
    """
    with in_order(_LEFT):  # Ended at once, a terminal would stay without its cursor.
        if not console.is_terminal:
            _write_lines(run, console)
            return
        with Screen(console=console, auto_refresh=False) as screen:
            for said in news(run):
                screen.update(shown(said), refresh=True)


def news(run: str | Path) -> Iterator[dict[str, Any]]:
    """What the run in a folder or a bucket says of itself, whenever that changes, until it ends.

    Raises:
        UserError: It says nothing and nobody is at it: no such run, or one that never came to its first image.
    """
    folder, last = Folder.at(run), -1.0
    while True:
        said = _said(folder)
        if said is None or said["ended"] or _silent(said):
            said = _by_lock(folder, said)
        if said is None:
            raise UserError(
                f"{folder / STATUS}: no such file; wanted the folder of a run that was started, such as runs/x."
            )
        if said["time"] != last or _silent(said):
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


def _write_lines(run: str | Path, console: Console) -> None:
    """One JSON object on a line, with the keys of the run's own lines; what has not changed is not said again."""
    before: list[dict[str, Any]] = []
    for said in news(run):
        now = list(_lines(said))
        for line in now:
            if line not in before:
                console.file.write(json.dumps({"event": line["event"], "time": round(time.time(), 1), **line}) + "\n")
        console.file.flush()
        before = now


def _lines(said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from ({"event": "progress", **job} for job in said["jobs"])
    process = {"pid": said["pid"], "host": said.get("host", "")}
    if said["ended"]:
        yield {"event": "ended"}
    elif _silent(said) and not said.get("lives"):
        yield {"event": "silent", "since": round(said["time"], 1), **process}
    elif not said["jobs"]:
        yield {"event": "starting", **process}


def _silent(said: dict[str, Any]) -> bool:
    return time.time() - float(said["time"]) > SILENT_S


def _said(folder: Folder) -> dict[str, Any] | None:
    """What the last start that came to its images says; None where none did."""
    try:
        said = json.loads(folder.read(STATUS))  # Written whole or not at all.
        for job in said["jobs"]:
            JobState(**job)
        return {"time": float(said["time"]), "pid": said["pid"], "ended": said["ended"], **said}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{folder / STATUS}: damaged, or of another version ({error!r}). A run that goes writes it anew within "
            "seconds: look again; else delete it."
        ) from error


def _by_lock(folder: Folder, said: dict[str, Any] | None) -> dict[str, Any] | None:
    """The same, as the lock knows better: of a start that trains, or of one at a long batch, nothing else tells."""
    writer = holder(folder)
    if writer is None:
        return said
    if said and not said["ended"] and (said["pid"], said.get("host")) == (writer.pid, writer.host):
        return said | {"lives": True}
    return {"time": time.time(), "pid": writer.pid, "host": writer.host, "ended": False, "jobs": []}


def _state(said: dict[str, Any]) -> str:
    if said["ended"]:
        return "ended"
    if not _silent(said):
        return f"{'running' if said['jobs'] else 'not at its first image yet'}, {_process(said)}"
    silence = f"no news for {clock(time.time() - said['time'])}: {_process(said)}"
    if said.get("lives"):
        return f"{silence} lives, and loads or is at a long batch."
    return f"{silence} may be gone. The same command resumes the run."


def _process(said: dict[str, Any]) -> str:
    return f"process {said['pid']}" + (f" on {said['host']}" if "host" in said else "")
