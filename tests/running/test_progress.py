"""What a run shows of itself: JSON lines where there is no terminal, bars where there is, a file for other shells."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import UserError
from harness.config.parts import Plugin
from harness.config.run_config import Clicks, MethodEntry
from harness.config.wording import Text
from harness.evaluation.protocol import Protocol
from harness.jobs.jobs import Job
from harness.jobs.worker import Outcome
from harness.running import progress, watch
from harness.running.one_training import Progress as TrainingProgress
from harness.running.progress import STATUS, JobState, Live, clock
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


def _shown(terminal: bool, *outcomes: Outcome, done: int = 0, run: Path | None = None) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200, color_system=None)
    with Live(console, run and Folder.at(run)) as live:
        live.training(METHOD, TrainingProgress(5, 10, 0.5, 1e-3, 2.0))
        live.planned([JOB], {JOB.facts.key: done})
        for outcome in outcomes:
            live.outcome(outcome)
    return console.file.getvalue()  # type: ignore[attr-defined]


def _said(*outcomes: Outcome, done: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _shown(False, *outcomes, done=done).splitlines()]


def test_json_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    training, resumed, first, second = _said(_outcome(), _outcome(worker="host:2"), done=1)
    assert training["event"] == "training" and (training["method"], training["step"]) == (METHOD, 5)
    assert resumed["event"] == "resumed" and (resumed["images"], resumed["of"]) == (1, 4)
    assert first["event"] == "progress" and (first["images"], first["instances"], first["failed"]) == (3, 5, 0)
    assert (first["instances_per_s"], first["to_go_s"]) == (pytest.approx(50), pytest.approx(0.05))  # since it began
    assert second["devices"] == {"cuda:0": ["host:1", "host:2"]}
    assert (second["memory_mib"], second["gpu_mib"], second["dataset"]) == (812, 97, "boxes [/b]")


def test_each_of_several_trainings_has_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    now, file = [0.0], io.StringIO()
    live = Live(Console(file=file))
    for now[0] in (4.0, 8.0, 12.0, 16.0, 23.0):
        for method in ("a", "b"):
            live.training(method, TrainingProgress(1, 2, 0.5, 0.1, 1.0))
    told = [json.loads(line)["method"] for line in file.getvalue().splitlines()]
    assert told == ["a", "b", "a", "b"]


def test_no_line_sooner_than_after_ten_seconds() -> None:
    assert progress.LINE_EVERY_S == 10 and _shown(False, _outcome(), _outcome()) == ""


def test_the_first_failure_is_told_at_once_and_once() -> None:
    (told,) = _said(_outcome(), _outcome(1, "[/b] is :x: gone"), _outcome(2, "again"))
    assert (told["event"], told["method"], told["error"]) == ("failure", METHOD, "[/b] is :x: gone")


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
