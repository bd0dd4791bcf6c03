"""A run's folder read back, and the commands that make tables of it, as a user meets them."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import harness
from harness import UserError, registry
from harness.report.board import Source, entries
from harness.results import described, load, manifest_of

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of both of our methods on eight scenes."""
    from harness import config, run

    class Silent:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *args: None

    folder = tmp_path_factory.mktemp("runs")
    path = folder / "a.yaml"
    given = yaml.safe_load((registry.ROOT / "configs" / "quickstart.yaml").read_text())
    given |= {"run": "small", "limit": 8, "workers": {"executor": "local"}, "tables": ["table1"]}
    path.write_text(yaml.safe_dump(given))
    run.run(config.load_run(path), Silent(), runs=str(folder))
    yield folder / "small"
    shutil.rmtree(folder, ignore_errors=True)


def test_rows_come_back_with_and_without_masks(run_folder: Path) -> None:
    rows = harness.load(run_folder)
    assert "mask" not in rows and len(rows) == len(pq.read_table(run_folder / "results.parquet"))
    assert rows["clicks"].iloc[0][0].keys() == {"x", "y", "positive"}
    assert load(run_folder, masks=True)["mask"].iloc[0]
    assert harness.summarise(rows)["n"].nunique() == 1


def test_results_older_than_the_shards_are_not_trusted(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    whole = load(copy)
    (copy / "results.parquet").write_bytes(b"torn")
    pd.testing.assert_frame_equal(load(copy).drop(columns="clicks"), whole.drop(columns="clicks"), check_dtype=False)
    (copy / "results.parquet").unlink()
    assert len(load(copy)) == len(whole)
    assert harness.summarise(load(copy)).equals(harness.summarise(whole))


def test_missing_shards_leave_no_mean_though_the_data_are_away(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    (copy / "results.parquet").unlink()
    gone = next(iter(sorted((copy / "shards").iterdir())))
    next(gone.glob("*.parquet")).unlink()
    rows = load(copy)
    expected = described(copy, rows).expected_instances
    found = rows.groupby(["method", "dataset"]).size().to_dict()
    assert any(count > found.get(key, 0) for key, count in expected.items())


def test_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest.json"):
        load(tmp_path)


def test_tables_in_every_format(run_folder: Path, harness_command: Command, tmp_path: Path) -> None:
    done = harness_command("report", run_folder, "--table", "all", "--format", "md")
    assert done.returncode == 0, done.stderr
    for number in range(1, 9):
        assert f"**LIMITED to 8 samples: Table {number}: " in done.stdout
    assert done.stdout.index("Table 1: ") < done.stdout.index("Table 8: ") < done.stdout.index("Leaderboard")
    made = harness_command("report", run_folder, "--table", "1", "-o", tmp_path / "t.parquet", "--intervals")
    assert made.returncode == 0, made.stderr
    cells = pq.read_table(tmp_path / "t.parquet").to_pandas()
    assert (cells["high_percent"].dropna() > cells["low_percent"].dropna()).all() and cells[
        "low_percent"
    ].notna().sum() == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "{run}", "--table", "9"], "no table 'table9'"),
        (["report", "{run}", "--format", "parquet"], "Say where it goes"),
        (["report", "{run}", "-o", "a.docx"], "nothing is known of '.docx'"),
        (["compare", "Text+Click", "Click only"], "names no run's folder"),
        (["compare", "{run}", "{run}:Click only"], "several methods; wanted one of: Click only, Text+Click"),
        (["compare", "{run}:Gone", "{run}:Click only"], "has no 'Gone'"),
        (["leaderboard", "nowhere/at/all"], "no manifest.json"),
    ],
)
def test_mistakes_are_one_message(
    run_folder: Path, harness_command: Command, arguments: list[str], message: str
) -> None:
    done = harness_command(*(one.format(run=run_folder) for one in arguments))
    assert (done.returncode, done.stdout) == (2, "") and message in done.stderr and "Traceback" not in done.stderr


def test_comparisons_of_one_run_and_of_two(run_folder: Path, harness_command: Command, tmp_path: Path) -> None:
    done = harness_command("compare", "Text+Click", "Click only", "--run", run_folder, "--format", "csv")
    assert (
        done.returncode == 0 and done.stdout.startswith('"Text+Click against Click only, iou"\n')
    ) or "all," in done.stdout
    copy = tmp_path / "other"
    shutil.copytree(run_folder, copy)
    again = harness_command("compare", f"{run_folder}:Click only", f"{copy}:Click only", "--format", "md")
    assert again.returncode == 0, again.stderr
    first = next(line for line in again.stdout.splitlines() if line.startswith("| all |"))
    assert "+0.00" in first and "1.000" in first


def test_leaderboards_merge_runs_and_refuse_other_protocols(
    run_folder: Path, harness_command: Command, tmp_path: Path
) -> None:
    copy = tmp_path / "other"
    shutil.copytree(run_folder, copy)
    done = harness_command("leaderboard", run_folder, copy, "-o", tmp_path / "l.parquet")
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(tmp_path / "l.parquet")) == 4
    manifest: dict[str, Any] = json.loads((copy / "manifest.json").read_text())
    del manifest["sha256"]
    for job in manifest["jobs"].values():
        job["parts"]["seed"] = "1"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    refused = harness_command("leaderboard", run_folder, copy)
    assert refused.returncode == 2 and "seed: 0 in" in refused.stderr


def test_the_audit_of_the_paper_and_of_a_run(run_folder: Path, harness_command: Command) -> None:
    done = harness_command("audit", run_folder, "--format", "md")
    assert done.returncode == 0 and "swapped 0.694" in done.stdout and "Nothing is wrong in this run" in done.stdout
    assert io.StringIO(harness_command("audit").stdout).read().count("published") > 20


def test_the_leaderboard_says_the_peak_memory_of_the_workers(run_folder: Path) -> None:
    rows = load(run_folder)
    found = entries([Source("small", rows, described(run_folder, rows), manifest_of(run_folder))])
    assert len(found) == 2 and found["peak_memory_mib"].between(100, 100_000).all()
