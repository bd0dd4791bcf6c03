"""Every table says which share of its words a method did not know, also of a run that went on or was put together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import toy_runs
from harness.config.run_config import load_run
from harness.report.build import build_table
from harness.results.recorded import recorded_at
from harness.running import run
from harness.storage.merge import merged
from harness.storage.store import Store

pytestmark = pytest.mark.slow

TAUGHT = {"name": "fakes:Taught", "label": "taught"}
SAID = "50.0 % of the words (6 of 12) are unknown to taught."


def ran(folder: Path, **changed: Any) -> Path:
    config = toy_runs.written(folder / "words.yaml", **toy_runs.SHOWN, methods=[TAUGHT, toy_runs.STEADY], **changed)
    run(load_run(config), toy_runs.Quiet(), runs=str(folder))
    return folder / "words"


def said(folder: Path) -> list[str]:
    found = recorded_at(folder)
    rows = found.rows(coded=True)
    notes = build_table("leaderboard", rows, found.context(rows)).notes
    return [note for note in notes if "unknown to" in note]


def test_a_table_says_the_share_of_unknown_words(tmp_path: Path) -> None:
    folder = ran(tmp_path)
    assert said(folder) == [SAID]
    assert SAID in (folder / "report.md").read_text("utf-8")
    half = next((folder / "shards").rglob("*.parquet"))
    half.unlink()  # What is missing is asked again, and counts once.
    ran(tmp_path)
    assert said(folder) == [SAID]


def test_a_leaderboard_says_it_of_that_method_alone(tmp_path: Path, here: Callable[..., Any]) -> None:
    lines = here("leaderboard", ran(tmp_path), "--format", "md").stdout.splitlines()
    (number,) = [line.split()[1] for line in lines if SAID in line]
    cells = {line.split(" | ")[0]: line for line in lines if line.startswith("| ")}
    assert number in cells["| taught (size)"].split(" | ")[4]
    assert number not in cells["| steady (size)"].split(" | ")[4]


def test_a_comparison_says_it_where_that_method_is_compared(tmp_path: Path, here: Callable[..., Any]) -> None:
    folder = ran(tmp_path)
    assert SAID in here("compare", f"{folder}:taught (size)", f"{folder}:steady (size)", "--format", "md").stdout
    assert SAID not in here("compare", f"{folder}:steady (size)", f"{folder}:steady (oracle)", "--format", "md").stdout


def test_only_what_counts_is_counted(tmp_path: Path) -> None:
    folder = ran(tmp_path)
    ran(tmp_path, limit=2)
    assert said(folder) == ["50.0 % of the words (2 of 4) are unknown to taught."]


def test_without_words_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert said(ran(tmp_path, text="none")) == []


def test_runs_that_are_put_together_say_it_of_all(tmp_path: Path) -> None:
    parts = []
    for number in (3, 6):
        (tmp_path / str(number)).mkdir()
        data = {**toy_runs.TOYS, "label": f"toys{number}", "params": {"count": number}}
        parts.append(ran(tmp_path / str(number), datasets=[data]))
    merged([Store(part) for part in parts], Store(tmp_path / "both"))
    assert said(tmp_path / "both") == [
        "50.0 % of the words (3 of 6) are unknown to taught on toys3.",
        "50.0 % of the words (6 of 12) are unknown to taught on toys6.",
    ]
