"""From a cell of a table to its rows: the mean that is said is the cell's, and the worst rows are the worst."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import harness
from harness import UserError
from harness.config.run_config import load_run
from harness.results.behind import Wanted, as_table, rows_behind
from harness.results.recorded import Recorded, recorded_at
from harness.running.one_run import run
from toy_runs import STEADY, Quiet, written


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A run of two methods on three toys of two instances, one of them failing on one image."""
    folder = tmp_path_factory.mktemp("runs")
    broken = {"name": "fakes:Fragile", "label": "broken", "params": {"how": "raise", "at": 1}}
    path = written(folder / "a.yaml", methods=[STEADY, broken], limit=3)
    run(load_run(path), Quiet(), runs=str(folder))
    return recorded_at(folder / "a")


@pytest.mark.slow
def test_the_mean_is_that_of_a_table_s_cell(known: Recorded) -> None:
    lines = harness.summarise(known.rows())
    line = lines[lines["method"].eq("broken") & lines["ranking"].eq("size")].iloc[0]
    found = rows_behind(known, Wanted("broken", ranking="size", seen=False))
    said = f"broken on toys, size: mean iou {100 * line['unseen']:.2f} over 2 instances, 1 failed"
    assert found.means == (said,)
    assert sorted(found.rows["instance_id"]) == ["0b", "1b", "2b"]
    assert found.rows["iou"].mean() == pytest.approx(line["unseen"])


@pytest.mark.slow
def test_the_worst_and_the_best_come_in_order(known: Recorded) -> None:
    whole = rows_behind(known, Wanted("steady", ranking="confidence")).rows["iou"]
    worst = rows_behind(known, Wanted("steady", ranking="confidence", worst=2)).rows["iou"]
    best = rows_behind(known, Wanted("steady", ranking="confidence", best=3)).rows["iou"]
    assert worst.tolist() == sorted(whole)[:2] and best.tolist() == sorted(whole)[::-1][:3]


@pytest.mark.slow
def test_failed_instances_have_their_reason(known: Recorded) -> None:
    found = rows_behind(known, Wanted("broken", ranking="size", failed=True))
    assert sorted(found.rows["instance_id"]) == ["1a", "1b"]
    table = as_table(found, known)
    assert "a bug in a plugin" in table.body[0].cells[-1].text and table.title.startswith("LIMITED to 3 samples")


@pytest.mark.slow
def test_what_the_run_has_not_is_one_message(known: Recorded) -> None:
    for wanted, said in (
        (Wanted("stedy"), "no method 'stedy' in these rows. Did you mean 'steady'"),
        (Wanted(metric="dice"), "no metric 'dice'. There are: boundary_iou, iou"),
        (Wanted("steady", category="medium"), "no category 'medium' in these rows. There are: large, small"),
    ):
        with pytest.raises(UserError, match=said):
            rows_behind(known, wanted)


@pytest.mark.slow
def test_the_command_prints_and_writes_them(known: Recorded, tmp_path: Path, here: Callable[..., Any]) -> None:
    asked = ["rows", known.store.folder, "--method", "steady", "--ranking", "oracle"]
    done = here(*asked, "--seen", "--worst", "1")
    assert done.returncode == 0 and "mean iou" in done.stdout and "small" in done.stdout
    for name in ("a.json", "a.parquet", "a.csv"):
        assert here(*asked, "-o", tmp_path / name).returncode == 0
    rows = pd.read_parquet(tmp_path / "a.parquet")
    listed = json.loads((tmp_path / "a.json").read_text())
    assert len(rows) == len(listed) == 6 and listed[0]["clicks"][0]["positive"] is True
    assert [one["iou"] for one in listed] == rows["iou"].tolist()
    assert (tmp_path / "a.csv").read_text().count("\n") == 7
    assert here(*asked, "--failed", "--worst", "2").returncode == 2
