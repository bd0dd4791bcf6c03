"""Shows a run's progress from another shell: `python -m harness watch runs/x`.

It only reads the run's folder: the progress file, and the lock, which shows whether the process is alive when the file
is old. So it works for a run on another machine, and cannot disturb a run.
"""

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
from harness.running.progress import STATUS, JobState, clock, facts, said_of, write_plain
from harness.storage.folder import Folder
from harness.storage.lock import holder
from harness.storage.manifest import PARTS
from harness.storage.parts import at_work
from harness.storage.store import found_at
from harness.structures import UserError

SILENT_S = 60
"""After this time without news, a run has probably died."""

_LEFT = "No longer watching. The run itself is not touched."

LOOK_EVERY_S = {"disk": 1.0, "bucket": 5.0}


def follow(run: str | Path, console: Console, as_json: bool = False) -> None:
    """Show a run's progress until it ends: a table that changes in a terminal, otherwise lines.

    Args:
        run: The run's folder or bucket.
        console: The terminal or file for the output.
        as_json: Whether to write JSON lines, even to a terminal.

    Raises:
        UserError: As in `news`.
    """
    with in_order(_LEFT):  # A process that ends at once would leave the terminal without its cursor.
        if as_json or not console.is_terminal:
            _write_lines(run, console, as_json)
            return
        with Screen(console=console, auto_refresh=False) as screen:
            for status in news(run):
                screen.update(shown(status), refresh=True)


def news(run: str | Path) -> Iterator[dict[str, Any]]:
    """The run's status, each time it changes, until the run ends.

    Raises:
        UserError: There is no status and no process that writes the run: there is no such run, or it never came to its
            first image. Or its parts write it, each with a status of its own.
    """
    folder, last = found_at(run).folder, -1.0
    while True:
        status = _read(folder)
        if status is None or status["ended"] or _silent(status):
            status = _with_lock(folder, status)
        if status is None or status["ended"]:
            _refuse_parts(folder, ended=status is not None)
        if status is None:
            raise UserError(
                f"{folder / STATUS}: no such file; wanted the folder of a run that was started, such as runs/x."
            )
        if status["time"] != last or _silent(status):
            last = status["time"]
            yield status
        if status["ended"]:
            return
        time.sleep(LOOK_EVERY_S["disk" if folder.local else "bucket"])


def _refuse_parts(folder: Folder, ended: bool) -> None:
    """Refuse to watch a run that its parts write; one that a start of the whole run has ended is not theirs any more.

    Raises:
        UserError: The message names a part.
    """
    parts = [*at_work(folder)] or ([] if ended else (folder / PARTS).folders())
    if parts:
        raise UserError(
            f"{folder}: found a run that is cut into parts, each with a progress of its own; wanted one of them: "
            f"python -m harness watch {folder / PARTS / parts[0]}. `verify` names the parts that lack images."
        )


def shown(status: dict[str, Any]) -> Table:
    """A table with a line for each job."""
    table = Table("Method", "Data set", "Images", "To go", "", "Failed", caption=_state(status))
    for job in status["jobs"]:
        state = JobState(**job)
        to_go = "–" if state.to_go_s is None else clock(state.to_go_s)
        images = f"{state.images}/{state.of}"
        table.add_row(escape(state.method), escape(state.dataset), images, to_go, facts(state), str(state.failed))
    return table


def _write_lines(run: str | Path, console: Console, as_json: bool) -> None:
    """Write lines as the run's own, JSON with the same keys; a line that has not changed is not repeated."""
    # The status has all jobs, and most of them have not changed since it was last read. Lines are compared without the
    # time of printing, which always differs.
    before: list[dict[str, Any]] = []
    for status in news(run):
        now = list(_lines(status))
        for line in now:
            if line in before:
                continue
            if as_json:
                console.file.write(json.dumps({"event": line["event"], "time": round(time.time(), 1), **line}) + "\n")
                console.file.flush()
            else:
                own = {key: value for key, value in line.items() if key != "event"}
                write_plain(console, said_of("progress", own) if "method" in line else _state(status))
        before = now


def _lines(status: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from ({"event": "progress", **job} for job in status["jobs"])
    process = {"pid": status["pid"], "host": status.get("host", "")}
    if status["ended"]:
        yield {"event": "ended"}
    elif _silent(status) and not status.get("lives"):
        yield {"event": "silent", "since": round(status["time"], 1), **process}
    elif not status["jobs"]:
        yield {"event": "starting", **process}


def _silent(status: dict[str, Any]) -> bool:
    return time.time() - float(status["time"]) > SILENT_S


def _read(folder: Folder) -> dict[str, Any] | None:
    """The status that the last start wrote; None if no start came to its images."""
    try:
        status = json.loads(folder.read(STATUS))  # The file is written whole or not at all.
        for job in status["jobs"]:
            JobState(**job)
        return {"time": float(status["time"]), "pid": status["pid"], "ended": status["ended"], **status}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"{folder / STATUS}: damaged, or written by another version ({error!r}). A run that goes on "
            "writes it again within seconds: repeat the command. Otherwise delete the file."
        ) from error


def _with_lock(folder: Folder, status: dict[str, Any] | None) -> dict[str, Any] | None:
    """The status, corrected by the run's lock."""
    # The status file is written when the images begin and after shards. While a start still trains, it is missing or of
    # an earlier start; during a long batch it is old. The lock is renewed all the time: if its holder wrote the status,
    # that process is alive; if not, the status belongs to an earlier start and is not used.
    writer = holder(folder)
    if writer is None:
        return status
    if status and not status["ended"] and (status["pid"], status.get("host")) == (writer.pid, writer.host):
        return status | {"lives": True}
    return {"time": time.time(), "pid": writer.pid, "host": writer.host, "ended": False, "jobs": []}


def _state(status: dict[str, Any]) -> str:
    if status["ended"]:
        return "ended"
    if not _silent(status):
        return f"{'running' if status['jobs'] else 'not at its first image yet'}, {_process(status)}"
    silence = f"no news for {clock(time.time() - status['time'])}: {_process(status)}"
    if status.get("lives"):
        return f"{silence} is alive, and is loading or working on a long batch."
    return f"{silence} may be dead. The command that started the run resumes it."


def _process(status: dict[str, Any]) -> str:
    return f"process {status['pid']}" + (f" on {status['host']}" if "host" in status else "")
