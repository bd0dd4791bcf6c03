"""What a run shows of itself: lines where there is no terminal, bars where there is, brackets as they are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness import progress
from harness.config import Clicks, MethodEntry, Plugin, Text
from harness.evaluate import Protocol
from harness.plan import Job
from harness.progress import Live, clock
from harness.store import JobFacts
from harness.training import Progress as TrainingProgress
from harness.worker import Outcome

METHOD = "Ours [red]k=3[/] :x:"
JOB = Job(
    JobFacts(METHOD, "boxes [/b]", {}, {}),
    MethodEntry(name="ours", label=METHOD),
    Plugin(name="boxes"),
    ("a", "b", "c", "d"),
    Protocol("run", 0, Clicks(), Text(rule="none"), ("iou",), 1),
)


def _outcome(failed: int = 0, error: str = "") -> Outcome:
    return Outcome(JOB.facts.key, 2, 5, failed, error, 0.1)


def _shown(terminal: bool, *outcomes: Outcome, done: int = 0) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200, color_system=None)
    with Live(console) as live:
        live.training(METHOD, TrainingProgress(5, 10, 0.5, 1e-3, 2.0))
        live.planned([JOB], {JOB.facts.key: done})
        for outcome in outcomes:
            live.outcome(outcome)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    training, done, first, second = _shown(False, _outcome(), _outcome(), done=1).splitlines()
    assert training == f"training {METHOD}: step 5/10, loss 0.500, 0:00:02 to go"
    assert done == f"{METHOD} on boxes [/b]: 1 of 4 images are done already."
    assert first.startswith(f"{METHOD} on boxes [/b]: 3/4 images, ") and first.endswith(" instances/s, 0 failed")
    assert second.startswith(f"{METHOD} on boxes [/b]: 5/4 images, ")


def test_no_line_sooner_than_after_ten_seconds() -> None:
    assert progress.LINE_EVERY_S == 10 and _shown(False, _outcome(), _outcome()) == ""


def test_the_first_failure_is_told_at_once_and_once() -> None:
    shown = _shown(False, _outcome(), _outcome(1, "[/b] is :x: gone"), _outcome(2, "again"))
    assert shown == f"First failure of {METHOD} on boxes [/b]: [/b] is :x: gone\n"


def test_bars_in_a_terminal() -> None:
    shown = _shown(True, _outcome(), _outcome(3, "[/b] gone"))
    last = [line for line in shown.splitlines() if f"{METHOD} on boxes [/b] " in line][-1]
    assert "━" in last and "4/4" in last and "3 failed" in last
    assert f"training {METHOD} " in shown and "loss 0.500" in shown
    assert "First failure of" in shown and "[/b] gone" in shown


def test_clock() -> None:
    assert (clock(90.4), clock(0), clock(100_000)) == ("0:01:30", "0:00:00", "1 day, 3:46:40")
