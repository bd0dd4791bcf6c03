"""What reads a run needs its folder alone: its method, data set and metric may be gone, and stay unimported."""

import importlib.abc
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import harness
from harness.config.run_config import load_run
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from harness.storage.manifest import read_manifest, save_manifest
from harness.storage.store import Store
from toy_runs import OUTSIDE, Quiet

ROOT = Path(__file__).resolve().parents[2]

Command = Callable[..., CompletedProcess[str]]


class Watched(importlib.abc.MetaPathFinder):
    """Notes the plugins that somebody tries to import."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name.startswith(("gone_away", "harness.methods", "harness.datasets")):
            self.names.append(name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose plugins are gone."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copy(OUTSIDE / "gone_away.py", folder)
    given: dict[str, Any] = {
        "run": "gone",
        "datasets": [{"name": "gone_away:Boxes", "label": "boxes"}],
        "methods": [
            {"name": "gone_away:Halves", "label": "own order"},
            {"name": "gone_away:Halves", "label": "turned", "params": {"rankings": ["confidence", "clip"]}},
        ],
        "clicks": {"strategy": "center/v1", "max_clicks": 2},
        "metrics": ["iou", "boundary_iou", "gone_away:dice"],
        "tables": ["leaderboard", "noc"],
        "workers": {"executor": "local"},
    }
    (folder / "a.yaml").write_text(yaml.safe_dump(given))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        run(load_run(folder / "a.yaml"), Quiet(), runs=str(folder))
    del sys.modules["gone_away"]
    (folder / "gone_away.py").unlink()
    return folder / "gone"


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy to work on."""
    shutil.copytree(made, tmp_path / "gone")
    return tmp_path / "gone"


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The plugins that somebody tried to import."""
    watched = Watched()
    monkeypatch.setattr(sys, "meta_path", [watched, *sys.meta_path])
    yield watched.names


@pytest.mark.slow
def test_a_metric_that_is_gone_keeps_its_column_through_every_command(
    copy: Path, here: Command, imported: list[str], tmp_path: Path
) -> None:
    before = pq.read_table(copy / "results.parquet")
    assert before.column_names[-3:] == ["iou", "boundary_iou", "dice"] and before["dice"].null_count < len(before)
    assert harness.load(copy)["dice"].equals(before["dice"].to_pandas())
    for command in (
        ["report", copy],
        ["report", copy, "--table", "leaderboard", "-o", tmp_path / "l.md"],
        ["leaderboard", copy, "-o", tmp_path / "board.parquet"],
        ["claims", copy, "-o", tmp_path / "claims.md"],
        ["compare", f"{copy}:own order (clip)", f"{copy}:turned (clip)", "--metric", "dice", "--format", "md"],
        ["audit", copy],
        ["merge", copy, "-o", tmp_path / "merged"],
        ["verify", copy],
        ["verify", tmp_path / "merged"],
    ):
        done = here(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert imported == []
    for folder in (copy, tmp_path / "merged"):
        assert pq.read_table(folder / "results.parquet").equals(before), folder


@pytest.mark.slow
def test_the_manifest_says_what_tables_must_know_of_what_is_gone(copy: Path) -> None:
    jobs = Store(copy).manifest()["jobs"].values()
    for job in jobs:
        about = job["about"]
        assert about["uses_text"] and about["metrics"]["dice"] == {
            "higher_is_better": True,
            "bounds": [0.0, 1.0],
            "unit": "",
            "description": "Twice the intersection over the sum of both areas.",
        }
    assert {job["method"]: job["about"]["first_ranking"] for job in jobs} == {
        "own order": "clip",
        "turned": "confidence",
    }


@pytest.mark.slow
def test_tables_say_how_the_run_asked_and_what_of_the_paper_is_left_out(copy: Path, here: Command) -> None:
    asked = "Asked: 2 clicks by center/v1; text given; boxes; seed 0."
    assert asked in (copy / "report.md").read_text()
    assert "boxes leaves out 2 boxes on the right." in (copy / "report.md").read_text()
    for command in (["leaderboard", copy], ["compare", "own order (clip)", "turned (clip)", "--run", copy]):
        assert here(*command, "--format", "md").stdout.count(asked) == 1
    manifest = read_manifest(Store(copy).folder)
    for job in manifest["jobs"].values():
        job["about"] |= {"dataset_plugin": "voc", "dataset_split": "trainval"}
    save_manifest(Store(copy).folder, manifest)
    found = recorded_at(copy)
    lists = found.context(found.rows()).other_lists
    assert lists == {"boxes": f"published: val, 3422 objects; here: trainval, {len(set(found.rows()['instance_id']))}"}


@pytest.mark.slow
def test_reports_are_the_same_whether_the_plugins_are_there_or_not(made: Path, copy: Path, here: Command) -> None:
    (copy / "report.md").unlink()
    assert here("report", copy).returncode == 0
    assert (copy / "report.md").read_text() == (made / "report.md").read_text()
    assert "turned (confidence)" in (made / "report.md").read_text(), "its first ranking, which its clicks followed"


@pytest.mark.slow
def test_a_page_is_built_without_the_pictures(copy: Path, here: Command) -> None:
    done = here("page", copy, "--no-figures")
    assert done.returncode == 0, done.stderr
    assert "boxes: pictures are not shown" in " ".join(done.stdout.split()) and "0 pictures" in done.stdout


@pytest.mark.slow
def test_missing_images_are_counted_without_the_data(copy: Path, here: Command, imported: list[str]) -> None:
    next((copy / "shards").glob("turned-*/*.parquet")).unlink()
    done = here("report", copy)
    said = ": 3 of 3 instances of boxes have no row of turned."
    assert done.returncode == 1 and said in done.stderr, "the other method's rows tell"
    for shard in (copy / "shards").rglob("*.parquet"):
        shard.unlink()
    done = here("report", copy)
    assert done.returncode == 1 and done.stderr.count(": at least 3 of 3 instances of boxes have no row of ") == 2
    assert imported == []


@pytest.mark.slow
def test_a_table_that_is_gone_is_said_in_its_place(copy: Path, here: Command) -> None:
    store = Store(copy)
    manifest = read_manifest(store.folder)
    save_manifest(store.folder, manifest | {"config": manifest["config"] | {"tables": ["gone_away:mine", "noc"]}})
    done = here("report", copy)
    assert done.returncode == 0 and "gone_away:mine" in done.stdout and "turned (confidence)" in done.stdout
    assert "gone_away" in (copy / "report.md").read_text()
    assert here("report", copy, "--table", "gone_away:mine").returncode == 2


@pytest.mark.slow
def test_pictures_of_a_data_set_of_one_s_own_want_one_s_own_config(
    made: Path, copy: Path, here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(OUTSIDE / "gone_away.py", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    done = here("page", copy, "--no-figures")
    assert done.returncode == 0 and "0 pictures" in done.stdout and "gone_away" not in sys.modules
    done = here("page", copy, "--no-figures", "--data", made.parent / "a.yaml")
    assert done.returncode == 0 and "3 pictures" in done.stdout, done.stderr
    del sys.modules["gone_away"]


PAYLOAD = """
from pathlib import Path

(Path(__file__).parent / "executed").touch()
"""


@pytest.mark.slow
def test_a_foreign_folder_runs_nothing(
    copy: Path, here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest, sealed anew, names a module in that very folder wherever a config names plugins."""
    (copy / "payload.py").write_text(PAYLOAD)
    monkeypatch.syspath_prepend(copy)
    store = Store(copy)
    manifest = read_manifest(store.folder)
    config = manifest["config"]
    evil = "payload:Evil"
    methods = [one | {"name": evil, "params": {"saliency": {"name": evil}}} for one in config["methods"]]
    config |= {"methods": methods, "datasets": [{"name": evil, "label": "boxes"}], "tables": [evil, "leaderboard"]}
    config |= {"metrics": ["iou", "boundary_iou", evil], "text": config["text"] | {"rule": evil}}
    config |= {"clicks": config["clicks"] | {"strategy": evil}}
    config |= {"loggers": [{"name": evil, "label": "evil"}], "on_end": [f"touch {copy}/executed"]}
    for job in manifest["jobs"].values():
        job["about"] |= {"dataset_plugin": evil, "method_plugin": evil}
    save_manifest(store.folder, manifest)
    for command in (
        ["report", copy],
        ["report", copy, "--table", "all", "-o", tmp_path / "all.md"],
        ["leaderboard", copy],
        ["compare", f"{copy}:own order (clip)", f"{copy}:turned (clip)"],
        ["audit", copy],
        ["claims", copy],
        ["page", copy, "--no-figures"],
        ["publish", copy, "-o", tmp_path / "site"],  # a page too, with figures
        ["export", copy, "--coco", tmp_path / "masks.json", "--method", "turned"],
        ["rows", copy, "--worst", "2"],
        ["merge", copy, "-o", tmp_path / "merged"],
        ["verify", copy],
    ):
        done = here(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    harness.load(copy)
    assert not (copy / "executed").exists() and "payload" not in sys.modules
    assert "reading a run must not execute other code" in (copy / "report.md").read_text()
    assert here("report", copy, "--table", evil).returncode == 2 and (copy / "executed").exists(), "asked for by name"
    del sys.modules["payload"]


LOADED = """
import sys
sys.argv = ["harness", "report", sys.argv[1]]
from harness.__main__ import main
try:
    main()
except SystemExit as ended:
    heavy = {name for name in sys.modules if name.startswith("harness.methods.")} | {"torch", "ray", "gone_away"}
    print(ended.code, *heavy.intersection(sys.modules), file=sys.stderr)
"""


@pytest.mark.slow
def test_report_imports_neither_torch_nor_a_method(copy: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, copy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "0\n", done.stderr
