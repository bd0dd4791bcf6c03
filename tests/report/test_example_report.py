"""docs/example_report, made again of the rows kept there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from benchmarks import example_report
from benchmarks.example_report import CHARTS, CONFIGS, DOCUMENTS, EXAMPLE, GRID, LEFT_OUT, ROOT, RUN, write_documents
from harness.config.run_config import load_run
from harness.jobs.plan import planned, remaining
from harness.results.loading import load
from harness.storage.store import Store

PICTURES = {f"{GRID}.jpg", f"{GRID}_all.jpg", *(f"{name}.png" for name in CHARTS)}


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, written anew beside a link to the kept rows: links in it are relative."""
    root = tmp_path_factory.mktemp("example")
    (root / EXAMPLE).mkdir(parents=True)
    for run in CONFIGS.values():
        (root / run).symlink_to(ROOT / run)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_documents(EXAMPLE)
    return root / EXAMPLE


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_those_of_the_rows(again: Path, name: str) -> None:
    assert (again / name).read_text() == (ROOT / EXAMPLE / name).read_text(), (
        "python -m benchmarks.example_report --kept"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CHARTS)
def test_charts_are_those_of_the_rows(again: Path, name: str) -> None:
    """Another machine's fonts may blur an edge otherwise."""
    found, wanted = (
        np.asarray(PIL.Image.open(folder / f"{name}.png").convert("L"), dtype=float)
        for folder in (again, ROOT / EXAMPLE)
    )
    assert found.shape == wanted.shape and np.abs(found - wanted).mean() < 2


def test_all_eight_layouts_are_there() -> None:
    written = (ROOT / EXAMPLE / "tables.md").read_text()
    assert [f"Table {number}: " in written for number in range(1, 9)] == [True] * 8


@pytest.mark.slow
def test_it_is_small_and_names_no_machine() -> None:
    files = [path for path in (ROOT / EXAMPLE).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2e6
    assert {path.name for path in files} > PICTURES
    for run in CONFIGS.values():
        (start,) = Store(ROOT / run).manifest()["starts"]
        assert not start.keys() & set(example_report.MACHINE)
        rows = load(ROOT / run, masks=True)
        assert rows[list(LEFT_OUT)].isna().all().all() and set(rows["device"]) == {""}
        assert '"/' not in json.dumps(Store(ROOT / run).manifest())  # no path of a machine


@pytest.mark.slow
def test_the_rows_say_how_they_were_asked_in_full() -> None:
    assert [set(load(ROOT / run)["click_options"]) for run in CONFIGS.values()] == [
        {'{"margin": 0.35}'},
        {'{"least_px": 25}'},
    ]


@pytest.mark.slow
def test_a_run_of_the_config_would_go_on_with_the_kept_rows() -> None:
    """Otherwise the command of docs/statistics.md, `plan --detect`, would refuse them."""
    jobs = planned(load_run(ROOT / "configs" / "sam_vs_ours_all_scenes.yaml", ["limit=1"]))
    assert remaining(jobs, Store(ROOT / RUN), None) == []


def test_the_readme_names_what_is_there() -> None:
    said = (ROOT / EXAMPLE / "README.md").read_text()
    assert all(f"({name})" in said for name in (*DOCUMENTS, *PICTURES))


@pytest.mark.slow
def test_the_notebook_of_the_docs_runs_as_it_stands() -> None:
    """docs/statistics.md's lines, on the rows kept here."""
    lines = (ROOT / "docs" / "statistics.md").read_text().split("```python\n")[1].split("```")[0]
    made: dict[str, Any] = {}
    exec(lines.replace("runs/quickstart", str(ROOT / RUN)), made)
    best = made["means"].set_index(["method", "ranking"]).loc[("Text+Click", "single")]
    assert best["mean_low"] < best["mean"] < best["mean_high"] and best["n"] == 1552
    assert made["by_class"]["n"].sum() == len(made["rows"]) and len(made["found"].changed) == 24
