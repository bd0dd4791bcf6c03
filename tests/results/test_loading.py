"""A run's folder read back, and the commands that make tables of it, as a user meets them."""

import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

import harness
from harness import UserError, places
from harness.config import run_config as config
from harness.report.build import build_table
from harness.report.several_runs import Source, entries
from harness.results.loading import load
from harness.results.recorded import recorded_at
from harness.running import one_run as runs
from harness.storage.folder import Folder
from harness.storage.manifest import read_manifest, save_manifest
from harness.storage.shards import Header, header_of, name_of, packed
from toy_runs import OUTSIDE, Quiet

pytestmark = pytest.mark.slow

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of both of our methods on eight scenes."""
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "a.yaml"
    given = yaml.safe_load((places.ROOT / "configs" / "quickstart.yaml").read_text())
    workers = {"executor": "local", "samples_per_shard": 4}
    given |= {"run": "small", "limit": 8, "workers": workers, "tables": ["table1"]}
    path.write_text(yaml.safe_dump(given))
    runs.run(config.load_run(path), Quiet(), runs=str(folder))
    yield folder / "small"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_rows_come_back_with_and_without_masks(run_folder: Path) -> None:
    rows = harness.load(run_folder)
    assert "mask" not in rows and len(rows) == len(pq.read_table(run_folder / "results.parquet"))
    assert rows["clicks"].iloc[0][0].keys() == {"x", "y", "positive"}
    assert load(run_folder, masks=True)["mask"].iloc[0]
    assert harness.summarise(rows)["n"].nunique() == 1


@pytest.mark.slow
def test_results_older_than_the_shards_are_not_trusted(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    whole = load(copy)
    (copy / "results.parquet").write_bytes(b"torn")
    pd.testing.assert_frame_equal(load(copy).drop(columns="clicks"), whole.drop(columns="clicks"), check_dtype=False)
    shutil.copy(run_folder / "results.parquet", copy)
    next((copy / "shards").rglob("*.parquet")).unlink()
    assert len(recorded_at(copy).rows()) < len(whole), "not the rows of a shard that is gone"
    shutil.copytree(run_folder, copy, dirs_exist_ok=True)
    (copy / "results.parquet").unlink()
    assert len(load(copy)) == len(whole)
    assert harness.summarise(load(copy)).equals(harness.summarise(whole))


@pytest.mark.slow
@pytest.mark.parametrize("altered", ["every IoU is 1", "the rows below 0.2 are gone"])
def test_altered_results_change_no_table(run_folder: Path, here: Command, tmp_path: Path, altered: str) -> None:
    copy, out = tmp_path / "copy", tmp_path / "board.csv"
    shutil.copytree(run_folder, copy)
    rows = pq.read_table(copy / "results.parquet")
    ones = pa.array([1.0] * len(rows))
    better = rows.set_column(rows.column_names.index("iou"), "iou", ones)
    pq.write_table(better if "1" in altered else rows.filter(pc.greater(rows["iou"], 0.2)), copy / "results.parquet")
    pd.testing.assert_frame_equal(load(copy), load(run_folder), check_dtype=False)
    assert here("leaderboard", copy, "-o", out).returncode == 0
    there = out.read_text()
    assert here("leaderboard", run_folder, "-o", out).returncode == 0
    assert there.replace("copy @", f"{run_folder.name} @") == out.read_text() and "100.00" not in there
    compared = [
        here("compare", "Text+Click", "Click only", "--run", run, "--format", "csv") for run in (copy, run_folder)
    ]
    assert compared[0].stdout == compared[1].stdout


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_reported(
    run_folder: Path, here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "archive"
    shutil.copytree(run_folder, copy)

    def refused(path: Path, *_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    for name in ("write", "create"):
        monkeypatch.setattr(f"harness.atomic.{name}", refused)
    done = here("report", copy)
    assert done.returncode == 0 and "Text+Click" in done.stdout
    assert "archive cannot be written: results.parquet and report.md stay as they are." in " ".join(done.stderr.split())
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_a_manifest_whose_config_no_run_can_have_is_a_message(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "copy")
    place = Folder.at(tmp_path / "copy")
    manifest = read_manifest(place)
    save_manifest(place, manifest | {"config": manifest["config"] | {"run": "my run"}})
    with pytest.raises(UserError, match=r"manifest\.json: config, run: found 'my run'; wanted letters, digits"):
        recorded_at(tmp_path / "copy")


def test_missing_shards_leave_no_mean_though_the_data_are_away(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    (copy / "results.parquet").unlink()
    gone = next(iter(sorted((copy / "shards").iterdir())))
    next(gone.glob("*.parquet")).unlink()
    rows = recorded_at(copy).rows()
    expected = recorded_at(copy).context(rows).expected_instances
    found = rows.groupby(["method", "dataset"]).size().to_dict()
    assert any(count > found.get(key, 0) for key, count in expected.items())


@pytest.mark.slow
def test_gaps_are_said_also_where_all_methods_have_the_same(run_folder: Path, here: Command, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    for path in (copy / "shards").rglob("*.parquet"):
        if "val-00000" in header_of(path).samples:
            path.unlink()
    with pytest.warns(UserWarning) as warned:
        rows = load(copy)
    methods = ("Text+Click", "Click only")
    assert [str(one.message) for one in warned] == [
        f"{copy}: 4 of 8 images of scenes have no rows of {method}." for method in methods
    ]
    compared = here("compare", "Text+Click", "Click only", "--run", copy, "--format", "md")
    there = sum(rows["method"] == "Click only")
    said = f"at least 4 of {there + 4} instances of scenes have no row of Text+Click."
    assert there and compared.returncode == 1 and f"copy: {said}" in compared.stdout and said in compared.stderr


@pytest.mark.slow
def test_what_is_missing_inside_a_done_image_blanks_its_means_and_is_exit_code_1(
    run_folder: Path, here: Command, tmp_path: Path
) -> None:
    """One row of one method is gone from its shard, as if nobody had ever asked: the other method's row tells."""
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    (copy / "results.parquet").unlink()
    path = next(path for path in sorted((copy / "shards").rglob("*.parquet")) if "Click" in path.parent.name)
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    path.rename(path.with_name(name_of(path.read_bytes())))
    expected = recorded_at(copy).context(recorded_at(copy).rows()).expected_instances
    assert expected == recorded_at(run_folder).context(recorded_at(run_folder).rows()).expected_instances
    for command in (
        ["report", copy, "--table", "leaderboard", "--format", "md"],
        ["leaderboard", copy, "--format", "md"],
    ):
        done = here(*command)
        assert done.returncode == 1, done.stderr
        assert "1 of " in done.stderr and "have no row of" in done.stderr and "| – ¹" in done.stdout


def test_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest.json"):
        load(tmp_path)
    for config_file in ("a.yaml", "configs/quickstart.yaml", Path("configs/quickstart.yml")):
        with pytest.raises(UserError, match="found the name of a config; wanted a run's folder, .*or its name, x"):
            load(config_file)


@pytest.mark.slow
def test_all_tables(run_folder: Path, here: Command) -> None:
    done = here("report", run_folder, "--table", "all", "--format", "md")
    assert done.returncode == 0, done.stderr
    for number in range(1, 9):
        assert f"**LIMITED to 8 samples: Table {number}: " in done.stdout
    assert done.stdout.index("Table 1: ") < done.stdout.index("Table 8: ") < done.stdout.index("Leaderboard")


def test_a_table_as_parquet_with_its_intervals(run_folder: Path, here: Command, tmp_path: Path) -> None:
    made = here("report", run_folder, "--table", "1", "-o", tmp_path / "t.parquet", "--intervals")
    assert made.returncode == 0, made.stderr
    cells = pq.read_table(tmp_path / "t.parquet").to_pandas()
    assert (cells["high"].dropna() > cells["low"].dropna()).all() and cells["low"].notna().sum() == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "{run}", "--table", "9"], "no table 'table9'"),
        (["report", "{run}", "--format", "parquet"], "found no file to write to"),
        (["report", "{run}", "-o", "a.docx"], "found the suffix '.docx'"),
        (["compare", "Text+Click", "Click only"], "names no run's folder"),
        (["compare", "{run}", "{run}:Click only"], "several methods; wanted one of: Click only, Text+Click"),
        (["compare", "{run}:Gone", "{run}:Click only"], "has no 'Gone'"),
        (["compare", "{run}:Click only", "{run}/:Click only"], "compare: Click only against itself."),
        (["leaderboard", "nowhere/at/all"], "no manifest.json"),
    ],
)
def test_mistakes_are_one_message(run_folder: Path, here: Command, arguments: list[str], message: str) -> None:
    done = here(*(one.format(run=run_folder) for one in arguments))
    assert (done.returncode, done.stdout) == (2, "") and message in done.stderr


@pytest.mark.slow
def test_comparisons_of_one_run_and_of_two(run_folder: Path, here: Command, tmp_path: Path) -> None:
    done = here("compare", "Text+Click", "Click only", "--run", run_folder, "--format", "csv")
    assert (
        done.returncode == 0 and done.stdout.startswith('"Text+Click against Click only, iou"\n')
    ) or "all," in done.stdout
    copy = tmp_path / "other"
    shutil.copytree(run_folder, copy)
    again = here("compare", f"{run_folder}:Click only", f"{copy}:Click only", "--format", "md")
    assert again.returncode == 0, again.stderr
    first = next(line for line in again.stdout.splitlines() if line.startswith("| all |"))
    assert "+0.00" in first and "1.000" in first


@pytest.mark.slow
def test_leaderboards_merge_runs_and_refuse_other_protocols(run_folder: Path, here: Command, tmp_path: Path) -> None:
    copy = tmp_path / "other"
    shutil.copytree(run_folder, copy)
    done = here("leaderboard", run_folder, copy, "-o", tmp_path / "l.parquet")
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(tmp_path / "l.parquet")) == 4
    manifest = read_manifest(Folder.at(copy))
    for job in manifest["jobs"].values():
        job["parts"]["seed"] = "1"
    save_manifest(Folder.at(copy), manifest)
    for path in list((copy / "shards").rglob("*.parquet")):
        header = header_of(path)
        content = packed(pq.read_table(path), Header(header.samples, {**header.parts, "seed": "1"}))
        path.unlink()
        (path.parent / name_of(content)).write_bytes(content)
    refused = here("leaderboard", run_folder, copy)
    assert refused.returncode == 2 and "seed: 0 in" in refused.stderr


def test_the_audit_of_the_paper_and_of_a_run(run_folder: Path, here: Command) -> None:
    done = here("audit", run_folder, "--format", "md")
    assert (
        done.returncode == 0 and "swapped back 0.694" in done.stdout and "Nothing is wrong in this run" in done.stdout
    )
    assert here("audit").stdout.count("published") > 20


@pytest.mark.slow
def test_the_leaderboard_says_the_peak_memory_of_the_workers(run_folder: Path) -> None:
    rows = load(run_folder)
    made = recorded_at(run_folder)
    found = entries([Source("small", rows, made.context(rows), made.store.manifest())])
    assert len(found) == 2 and found["peak_memory_mib"].between(100, 100_000).all()


@pytest.mark.slow
def test_clicks_needed_are_of_the_ranking_that_the_clicks_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(OUTSIDE)
    methods: list[dict[str, Any]] = [
        {"name": "gone_away:Halves", "label": "turned", "params": {"rankings": ["confidence", "clip"]}},
        {"name": "gone_away:Halves", "label": "its own order"},
    ]
    given = {
        "run": "order",
        "datasets": [{"name": "gone_away:Boxes", "label": "box"}],
        "methods": methods,
        "clicks": {"strategy": "center/v1", "max_clicks": 2},
        "tables": ["noc"],
        "workers": {"executor": "local"},
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(given))
    runs.run(config.load_run(tmp_path / "a.yaml"), Quiet(), runs=str(tmp_path))
    rows = load(tmp_path / "order")
    second = rows[rows["click_index"] == 2].groupby("method")["clicks"].first()
    followed = {method: "confidence" if clicks[1]["positive"] else "clip" for method, clicks in second.items()}
    assert followed == {"its own order": "clip", "turned": "confidence"}
    built = build_table("noc", rows, recorded_at(tmp_path / "order").context(rows))
    assert {row.cells[1].text for row in built.body} == {f"{name} ({ranking})" for name, ranking in followed.items()}
