"""A rough input refined, by hand."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context
from harness.report.layout import Table

IN = {"A1": 0.5, "A2": 0.6, "B1": 0.4, "B2": 0.5}
OUT = {1: {"A1": 0.4, "A2": 0.9, "B1": 0.6, "B2": 0.5}, 2: {"A1": 0.8, "A2": 0.5, "B1": 0.8, "B2": 0.7}}
KINDS = {"A1": "eroded", "A2": "holed", "B1": "eroded", "B2": "eroded"}
CLICK = {"x": 3, "y": 5, "positive": True}


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    """RITM from a rough mask with two clicks, and a method that begins with nothing."""
    refined = [
        make_row("ritm", name, iou, start=KINDS[name], start_iou=IN[name], click_index=number, clicks=[CLICK] * number)
        for number, ious in OUT.items()
        for name, iou in ious.items()
    ]
    return pd.DataFrame([*refined, *(make_row("other", name, 0.1) for name in IN)])


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


@pytest.mark.usefixtures("two_images_do")
def test_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("refinement", rows, Context("demo"))
    assert [line[1:] for line in texts(built)] == [
        ["ritm", "all", "1", "50.00", "60.00", "+10.00", "25.00", "4", "0"],
        ["ritm", "eroded", "1", "46.67", "50.00", "+3.33", "33.33", "3", "0"],
        ["ritm", "holed", "1", "60.00", "90.00", "+30.00", "0.00", "1", "0"],
        ["ritm", "all", "2", "50.00", "70.00", "+20.00", "25.00", "4", "0"],
        ["ritm", "eroded", "2", "46.67", "76.67", "+30.00", "0.00", "3", "0"],
        ["ritm", "holed", "2", "60.00", "50.00", "-10.00", "100.00", "1", "0"],
    ]
    assert any(note.startswith("toy, ritm, all, 2 clicks: change +20.00 [") for note in built.notes)


@pytest.mark.usefixtures("two_images_do")
def test_an_instance_counts_by_the_mean_over_its_draws(make_row: Any) -> None:
    draws = {"A1": ((0.5, 0.4), (0.7, 0.9)), "B1": ((0.4, 0.8), (0.6, 0.8))}
    made = [
        make_row("ritm", name, after, start="box", start_iou=before, draw=draw)
        for name, ious in draws.items()
        for draw, (before, after) in enumerate(ious)
    ]
    (line,) = texts(build_table("refinement", pd.DataFrame(made), Context("demo")))
    assert line[4:] == ["55.00", "72.50", "+17.50", "25.00", "2", "0"]  # One draw of A1 became worse.


def test_a_draw_without_a_score_leaves_its_instance_out_of_every_mean(make_row: Any) -> None:
    draws = {"A1": ((0.5, 0.4), (0.7, float("nan"))), "B1": ((0.4, 0.8), (0.6, 0.8))}
    made = [
        make_row("ritm", name, after, start="box", start_iou=before, draw=draw)
        for name, ious in draws.items()
        for draw, (before, after) in enumerate(ious)
    ]
    built = build_table("refinement", pd.DataFrame(made), Context("demo"))
    assert texts(built)[0][4:] == ["50.00", "80.00", "+30.00", "0.00", "1", "0"]
    assert "1 of 2 instances were segmented but not scored, and are not in the mean." in built.footnotes


def test_each_kind_counts_its_own_failures(rows: pd.DataFrame, make_row: Any) -> None:
    failures = [make_row("ritm", "B4", None, start="holed"), make_row("ritm", "B6", None, start=None)]
    built = build_table("refinement", pd.concat([rows, pd.DataFrame(failures)], ignore_index=True), Context("demo"))
    counts = [["all", "4", "2"], ["eroded", "3", "0"], ["holed", "1", "1"]]
    assert [[line[2], *line[8:]] for line in texts(built)] == counts * 2


@pytest.mark.usefixtures("two_images_do")
def test_intervals_stand_behind_the_numbers_where_asked(rows: pd.DataFrame) -> None:
    cells = build_table("refinement", rows, replace(Context("demo"), intervals=True)).body[3].cells
    assert cells[5].low is not None and cells[5].low <= 0.7 <= cells[5].high
    assert cells[6].value == pytest.approx(0.2) and cells[6].low is not None and cells[6].low <= 0.2 <= cells[6].high
    assert cells[6].whole.startswith("+20.00 [") and cells[7].low is not None


def test_one_kind_has_one_line(rows: pd.DataFrame) -> None:
    boxes = rows[rows["method"] == "ritm"].assign(start="box", click_index=0, clicks=None)
    boxes = boxes.drop_duplicates("instance_id")
    built = build_table("refinement", boxes.assign(clicks=[[]] * len(boxes)), Context("demo"))
    assert [line[2:4] for line in texts(built)] == [["box", "0"]]


def test_missing_rows_leave_no_mean(rows: pd.DataFrame) -> None:
    gone = (rows["method"] == "ritm") & (rows["instance_id"] == "A1")
    built = build_table("refinement", rows[~gone], Context("demo"))
    assert {(line[5], line[8]) for line in texts(built)} == {("–", "0")}
    assert not any("change" in note for note in built.notes[:-1])


@pytest.mark.parametrize("drop", [True, False])
def test_a_run_that_begins_with_nothing_says_so(rows: pd.DataFrame, drop: bool) -> None:
    other = rows[rows["method"] == "other"]
    built = build_table("refinement", other.drop(columns=["start", "start_iou"]) if drop else other, Context("demo"))
    assert built.body == () and built.notes == ("No prompt of this run began with a box or a mask.",)


def test_a_method_that_failed_wherever_it_began_with_something_has_no_line(rows: pd.DataFrame, make_row: Any) -> None:
    failed = make_row("other", "B4", None, start="box", start_iou=0.5)
    built = build_table("refinement", pd.concat([rows, pd.DataFrame([failed])], ignore_index=True), Context("demo"))
    assert {line[1] for line in texts(built)} == {"ritm"}
