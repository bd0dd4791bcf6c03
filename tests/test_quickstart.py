"""The README's first table, from the run that it names.

It is held to the rows of all 200 scenes that docs/example_report keeps: its config asks both methods on the same scenes
with the same clicks and weights, which the rows of the quickstart's first scenes, computed anew, show.
"""

import re
from pathlib import Path

import pandas as pd
import pytest

from harness.config.run_config import load_run
from harness.results.loading import load
from harness.running.one_run import run
from harness.statistics.means import paired_gain, paired_gains, part, summarise
from toy_runs import Quiet

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "example_report" / "run"
METHODS = ["Text+Click", "Click only"]
SCENES = 12
"""How many scenes are computed anew; two shards."""
TOLERANCE = 0.3
"""Points of mIoU between machines: another CPU's float rounding flips single pixels."""


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Both methods' rows of all 200 scenes that docs/example_report keeps."""
    kept = load(KEPT)
    return kept[kept["method"].isin(METHODS)].reset_index(drop=True)


def test_every_instance_of_200_scenes_is_answered_by_both(rows: pd.DataFrame) -> None:
    assert rows.groupby("method")["image_id"].nunique().to_dict() == dict.fromkeys(METHODS, 200)
    assert (rows["status"] == "ok").all() and not rows.duplicated(["method", "instance_id"]).any()


@pytest.mark.slow
def test_the_kept_rows_are_asked_as_the_quickstart_asks() -> None:
    quick, kept = (load_run(ROOT / "configs" / f"{name}.yaml") for name in ("quickstart", "sam_vs_ours_all_scenes"))
    assert quick.methods == kept.methods[:2] and [one.label for one in quick.methods] == METHODS
    assert (quick.datasets, quick.clicks, quick.seed, quick.limit) == (kept.datasets, kept.clicks, kept.seed, None)


@pytest.mark.slow
def test_rows_that_are_computed_anew_are_those_that_are_kept(rows: pd.DataFrame, tmp_path: Path) -> None:
    """In this process: tests/test_installed.py shows that the quickstart's rows are the same on Ray."""
    changed = [f"limit={SCENES}", "workers.executor=local", "tables=[]"]
    run(load_run(ROOT / "configs" / "quickstart.yaml", changed), Quiet(), runs=str(tmp_path))
    again = load(tmp_path / "quickstart")
    assert again["image_id"].nunique() == SCENES and (again["status"] == "ok").all()
    key = ["method", "instance_id"]
    kept = rows[rows["image_id"].isin(again["image_id"])].sort_values(key, ignore_index=True)
    again = again.sort_values(key, ignore_index=True)
    same = [*key, "image_id", "category", "seen", "text", "gt_area_px"]
    pd.testing.assert_frame_equal(kept[same], again[same], check_dtype=False)
    assert [list(map(dict, one)) for one in kept["clicks"]] == [list(map(dict, one)) for one in again["clicks"]]
    apart = (kept[["iou", "boundary_iou"]] - again[["iou", "boundary_iou"]]).abs()
    assert apart.groupby(kept["method"]).mean().max().max() < TOLERANCE / 100


@pytest.mark.slow
def test_text_gains_at_least_8_points_overall_and_on_unseen_classes(rows: pd.DataFrame) -> None:
    for some in (rows, part(rows, seen=False)):
        assert paired_gain(some, *METHODS).low > 0.08


def test_the_readme_prints_what_comes_out(rows: pd.DataFrame) -> None:
    printed = (ROOT / "README.md").read_text().split("quickstart:begin")[1].split("quickstart:end")[0]
    for line in summarise(rows).itertuples():
        (table_row,) = (text for text in printed.splitlines() if f"| {line.method} |" in text)
        means = [float(cell) for cell in re.findall(r"\| (\d+\.\d+)", table_row)]
        assert means == pytest.approx([100 * line.mean, 100 * line.seen, 100 * line.unseen], abs=TOLERANCE)


@pytest.mark.slow
def test_the_readme_prints_the_gains_and_their_intervals(rows: pd.DataFrame) -> None:
    printed = (ROOT / "README.md").read_text().split("quickstart:begin")[1].split("quickstart:end")[0]
    gains = paired_gains(rows, *METHODS)
    means = [100 * gains[half].difference for half in ("mean", "seen", "unseen")]
    assert [float(found) for found in re.findall(r"\((\+\d+\.\d+)\)", printed)] == pytest.approx(means, abs=TOLERANCE)
    for name, half in (("overall", "mean"), ("seen", "seen"), ("unseen", "unseen")):
        (low, high) = re.search(rf"{name} \[([\d.]+), ([\d.]+)\]", printed).groups()  # type: ignore[union-attr]
        ends = [100 * gains[half].low, 100 * gains[half].high]
        assert [float(low), float(high)] == pytest.approx(ends, abs=TOLERANCE)
