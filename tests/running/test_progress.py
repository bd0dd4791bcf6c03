"""What a run shows of itself: bars in a terminal, lines where there is none, a file for other shells."""

from __future__ import annotations

import io
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import UserError
from harness.config.click_protocol import Clicks
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.wording import Text
from harness.evaluation.protocol import Protocol
from harness.jobs.jobs import Job
from harness.jobs.worker import Outcome
from harness.running import progress, watch
from harness.running.one_training import Progress as TrainingProgress
from harness.running.progress import STATUS, JobState, Live, clock, said_of
from harness.running.watch import news
from harness.running.watch import shown as watched
from harness.storage.folder import Folder
from harness.storage.manifest import JobFacts

METHOD = "Ours [red]k=3[/] :x:"
JOB = Job(
    JobFacts(METHOD, "boxes [/b]", {}, {}),
    MethodEntry(name="ours", label=METHOD),
    Plugin(name="boxes"),
    ("a", "b", "c", "d"),
    Protocol("run", 0, Clicks(), Text(rule="none"), ("iou",), 1),
)


def _outcome(failed: int = 0, error: str = "", worker: str = "host:1") -> Outcome:
    return Outcome(JOB.facts.key, 2, 5, failed, error, 0.1, device="cuda:0", worker=worker, memory_mib=812, gpu_mib=97)


def _shown(terminal: bool, *outcomes: Outcome, done: int = 0, run: Path | None = None, as_json: bool = False) -> str:
    """What a terminal, or else stdout and stderr together, get."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200, color_system=None)
    with Live(console, run and Folder.at(run), console, as_json) as live:
        live.begins("loading it")
        live.training(METHOD, TrainingProgress(5, 10, 0.5, 1e-3, 2.0))
        live.planned([JOB], {JOB.facts.key: done})
        for outcome in outcomes:
            live.outcome(outcome)
    return console.file.getvalue()  # type: ignore[attr-defined]


def _said(*outcomes: Outcome, done: int = 0, terminal: bool = False) -> list[dict[str, Any]]:
    begins, *said = map(json.loads, _shown(terminal, *outcomes, done=done, as_json=True).splitlines())
    assert (begins["event"], begins["what"]) == ("begins", "loading it")
    return said


@pytest.mark.parametrize("terminal", [False, True])
def test_json_lines_on_request(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    training, resumed, first, second = _said(_outcome(), _outcome(worker="host:2"), done=1, terminal=terminal)
    assert training["event"] == "training" and (training["method"], training["step"]) == (METHOD, 5)
    assert resumed["event"] == "resumed" and (resumed["images"], resumed["of"]) == (1, 4)
    assert first["event"] == "progress" and (first["images"], first["instances"], first["failed"]) == (3, 5, 0)
    assert (first["instances_per_s"], first["to_go_s"]) == (pytest.approx(50), pytest.approx(0.05))  # since it began
    assert second["devices"] == {"cuda:0": ["host:1", "host:2"]}
    assert (second["memory_mib"], second["gpu_mib"], second["dataset"]) == (812, 97, "boxes [/b]")


def test_plain_lines_with_a_time_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    lines = _shown(False, _outcome(), _outcome(2, "[/b] gone"), done=1).splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in lines)
    job = f"{METHOD} on boxes [/b]"
    assert [line[9:] for line in lines[:3]] == [
        "loading it",
        f"training {METHOD}: step 5 of 10, loss 0.500, 0:00:02 to go",
        f"{job}: resumed at 1 of 4 images, 0 MiB",
    ]
    assert lines[3][9:] == f"{job}: 3 of 4 images, 50.0 instances/s · 1 on cuda:0 · 812 MiB, GPU 97 MiB, 0:00:00 to go"
    assert "5 of 4 images" in lines[4]
    assert lines[5][9:] == f"{job}: the first failure: [/b] gone"


def test_nothing_on_stdout_but_what_is_asked_for() -> None:
    stdout, stderr = (Console(file=io.StringIO(), force_terminal=False) for _ in range(2))
    with Live(stdout, None, stderr) as live:
        live.begins("starting Ray")
    assert stdout.file.getvalue() == "" and stderr.file.getvalue().endswith(" starting Ray\n")  # type: ignore[attr-defined]


def test_what_begins_is_told_once_and_again_after_a_result() -> None:
    file = io.StringIO()
    live = Live(Console(file=file), as_json=True)
    live.planned([JOB], {JOB.facts.key: 0})
    for what in ("starting Ray", "loading a", "loading a"):  # by two workers
        live.begins(what)
    live.outcome(_outcome())
    live.begins("loading a")
    told = [json.loads(line)["what"] for line in file.getvalue().splitlines()]
    assert told == ["starting Ray", "loading a", "loading a"]


def test_a_terminal_shows_what_begins_until_a_result_is_there() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    with Live(console) as live:
        live.planned([JOB], {JOB.facts.key: 0})
        live.begins("starting Ray")
        live.begins("loading Ours")
        live.bars.refresh()
        (shown,) = [one for one in live.bars.tasks if one.total is None]
        assert shown.visible and shown.description == "loading Ours"
        live.outcome(_outcome())
        assert not shown.visible
    assert "loading Ours" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("terminal", [False, True])
def test_parts_of_a_page_are_counted(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200, color_system=None)
    with Live(console, errors=console) as live:
        live.part("reading the rows")
        for number in (1, 2, 3):
            live.part("pictures", number, 3)
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "reading the rows" in told
    assert "━" in told and "3/3" in told if terminal else told.endswith(" pictures: 3 of 3\n")


def test_a_resumed_training_says_from_which_step() -> None:
    about = vars(TrainingProgress(45, 90, 0.25, 0.1, 1.0, since=40)) | {"method": METHOD, "to_go_s": 45}
    wanted = f"training {METHOD}: step 45 of 90 (resumed at step 40), loss 0.250, 0:00:45 to go"
    assert said_of("training", about) == wanted


def test_each_of_several_trainings_has_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    now, file = [0.0], io.StringIO()
    live = Live(Console(file=file), as_json=True)
    for now[0] in (4.0, 8.0, 12.0, 16.0, 23.0):
        for method in ("a", "b"):
            live.training(method, TrainingProgress(1, 2, 0.5, 0.1, 1.0))
    told = [json.loads(line)["method"] for line in file.getvalue().splitlines()]
    assert told == ["a", "b", "a", "b"]


def test_no_line_sooner_than_after_ten_seconds_unless_it_is_complete() -> None:
    assert progress.LINE_EVERY_S == 10 and len(_shown(False, _outcome()).splitlines()) == 1
    first, last = _shown(False, _outcome(), _outcome()).splitlines()
    assert first.endswith("loading it") and "4 of 4 images" in last


def test_the_first_failure_is_told_at_once_and_once() -> None:
    told = _said(_outcome(), _outcome(1, "[/b] is :x: gone"), _outcome(2, "again"))
    (failure,) = (one for one in told if one["event"] == "failure")
    assert (failure["method"], failure["error"]) == (METHOD, "[/b] is :x: gone")


def test_bars_in_a_terminal() -> None:
    shown = _shown(True, _outcome(), _outcome(3, "[/b] gone"))
    last = [line for line in shown.splitlines() if f"{METHOD} on boxes [/b] " in line][-1]
    assert "━" in last and "4/4" in last and "3 failed" in last and "1 on cuda:0 · 812 MiB, GPU 97 MiB" in last
    assert f"training {METHOD} " in shown and "loss 0.500" in shown
    assert "First failure of" in shown and "[/b] gone" in shown


def test_the_time_to_go_is_by_the_images_of_this_start() -> None:
    state = JobState("a", "b", images=90, of=100)
    state.add(replace(_outcome(), samples=5), seconds=10, images_before=90)
    assert state.to_go_s == 10 and state.instances_per_s == 0.5


def test_what_took_no_time_has_no_rate() -> None:
    """As where the driver gives up an image that kills its workers."""
    state = JobState("a", "b", images=0, of=4)
    state.add(_outcome(failed=5), seconds=0.0, images_before=0)
    assert (state.instances, state.failed, state.instances_per_s, state.to_go_s) == (5, 5, None, None)
    assert progress.facts(state) == "1 on cuda:0 · 812 MiB, GPU 97 MiB"
    state.add(_outcome(), seconds=2.0, images_before=0)
    assert (state.instances_per_s, state.to_go_s) == (5, 0)
    assert progress.facts(state).startswith("5.0 instances/s · 1 on")


def test_another_shell_sees_the_same(tmp_path: Path) -> None:
    _shown(True, _outcome(), _outcome(2, "gone"), run=tmp_path)
    (said,) = news(tmp_path)
    assert said["ended"] and said["pid"] == os.getpid()
    assert JobState(**said["jobs"][0]).failed == 2 and said["jobs"][0]["images"] == 4
    console = Console(file=io.StringIO(), width=200, emoji=False)
    console.print(watched(said))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert METHOD in text and "4/4" in text and "ended" in text


def test_news_come_until_the_run_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(watch.LOOK_EVERY_S, "disk", 0.01)
    console = Console(file=io.StringIO(), force_terminal=True)
    with Live(console, Folder.at(tmp_path)) as live:
        live.planned([JOB], {JOB.facts.key: 0})
        coming = news(tmp_path)
        assert not next(coming)["ended"]
        live.file_at -= progress.FILE_EVERY_S["disk"]
        live.outcome(_outcome())
        assert next(coming)["jobs"][0]["images"] == 2
    assert [said["ended"] for said in coming] == [True]


def test_a_run_that_went_silent_is_said_to_be(tmp_path: Path) -> None:
    gone = {"time": time.time() - 3600, "pid": 7, "host": "far", "ended": False, "jobs": []}
    (tmp_path / STATUS).write_text(json.dumps(gone))
    console = Console(file=io.StringIO(), width=200)
    console.print(watched(next(news(tmp_path))))
    assert "no news for 1:00:00: process 7 on far may be dead" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_progress_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "4/4" in _shown(True, _outcome(), _outcome(), run=tmp_path / "file")


def test_no_run_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"progress\.json: no such file; wanted the folder of a run"):
        next(news(tmp_path))


def test_clock() -> None:
    assert (clock(90.4), clock(0), clock(100_000)) == ("0:01:30", "0:00:00", "1 day, 3:46:40")
