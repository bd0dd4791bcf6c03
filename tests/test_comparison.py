"""The scenes' table of every embedded method beside Text+Click, and that run's own tables.

They are held to the rows of all 200 scenes that docs/example_report keeps, and these to rows that are computed anew.
"""

import re
from pathlib import Path

import pandas as pd
import pytest

from harness.config.run_config import load_run
from harness.results.loading import load
from harness.running.one_run import run
from harness.statistics.means import paired_gain, summarise
from toy_runs import Quiet

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "example_report" / "run"
SCENES = 5
"""How many scenes are computed anew."""
TOLERANCE = 0.3
"""Points of mIoU between machines: another CPU's float rounding flips single pixels."""

LINES = {
    ("Text+Click", "single"),
    ("SAM tiny", "oracle"),
    ("SAM tiny", "clip"),
    ("SAM tiny", "confidence"),
    ("Click only", "single"),
    ("RITM tiny", "single"),
    ("SimpleClick tiny", "single"),
    ("FocalClick tiny", "single"),
    ("PhraseClick", "single"),
    ("LAVT tiny", "oracle"),
    ("LAVT tiny", "component"),
    ("LAVT tiny", "text"),
}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """The rows of all 200 scenes that docs/example_report keeps."""
    return load(KEPT)


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The rows of the first scenes, computed now."""
    runs = tmp_path_factory.mktemp("runs")
    changed = ["run=again", f"limit={SCENES}", "workers.executor=local", "tables=[]"]
    run(load_run(ROOT / "configs" / "sam_vs_ours_all_scenes.yaml", changed), Quiet(), runs=str(runs))
    return load(runs / "again")


@pytest.fixture(scope="module")
def means(rows: pd.DataFrame) -> dict[tuple[str, str], tuple[float, float]]:
    """Method and ranking -> mean IoU and mean boundary IoU, in percent."""
    found = {}
    for metric in ("iou", "boundary_iou"):
        for line in summarise(rows, metric=metric).itertuples():
            found.setdefault((line.method, line.ranking), []).append(100 * line.mean)
    return {key: tuple(values) for key, values in found.items()}


def test_every_instance_of_200_scenes_is_answered_by_all(rows: pd.DataFrame) -> None:
    assert (rows["status"] == "ok").all()
    assert not rows.duplicated(["method", "ranking", "instance_id"]).any()
    assert set(rows.groupby(["method", "ranking"]).size().to_dict().items()) == {(line, 1552) for line in LINES}
    assert rows["image_id"].nunique() == 200


@pytest.mark.slow
def test_the_oracle_is_never_behind_and_text_and_click_is_ahead_of_all(rows: pd.DataFrame) -> None:
    sam = rows[rows["method"] == "SAM tiny"].pivot(index="instance_id", columns="ranking", values="iou")
    assert (sam["oracle"] >= sam[["confidence", "clip"]].max(axis=1)).all()
    assert (sam["oracle"] > sam["confidence"]).any()
    for other in sorted(LINES - {("Text+Click", "single")}):
        assert paired_gain(rows, ("Text+Click", "single"), other).low > 0, other


@pytest.mark.slow
def test_all_methods_were_asked_the_same_clicks(rows: pd.DataFrame) -> None:
    asked = rows.assign(clicks=rows["clicks"].map(str)).groupby("instance_id")[["clicks", "text"]].nunique()
    assert (asked == 1).all().all()


def test_the_page_prints_what_comes_out(means: dict[tuple[str, str], tuple[float, float]]) -> None:
    printed = (ROOT / "docs" / "scenes.md").read_text().split("comparison:begin")[1].split("comparison:end")[0]
    found = re.findall(r"^\| ([^|]+) \| (\w+)[^|]* \| ([\d.]+) \| ([\d.]+) \|$", printed, re.MULTILINE)
    assert {(method, ranking) for method, ranking, _, _ in found} == LINES
    for method, ranking, *numbers in found:
        assert list(map(float, numbers)) == pytest.approx(means[method, ranking], abs=TOLERANCE), (method, ranking)
    assert [float(number) for *_, number, _ in found] == sorted((float(n) for *_, n, _ in found), reverse=True)


@pytest.mark.parametrize(
    ("table", "first", "shown", "metric"),
    [
        (3, "scenes", [("SAM tiny", "clip"), ("SAM tiny", "confidence"), ("SAM tiny", "oracle"),
                       ("Click only", "single"), ("Text+Click", "single")], 0),
        (4, "scenes | Text+Click", [("Text+Click", "single")], 0),
        (4, "scenes | SAM tiny (confidence) ¹", [("SAM tiny", "confidence")], 0),
        (6, "RITM tiny | scenes | scenes", [("RITM tiny", "single")], 0),
        (6, "Text+Click | scenes | scenes", [("Text+Click", "single")], 0),
        (7, "scenes | Text+Click", [("Text+Click", "single")], 1),
        (7, "scenes | SAM tiny (confidence) ¹", [("SAM tiny", "confidence")], 1),
    ],
)  # fmt: skip
def test_the_papers_tables_are_of_these_rows(
    means: dict[tuple[str, str], tuple[float, float]],
    table: int,
    first: str,
    shown: list[tuple[str, str]],
    metric: int,
) -> None:
    written = (KEPT.parent / "tables.md").read_text().split(f"**Table {table}: ")[1].split("\n**")[0]
    (line,) = (line for line in written.splitlines() if line.startswith(f"| {first} |"))
    numbers = [float(number) for number in re.findall(r"\| \**(\d+\.\d+)", line)]
    assert numbers[: len(shown)] == pytest.approx([means[one][metric] for one in shown], abs=0.006)


@pytest.mark.slow
def test_rows_that_are_computed_anew_are_those_that_are_kept(rows: pd.DataFrame, again: pd.DataFrame) -> None:
    """The same instances, clicks and words; scores as far as machines agree."""
    key = ["method", "ranking", "instance_id"]
    kept = rows[rows["image_id"].isin(again["image_id"])].sort_values(key, ignore_index=True)
    assert again["image_id"].nunique() == SCENES and len(kept) == len(again) > 30 * len(LINES)
    found = kept[key].merge(again, on=key)
    same = [*key, "dataset", "image_id", "category", "seen", "text", "under_click", "gt_area_px", "same_class_count"]
    pd.testing.assert_frame_equal(kept[same], found[same], check_dtype=False)
    assert [list(map(dict, one)) for one in kept["clicks"]] == [list(map(dict, one)) for one in found["clicks"]]
    apart = (kept[["iou", "boundary_iou"]] - found[["iou", "boundary_iou"]]).abs()
    assert apart.groupby([kept["method"], kept["ranking"]]).mean().max().max() < TOLERANCE / 100
