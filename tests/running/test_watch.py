"""`watch`: a run is shown from its first moment to its end, in a terminal and without one."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import UserError
from harness.running import watch
from harness.running.progress import STATUS, JobState
from harness.running.watch import follow, news, shown
from harness.storage.folder import Folder
from harness.storage.lock import Lock, Owner

JOB = asdict(JobState("ours", "toys", 3, 6, instances=5, devices={"cpu": ["host:1"]}))
MINE = {"pid": os.getpid(), "host": Owner.this().host}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(watch.LOOK_EVERY_S, "disk", 0.001)


def said(folder: Path, ended: bool = False, age_s: float = 0, **changed: Any) -> None:
    told = {"time": time.time() - age_s, "ended": ended, "jobs": [JOB], **MINE} | changed
    (folder / STATUS).write_text(json.dumps(told))


def text(told: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(shown(told))
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def lines(folder: Path) -> list[dict[str, Any]]:
    console = Console(file=io.StringIO())
    follow(folder, console, as_json=True)
    return [json.loads(line) for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("before", [None, {"ended": True}, {"age_s": 3600, "pid": 1}])
def test_a_start_that_is_not_at_its_first_image_is_waited_for(tmp_path: Path, before: dict[str, Any] | None) -> None:
    """Nothing was said yet, or only by an earlier start."""
    with Lock(Folder.at(tmp_path)):
        if before is not None:
            said(tmp_path, **before)
        coming = news(tmp_path)
        first = next(coming)
        assert not first["ended"] and f"not at its first image yet, process {os.getpid()} on" in text(first)
        said(tmp_path)
        while not (told := next(coming))["jobs"]:
            pass
        assert "3/6" in text(told) and f"running, process {os.getpid()}" in text(told)
    said(tmp_path, ended=True)
    assert list(coming)[-1]["ended"]


def test_silence_of_one_that_lives_is_no_death(tmp_path: Path) -> None:
    with Lock(Folder.at(tmp_path)):
        said(tmp_path, age_s=100)
        assert "is alive, and is loading or working on a long batch" in text(next(news(tmp_path)))
    assert "no news for 0:01:40" in text(next(news(tmp_path))) and "may be dead" in text(next(news(tmp_path)))


def test_a_killed_start_is_not_waited_for(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "lock.json").write_text(json.dumps(asdict(replace(Owner.this(), pid=gone.pid))))
    with pytest.raises(UserError, match=r"progress\.json: no such file"):
        next(news(tmp_path))
    said(tmp_path, age_s=100, pid=gone.pid)
    assert "may be dead" in text(next(news(tmp_path)))


def test_json_lines_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(_: float) -> None:
        said(tmp_path, **next(states))

    states = iter([{}, {"jobs": [JOB | {"images": 6}]}, {"jobs": [JOB | {"images": 6}], "ended": True}])
    monkeypatch.setattr(time, "sleep", looked)
    said(tmp_path)
    told = lines(tmp_path)
    assert [(one["event"], one.get("images")) for one in told] == [("progress", 3), ("progress", 6), ("ended", None)]
    assert told[0].keys() >= {"time", "method", "dataset", "of", "instances_per_s", "to_go_s", "devices", "memory_mib"}


def test_plain_lines_with_a_time_where_there_is_no_terminal(tmp_path: Path) -> None:
    said(tmp_path, ended=True)
    console = Console(file=io.StringIO())
    follow(tmp_path, console)
    told = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", one) for one in told] == [
        "ours on toys: 3 of 6 images, 1 on cpu · 0 MiB",
        "ended",
    ]


def test_a_silent_run_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(range(5))

    def looked(_: float) -> None:
        if next(looks, None) is None:
            said(tmp_path, ended=True)

    monkeypatch.setattr(time, "sleep", looked)
    said(tmp_path, age_s=100)
    assert [one["event"] for one in lines(tmp_path)] == ["progress", "silent", "ended"]


def test_silence_of_one_that_lives_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    console = Console(file=io.StringIO())
    with Lock(Folder.at(tmp_path)), pytest.raises(SystemExit):
        said(tmp_path, age_s=100)
        follow(tmp_path, console)
    (line,) = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert line.endswith(" ours on toys: 3 of 6 images, 1 on cpu · 0 MiB")


def test_a_terminal_sees_a_table(tmp_path: Path) -> None:
    said(tmp_path, ended=True)
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    follow(tmp_path, console)
    assert "3/6" in console.file.getvalue() and "ended" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", "[" * 200_000, '{"time": 1, "pid": 1, "ended": false, "jobs": [{"a": 1}]}'],
    ids=range(6),
)
def test_what_is_no_progress_is_a_message(tmp_path: Path, content: str) -> None:
    (tmp_path / STATUS).write_text(content)
    with pytest.raises(UserError, match=r"progress\.json: damaged, or written by another .* repeat the command"):
        next(news(tmp_path))


INTERRUPTED = """
import signal, sys, threading, time, os
from rich.console import Console
from harness.running.watch import follow
signal.signal(signal.SIGINT, lambda *_: os._exit(1))
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
follow(sys.argv[1], Console(force_terminal=True))
"""


@pytest.mark.slow
def test_an_interrupt_gives_the_terminal_its_cursor_back(tmp_path: Path) -> None:
    said(tmp_path)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    hidden, shown_again = "\x1b[?25l", "\x1b[?25h"
    assert ended.returncode == 130 and ended.stdout.rindex(hidden) < ended.stdout.rindex(shown_again), ended.stderr
    assert ended.stderr == "No longer watching. The run itself is not touched.\n"


def test_a_run_in_parts_names_one_to_watch(tmp_path: Path) -> None:
    part = Folder.at(tmp_path / "parts" / "2-of-3")
    with Lock(part):
        said(tmp_path / "parts" / "2-of-3")
        for whole_ended in (False, True):  # No whole start yet; one that ended before the parts began.
            if whole_ended:
                said(tmp_path, ended=True)
            with pytest.raises(UserError, match=r"cut into parts, .* watch .*/parts/2-of-3\."):
                next(news(tmp_path))
        assert next(news(tmp_path / "parts" / "2-of-3"))["jobs"] == [JOB]
    assert next(news(tmp_path))["ended"], "of the whole run, and no part is at work"
    (tmp_path / STATUS).unlink()
    with pytest.raises(UserError, match=r"watch .*/parts/2-of-3\."):
        next(news(tmp_path))
