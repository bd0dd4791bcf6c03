"""Slices by hand."""

from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context
from harness.report.layout import Table
from harness.statistics.means import summarise


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    """Instance -> IoU, objects of the class, area, depth; those that end in 2 are unseen."""
    known = {"A1": (0.9, 1, 1023, 4.9), "A2": (0.5, 1, 1024, 5), "B1": (0.3, 2, 9215, 10), "B2": (0.1, 7, 9216, 40)}
    return pd.DataFrame(
        [
            make_row("ours", name, iou, same_class_count=count, gt_area_px=area, click_depth_px=depth)
            for name, (iou, count, area, depth) in known.items()
        ]
    )


@pytest.mark.parametrize(
    ("name", "every", "unseen"),
    [
        (
            "distractors",
            ["70.00 (2)", "30.00 (1)", "– (0)", "– (0)", "10.00 (1)"],
            ["50.00 (1)", "– (0)", "– (0)", "– (0)", "10.00 (1)"],
        ),
        ("object_size", ["90.00 (1)", "40.00 (2)", "10.00 (1)"], ["– (0)", "50.00 (1)", "10.00 (1)"]),
        (
            "click_depth",
            ["90.00 (1)", "50.00 (1)", "30.00 (1)", "– (0)", "10.00 (1)"],
            ["– (0)", "50.00 (1)", "– (0)", "– (0)", "10.00 (1)"],
        ),
    ],
)
def test_by_hand(rows: pd.DataFrame, name: str, every: list[str], unseen: list[str]) -> None:
    built = build_table(name, rows, Context("demo"))
    assert texts(built) == [["toy", "ours", "single", "all", *every], ["toy", "ours", "single", "unseen", *unseen]]


def test_missing_rows_leave_no_mean(rows: pd.DataFrame) -> None:
    built = build_table("object_size", rows, Context("demo", expected_instances={("ours", "toy"): 5}))
    assert texts(built)[0][4:] == ["– (1)", "– (2)", "– (1)"]
    assert "1 of 5 instances have no row; a mean over the others is not shown." in built.footnotes


def test_rows_without_the_column_show_dashes(rows: pd.DataFrame) -> None:
    built = build_table("click_depth", rows.drop(columns="click_depth_px"), Context("demo"))
    assert texts(built)[0][4:] == ["– (0)"] * 5
    assert "4 of 4 rows have no click_depth_px." in built.footnotes


@pytest.mark.parametrize("name", ["distractors", "object_size", "click_depth"])
def test_no_rows(name: str) -> None:
    assert build_table(name, pd.DataFrame(), Context("demo")).notes == ("No rows.",)


@pytest.mark.usefixtures("two_images_do")
@pytest.mark.slow
def test_every_mean_says_its_interval_where_asked(rows: pd.DataFrame) -> None:
    built = build_table("object_size", rows, Context("demo", intervals=True))
    assert texts(built) == texts(build_table("object_size", rows, Context("demo")))
    medium = built.body[0].cells[5]
    (line,) = summarise(rows[rows["instance_id"].isin(["A2", "B1"])], intervals=True).itertuples()
    assert (medium.low, medium.high, medium.n) == (line.mean_low, line.mean_high, 2)
    assert built.body[0].cells[4].spread == " [–, –], n = 1", "one image does not tell"
    assert built.body[1].cells[4].whole == "– (0)"
