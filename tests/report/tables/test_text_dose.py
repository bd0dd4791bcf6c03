"""The same clicks with other words, by hand."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.statistics.means import summarise

DOSES = {
    "none": {"A1": 0.5, "A2": 0.3, "B1": 0.4},
    "class_name": {"A1": 0.9, "A2": 0.7, "B1": 0.8},
    "synonym": {"A1": 0.8, "A2": 0.6, "B1": 0.7},
    "wrong_present": {"A1": 0.1, "A2": 0.1, "B1": 0.1},
}


def variant(method: str, rule: str) -> str:
    return f"{method}, {rule}"


LABELS = {variant("ours", rule): MethodFacts(True, variant_of="ours") for rule in DOSES}
LABELS |= {"click": MethodFacts(plugin="click_only")}
CONTEXT = Context("demo", labels=LABELS)


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    """Ours by four rules; click alone 20 % everywhere."""
    ours = [
        make_row(variant("ours", rule), name, iou, text_rule=rule, method_plugin="text_click")
        for rule, ious in DOSES.items()
        for name, iou in ious.items()
    ]
    click = [make_row("click", name, 0.2, text_rule="given", method_plugin="click_only") for name in DOSES["none"]]
    return pd.DataFrame([*ours, *click])


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


@pytest.mark.usefixtures("two_images_do")
def test_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("text_dose", rows, CONTEXT)
    assert texts(built) == [
        ["toy", "ours", "none", "40.00", "", "", "3", "0"],
        ["toy", "ours", "class name", "80.00", "+40.00", "", "3", "0"],
        ["toy", "ours", "synonym", "70.00", "+30.00", "", "3", "0"],
        ["toy", "ours", "wrong, present", "10.00", "-30.00", "+70.00", "3", "0"],
    ]
    assert (
        "toy, ours, wrong_present: over none -30.00 [-30.00, -30.00], gullibility +70.00 [+70.00, +70.00] (n = 3)."
    ) in built.notes


def fails(rows: pd.DataFrame, make_row: Any, method: str, names: tuple[str, ...], **given: Any) -> pd.DataFrame:
    gone = (rows["method"] == method) & rows["instance_id"].isin(names)
    return pd.concat([rows[~gone], pd.DataFrame([make_row(method, name, None, **given) for name in names])])


@pytest.mark.slow
def test_means_are_over_the_instances_that_every_dose_has(rows: pd.DataFrame, make_row: Any) -> None:
    given = {"text_rule": "wrong_present", "method_plugin": "text_click"}
    some = fails(rows, make_row, variant("ours", "wrong_present"), ("A1",), **given)
    assert [line[3:] for line in texts(build_table("text_dose", some, CONTEXT))] == [
        ["35.00", "", "", "2", "0"],
        ["75.00", "+40.00", "", "2", "0"],
        ["65.00", "+30.00", "", "2", "0"],
        ["10.00", "-25.00", "+65.00", "2", "1"],
    ]


@pytest.mark.slow
def test_click_only_stands_in_where_none_is_refused(rows: pd.DataFrame, make_row: Any) -> None:
    given = {"text_rule": "none", "method_plugin": "text_click"}
    some = fails(rows, make_row, variant("ours", "none"), ("A1", "A2", "B1"), **given)
    built = build_table("text_dose", some, CONTEXT)
    assert [line[1:5] for line in texts(built)][:3] == [
        ["click", "none", "20.00", ""],
        ["ours", "none", "–", ""],
        ["ours", "class name", "80.00", "+60.00"],
    ]
    assert "All 3 failed, most often: out of memory" in built.footnotes
    absent = build_table(
        "text_dose",
        rows[rows["method"] != variant("ours", "none")],
        Context("demo", labels={name: facts for name, facts in LABELS.items() if name != variant("ours", "none")}),
    )
    assert [line[1] for line in texts(absent)] == ["click", "ours", "ours", "ours"]


def test_a_dose_with_missing_rows_is_blank_and_leaves_the_others(rows: pd.DataFrame) -> None:
    gone = (rows["method"] == variant("ours", "synonym")) & (rows["instance_id"] == "A1")
    built = build_table("text_dose", rows[~gone], CONTEXT)
    assert [line[3:7] for line in texts(built)][1:3] == [["80.00", "+40.00", "", "3"], ["–", "", "", "0"]]
    assert "1 of 3 instances have no row; a mean over the others is not shown." in built.footnotes


def test_other_clicks_leave_no_gain(rows: pd.DataFrame) -> None:
    rows["clicks"] = [[{"x": len(method), "y": 5, "positive": True}] for method in rows["method"]]
    built = build_table("text_dose", rows, CONTEXT)
    assert {line[4] for line in texts(built)} == {""}
    assert any("no gains" in note and "different clicks" in note for note in built.notes)


@pytest.mark.parametrize("rows_of", ["nobody", "click"])
def test_without_text_there_is_nothing_to_show(rows: pd.DataFrame, rows_of: str) -> None:
    built = build_table("text_dose", rows[rows["method"] == rows_of], Context("demo", labels={"click": MethodFacts()}))
    assert built.body == () and built.notes == ("No method of this run was given text.",)


@pytest.mark.usefixtures("two_images_do")
@pytest.mark.slow
def test_every_number_says_its_interval_where_asked(rows: pd.DataFrame) -> None:
    built = build_table("text_dose", rows, replace(CONTEXT, intervals=True))
    assert texts(built) == texts(build_table("text_dose", rows, CONTEXT))
    own = rows[rows["method"] == variant("ours", "synonym")]
    (line,) = summarise(own, intervals=True).itertuples()
    mean, gain, gullibility = built.body[2].cells[3:6]
    assert (mean.low, mean.high, mean.n) == pytest.approx((line.mean_low, line.mean_high, 3))
    assert gain.whole == "+30.00 [+30.00, +30.00], n = 3" and gullibility.whole == ""
    assert built.body[3].cells[5].whole == "+70.00 [+70.00, +70.00], n = 3"
