"""The command line as a user meets it: another process, its exit code, what it prints where."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
import yaml

from harness import UserError, registry
from harness import __main__ as command_line

ROOT = registry.ROOT
Command = Callable[..., subprocess.CompletedProcess[str]]


def _config(folder: Path, run: str, **changes: Any) -> Path:
    content = {
        "run": run,
        "datasets": [{"name": "far_away:Boxes", "params": {"count": 12}}],
        "methods": [{"name": "far_away:Disc", "label": "Disc [1/2]"}],
        "workers": {"executor": "local", "samples_per_shard": 1},
        "tables": ["leaderboard"],
    }
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def _shards(run: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (ROOT / "runs" / run / "shards").glob("*/*.parquet")}


def _one_message(done: subprocess.CompletedProcess[str]) -> str:
    """What a mistake prints: one message, on stderr, and exit code 2."""
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "{config}", "--set", "tables=[leaderbord]"], "a.yaml, tables[0]: no table 'leaderbord'. Did you mean"),
        (["train", "configs/gone.yaml"], "error configs/gone.yaml: no such file."),
        (["run", "{config}", "--limit", "0"], "--limit"),
        (["report", "{config}"], "no such run. Start it: python -m harness run"),
    ],
    ids=["table", "recipe", "usage", "report"],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    harness_command: Command, elsewhere: Path, tmp_path: Path, run_name: str, arguments: list[str], message: str
) -> None:
    config = _config(tmp_path, run_name)
    done = harness_command(*(part.format(config=config) for part in arguments), PYTHONPATH=str(elsewhere))
    assert message in _one_message(done)
    assert not (ROOT / "runs" / run_name).exists()


def test_too_many_failures_are_exit_code_1(
    harness_command: Command, elsewhere: Path, tmp_path: Path, run_name: str
) -> None:
    config = _config(tmp_path, run_name, methods=[{"name": "far_away:Loser", "label": "[red]Loser"}])
    done = harness_command("run", config, "--limit", "2", PYTHONPATH=str(elsewhere))
    assert done.returncode == 1 and "over max_failures=0.05" in done.stderr and "Traceback" not in done.stderr
    assert "First failure of [red]Loser on far_away:Boxes: " in done.stdout and "nothing found" in done.stdout


def test_an_interrupt_is_exit_code_130_and_keeps_what_is_done(
    started: Callable[..., subprocess.Popen[str]],
    harness_command: Command,
    elsewhere: Path,
    tmp_path: Path,
    run_name: str,
) -> None:
    config = _config(tmp_path, run_name)
    process = started("run", config, PYTHONPATH=str(elsewhere), DISC_SLEEPS_S="0.5")
    give_up = time.monotonic() + 200
    while len(_shards(run_name)) < 2 and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "Interrupted. What is done is kept" in told and "Traceback" not in told
    kept = _shards(run_name)
    assert 2 <= len(kept) < 12

    done = harness_command("run", config, PYTHONPATH=str(elsewhere))
    assert done.returncode == 0, done.stderr
    assert f"Disc [1/2] on far_away:Boxes: {len(kept)} of 12 images are done already." in done.stdout
    assert kept.items() <= _shards(run_name).items() and len(_shards(run_name)) == 12
    rows = pq.read_table(ROOT / "runs" / run_name / "results.parquet").to_pandas()
    assert len(rows) == 12 and (rows["status"] == "ok").all()
    assert (ROOT / "runs" / run_name / "report.md").read_text().strip()


def _listed(kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What `list` prints: name -> line."""
    monkeypatch.setattr("sys.argv", ["harness", "list", kind])
    monkeypatch.setattr(command_line.console, "_width", 400)
    with pytest.raises(SystemExit) as done:
        command_line.main()
    assert done.value.code == 0
    lines = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if "│" in line]
    return {name.strip(): text.strip() for name, text in lines}


@pytest.mark.parametrize("kind", list(command_line.Kind), ids=str)
def test_list_says_one_line_on_each(
    kind: command_line.Kind, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = _listed(kind.value, monkeypatch, capsys)
    known = {"metrics": "iou", "clicks": "paper/v1", "tables": "leaderboard", "methods": "text_click"}
    known |= {"datasets": "scenes", "saliency": "maskclip", "learners": "prompted_deeplab"}
    assert known[kind.value] in listed and all(len(line) > 10 for line in listed.values())
    assert not any(line.startswith("broken") for line in listed.values())


def test_a_broken_plugin_hides_no_other(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    find = registry.find

    def found(kind: str, name: str, where: str = "") -> Any:
        if name == "click_only":
            raise UserError("methods/click_only.py cannot be imported. [bold]")
        return find(kind, name, where)

    monkeypatch.setattr(registry, "find", found)
    listed = _listed("methods", monkeypatch, capsys)
    assert listed["click_only"] == "broken: methods/click_only.py cannot be imported. [bold]"
    assert listed["text_click"].startswith("The click says")


def test_a_user_error_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = "a.yaml, methods[0].label: found '[red]x[/]' and a:b:c; " + "long " * 60

    def fail() -> None:
        raise UserError(text)

    monkeypatch.setattr(command_line, "app", fail)
    with pytest.raises(SystemExit) as done:
        command_line.main()
    assert done.value.code == 2 and text in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(command_line, "app", fail)
    with pytest.raises(ZeroDivisionError):
        command_line.main()


def test_an_interrupted_training_says_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as done, command_line._live():
        raise KeyboardInterrupt
    assert done.value.exit_code == 130 and "Interrupted." in capsys.readouterr().err
