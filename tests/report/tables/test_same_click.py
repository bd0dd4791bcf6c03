"""The table of one click in two objects, by hand, and from a run."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import places
from harness.config.run_config import load_run
from harness.report.build import build_table
from harness.report.context import Context
from harness.report.layout import Table
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from harness.storage.store import store_of
from harness.storage.verify import verified
from toy_runs import Quiet, written

CONTEXT = Context("demo")
CLICK = [{"x": 3, "y": 5, "positive": True}]


def answers(make_row: Any, method: str, image: str, ious: tuple[float, float], nested: bool = True) -> list[Any]:
    """Both rows of a pair of objects of 1000 and 100 pixels; a mask that is not of its own object is of the other."""
    ids, areas = (f"{image}1", f"{image}2"), (1000, 100)
    known = {"clicks": CLICK, "shared_px": 100 if nested else 40, "pred_area_px": 70}
    others = [{"partner": ids[1 - at], "partner_iou": round(0.9 - iou, 2)} for at, iou in enumerate(ious)]
    return [make_row(method, ids[at], iou, gt_area_px=areas[at], **known, **others[at]) for at, iou in enumerate(ious)]


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    # C's mask is the same for both words. D's masks change places: that is a change, too, if no right one.
    text = [("A", (0.8, 0.7), True), ("B", (0.8, 0.6), False), ("C", (0.8, 0.1), True), ("D", (0.1, 0.2), True)]
    click = [("A", (0.1, 0.8), True), ("B", (0.1, 0.8), False), ("C", (0.5, 0.4), True), ("D", (0.45, 0.45), True)]
    made = [answers(make_row, name, *one) for name, own in (("text", text), ("click", click)) for one in own]
    return pd.DataFrame(itertools.chain(*made))


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells][1:] for row in table.body]


def test_the_table_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("same_click", rows, CONTEXT)
    shares = ("Right Both", "Right One", "Right None", "Changes Mask", "Changes Object")
    assert built.headings[4:] == (*shares, "n", "Failed")
    assert texts(built)[3:] == [
        ["text", "single", "all", "50.00", "25.00", "25.00", "75.00", "75.00", "4", "0"],
        ["text", "single", "part and whole", "33.33", "33.33", "33.33", "66.67", "66.67", "3", ""],
        ["text", "single", "others", "100.00", "0.00", "0.00", "100.00", "100.00", "1", ""],
    ]
    assert texts(built)[0] == ["click", "single", "all", "0.00", "75.00", "25.00", "0.00", "0.00", "4", "0"]


def test_a_data_set_of_one_kind_has_no_line_for_it(rows: pd.DataFrame) -> None:
    built = build_table("same_click", rows[rows["image_id"] != "B"], CONTEXT)
    assert [line[2] for line in texts(built)] == ["all", "all"]
    assert built.notes[0] == "toy: all pairs are part and whole."


def test_a_pair_of_which_one_failed_is_counted_and_in_no_mean(rows: pd.DataFrame) -> None:
    failed = (rows["method"] == "text") & (rows["instance_id"] == "A1")
    rows.loc[failed, ["status", "iou", "partner_iou"]] = ["failed", None, None]
    line = texts(build_table("same_click", rows, CONTEXT))[3]
    assert line == ["text", "single", "all", "33.33", "33.33", "33.33", "66.67", "66.67", "3", "1"]


@pytest.mark.usefixtures("two_images_do")
def test_intervals_are_by_images(rows: pd.DataFrame) -> None:
    cell = build_table("same_click", rows, Context("demo", intervals=True)).body[3].cells[4]
    assert cell.n == 4 and cell.low is not None and cell.low < 0.5


def test_rows_that_have_no_partner(pair: pd.DataFrame) -> None:
    built = build_table("same_click", pair, CONTEXT)
    assert not built.body and built.notes == ("No row has a partner: run with `clicks: {strategy: shared/v1}`.",)


SCENES = {"name": "scenes", "params": {"split": "val", "count": 3}}


@pytest.mark.slow
def test_a_run_from_its_config_to_its_table(tmp_path: Path) -> None:
    config = load_run(written(tmp_path / "x.yaml", datasets=[SCENES], clicks={"strategy": "shared/v1"}))
    run(config, Quiet(), runs=str(tmp_path))
    found = recorded_at(tmp_path / "x")
    rows = found.rows()
    built = build_table("same_click", rows, found.context(rows))
    ours = built.body[0].cells
    pairs = len(rows[(rows["ranking"] == "confidence")]) // 2
    # Steady reads no words: one mask for both, which is never right for both of a part and its whole.
    assert [cell.text for cell in ours][1:4] == ["steady", "confidence", "all"]
    assert [cell.text for cell in ours][7:] == ["0.00", "0.00", str(pairs), "0"] and pairs > 3
    findings = verified(store_of("x", tmp_path), config.datasets)
    assert not findings.lacking and not findings.unproved


@pytest.mark.slow
@pytest.mark.parametrize("name", ["same_click_scenes", "same_click"])
def test_the_configs_ask_for_it(name: str) -> None:
    config = load_run(places.ROOT / "configs" / f"{name}.yaml")
    assert config.clicks.strategy == "shared/v1" and config.tables == ("same_click",)
