"""A user's repository outside the checkout, the one of docs/plugins.md: plugins of its own, in Ray's workers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness import UserError
from harness.config.run_config import load_run
from harness.plugins.kinds import KINDS
from harness.plugins.listing import described

ROOT = Path(__file__).resolve().parents[2]
OWN_COLUMNS = {"iou", "dice", "missed_px"}


@pytest.mark.slow
def test_the_page_names_every_kind_and_its_decorator() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    for kind in KINDS.values():
        (line,) = [one for one in page.splitlines() if one.startswith(f"| `{kind.name}` |")]
        assert f'`@{kind.decorator}("' in line and line.endswith(f"| `{kind.folder}/` |")
    assert all(described(kind) for kind in KINDS)


@pytest.mark.ray
@pytest.mark.slow
def test_a_repository_of_one_s_own_runs_in_ray_workers(
    repository: Path,
    run_name: str,
    harness_command: Callable[..., subprocess.CompletedProcess[str]],
    here: Callable[..., subprocess.CompletedProcess[str]],
    shared_ray: str,
) -> None:
    relative = os.path.relpath(repository, ROOT)
    command = ["run", repository / "run.yaml", "--set", f"run={run_name}", "--set", "workers.count=1"]
    command += ["--set", "workers.executor=ray", "--address", shared_ray]
    done = harness_command(*command, PYTHONPATH=relative)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pq.read_table(ROOT / "runs" / run_name / "results.parquet")
    rows = table.to_pandas()
    assert len(rows) == 3 and (rows["status"] == "ok").all()
    assert set(table.schema.names) >= OWN_COLUMNS and "boundary_iou" not in table.schema.names
    dice = 2 * rows["intersection_px"] / (rows["gt_area_px"] + rows["pred_area_px"])
    assert rows["dice"].tolist() == dice.tolist()
    assert rows["missed_px"].tolist() == (rows["gt_area_px"] - rows["intersection_px"]).tolist()
    assert set(rows["text"]) == {"SQUARE"} and set(rows["click_strategy"]) == {"my_repo.rules:middle/v1"}
    assert f"{100 * dice.mean():.1f}" in (ROOT / "runs" / run_name / "report.md").read_text("utf-8")
    shutil.rmtree(repository)
    for command in (["verify"], ["report"], ["report", "--table", "leaderboard"]):
        done = here(command[0], ROOT / "runs" / run_name, *command[1:])
        assert done.returncode == 0, done.stdout + done.stderr
    assert set(pq.read_schema(ROOT / "runs" / run_name / "results.parquet").names) == set(table.schema.names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("metrics", '[iou, "my_repo.metrics:dicy"]', r"metrics\[1\]: my_repo\.metrics:dicy: .* Did you mean 'dice'\?"),
        (
            "metrics",
            '["my_repo.metrics:dice", "my_repo.metrics:dice"]',
            r"metrics\[1\]: its column 'dice' is that of metrics\[0\], too",
        ),
        ("metrics", '["my_repo.bad:status"]', r"metrics\[0\]: its column 'status' is a column of every run"),
        ("clicks.strategy", '"my_repo.rules:midle"', r"clicks\.strategy: my_repo\.rules:midle: .* mean 'middle"),
        (
            "clicks.strategy",
            '"my_repo.rules:loud"',
            r"clicks\.strategy: my_repo\.rules:loud is a text rule",
        ),
        ("text.rule", '"my_repo.rules:lout"', r"text\.rule: my_repo\.rules:lout: .* mean 'loud'"),
        ("tables", '["my_repo.tables:mean"]', r"tables\[0\]: my_repo\.tables:mean: .* mean 'mean_dice'"),
        (
            "text.rule",
            '"my_repo.bad:status"',
            r"text\.rule: .*status\(truth, prediction\) cannot be called",
        ),
    ],
)
def test_what_a_config_gets_wrong_is_told_with_its_place(
    repository: Path, monkeypatch: pytest.MonkeyPatch, key: str, name: str, said: str
) -> None:
    (repository / "my_repo" / "bad.py").write_text("def status(truth, prediction): return 0.0\n")
    monkeypatch.syspath_prepend(repository)
    with pytest.raises(UserError, match=rf"run\.yaml, {said}"):
        load_run(repository / "run.yaml", [f"{key}={name}"])
