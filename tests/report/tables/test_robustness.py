"""The spread over positions, by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.report.tables.robustness import spread
from harness.statistics.means import summarise

CELLS = {"cell 0": {"A1": 0.9, "B1": 0.5}, "cell 1": {"A1": 0.5, "B1": 0.5}, "cell 2": {"A1": 0.1, "B1": 0.2}}
LABELS = {f"ours, {cell}": MethodFacts(variant_of="ours") for cell in CELLS} | {"plain": MethodFacts()}
CONTEXT = Context("demo", labels=LABELS)


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    clicks = {cell: [{"x": x, "y": 5, "positive": True}] for x, cell in enumerate(CELLS)}
    listed = [
        make_row(f"ours, {cell}", name, iou, clicks=clicks[cell])
        for cell, ious in CELLS.items()
        for name, iou in ious.items()
    ]
    return pd.DataFrame([*listed, *(make_row("plain", name, 0.6) for name in ("A1", "B1"))])


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


def test_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("robustness", rows, CONTEXT)
    std = 100 * (np.std([0.9, 0.5, 0.1]) + np.std([0.5, 0.5, 0.2])) / 2
    assert texts(built) == [
        ["toy", "ours", "3", "45.00", f"{std:.2f}", "15.00", "70.00", "2", "0"],
        ["toy", "plain", "1", "60.00", "0.00", "60.00", "60.00", "2", "0"],
    ]
    assert "toy, ours, by position: cell 0 70.00, cell 1 50.00, cell 2 15.00." in built.notes


def test_a_tenth_is_one_of_ten_and_two_of_eleven() -> None:
    ladder = np.arange(11.0)[None] / 10
    assert spread(ladder[:, :10])[["worst", "best"]].to_numpy().tolist() == [[0, 0.9]]
    assert spread(ladder)[["worst", "best"]].to_numpy().tolist() == [[pytest.approx(0.05), pytest.approx(0.95)]]
    many = np.arange(70.0)[None]
    assert spread(many)[["worst", "best"]].to_numpy().tolist() == [[3, 66]]  # 0 to 6, and 63 to 69
    assert spread(np.empty((0, 9))).shape == (0, 4)


def test_an_instance_that_failed_at_one_position_is_left_out(rows: pd.DataFrame, make_row: Any) -> None:
    one = (rows["method"] == "ours, cell 1") & (rows["instance_id"] == "A1")
    some = pd.concat([rows[~one], pd.DataFrame([make_row("ours, cell 1", "A1", None)])])
    assert texts(build_table("robustness", some, CONTEXT))[0][2:] == ["3", "40.00", "14.14", "20.00", "50.00", "1", "1"]


def test_a_position_without_its_rows_leaves_no_number(rows: pd.DataFrame) -> None:
    one = (rows["method"] == "ours, cell 1") & (rows["instance_id"] == "A1")
    built = build_table("robustness", rows[~one], CONTEXT)
    assert texts(built)[0][2:] == ["3", "–", "–", "–", "–", "0", "–"]
    assert "1 of 2 instances have no row; a mean over the others is not shown." in built.footnotes


def test_other_words_are_no_other_place(rows: pd.DataFrame) -> None:
    rows["text_rule"] = rows["method"].map(lambda name: "none" if name == "ours, cell 2" else "class_name")
    built = build_table("robustness", rows, CONTEXT)
    assert [line[1:4] for line in texts(built)] == [
        ["ours (class_name)", "2", "60.00"],
        ["ours (none)", "1", "15.00"],
        ["plain", "1", "60.00"],
    ]
    assert "toy, ours (class_name), by position: cell 0 70.00, cell 1 50.00." in built.notes


def test_a_method_without_any_row_has_a_line_of_dashes(rows: pd.DataFrame) -> None:
    rows["text_rule"] = "class_name"
    built = build_table("robustness", rows[rows["method"] != "plain"], CONTEXT)
    assert [line[1:4] for line in texts(built)] == [["ours", "3", "45.00"], ["plain", "1", "–"]]


def test_no_rows() -> None:
    assert build_table("robustness", pd.DataFrame(), Context("demo")).notes == ("No rows.",)


@pytest.mark.usefixtures("two_images_do")
@pytest.mark.slow
def test_every_mean_says_its_interval_where_asked(rows: pd.DataFrame) -> None:
    built = build_table("robustness", rows, replace(CONTEXT, intervals=True))
    assert texts(built) == texts(build_table("robustness", rows, CONTEXT))
    first = built.body[0].cells[3:7]
    stats = {
        "A1": (0.5, np.std([0.9, 0.5, 0.1]), 0.1, 0.9),
        "B1": (0.4, np.std([0.5, 0.5, 0.2]), 0.2, 0.5),
    }
    plain = rows[rows["method"] == "plain"]
    for at, cell in enumerate(first):
        ious = plain["instance_id"].map({name: values[at] for name, values in stats.items()})
        (line,) = summarise(plain.assign(iou=ious), intervals=True).itertuples()
        assert (cell.value, cell.low, cell.high, cell.n) == pytest.approx((line.mean, line.mean_low, line.mean_high, 2))
    gone = build_table("robustness", rows.iloc[1:], replace(CONTEXT, intervals=True))
    assert {cell.whole for cell in gone.body[0].cells[3:7]} == {"–"}
