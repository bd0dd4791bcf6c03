"""The words given, guessed, or none, by hand."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table

GIVEN, GUESSED, NONE = (
    {"A1": 0.9, "A2": 0.7, "B1": 0.8, "C1": 0.8},
    {"A1": 0.9, "A2": 0.1, "B1": 0.7, "C1": 0.8},
    {"A1": 0.3, "A2": 0.3, "B1": 0.5, "C1": 0.5},
)
CONTEXT = Context(
    "demo",
    labels={
        "ours, given": MethodFacts(True, variant_of="ours"),
        "ours, guessed": MethodFacts(True, variant_of="ours"),
        "click": MethodFacts(plugin="click_only"),
    },
)


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    """The guess is wrong on A2 alone; odd instances are seen."""
    common = {"category": "cup", "method_plugin": "text_click"}
    given = [make_row("ours, given", name, iou, text_rule="class_name", **common) for name, iou in GIVEN.items()]
    guessed = [
        make_row("ours, guessed", name, iou, text_rule="auto/v1", guess="lamp" if name == "A2" else "cup", **common)
        for name, iou in GUESSED.items()
    ]
    none = [
        make_row("click", name, iou, text_rule="none", **common | {"method_plugin": "click_only"})
        for name, iou in NONE.items()
    ]
    return pd.DataFrame([*given, *guessed, *none])


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


@pytest.mark.usefixtures("two_images_do")
def test_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("auto_text", rows, CONTEXT)
    assert texts(built) == [
        ["toy", "click", "none", "40.00", "43.33", "30.00", "", "", "", "", "", "4", "0"],
        ["toy", "ours", "given", "80.00", "83.33", "70.00", "", "", "", "+40.00", "", "4", "0"],
        ["toy", "ours", "guessed", "62.50", "80.00", "10.00", "75.00", "100.00", "0.00", "+22.50", "-17.50", "4", "0"],
    ]
    notes = "\n".join(built.notes)
    assert "toy, ours, guessed: the guess is right on overall 75.00 [" in notes
    assert "unseen 0.00 from fewer than 5 images (n = 1)." in notes
    assert (
        "over none, where the guess is right +36.67 [" in notes
        and "wrong -20.00 from fewer than 5 images (n = 1)" in notes
    )
    # 0.6 - 0.2 + 0.2 + 0.3 of 0.6 + 0.4 + 0.3 + 0.3
    assert "recovered of what the given words gain: overall 0.56 [" in notes and "seen 0.92 [" in notes
    assert "unseen -0.50 from fewer than 5 images." in notes


@pytest.mark.usefixtures("two_images_do")
def test_intervals_stand_behind_the_numbers_where_asked(rows: pd.DataFrame) -> None:
    line = build_table("auto_text", rows, replace(CONTEXT, intervals=True)).body[2].cells
    assert line[6].low is not None and line[6].low <= 0.75 <= line[6].high
    assert line[9].whole.startswith("+22.50 [") and line[9].whole.endswith("n = 4")


def test_without_given_words_or_a_baseline_the_guess_stands_alone(rows: pd.DataFrame) -> None:
    alone = rows[rows["method"] == "ours, guessed"]
    labels = {"ours, guessed": CONTEXT.labels["ours, guessed"]}
    built = build_table("auto_text", alone, Context("demo", labels=labels))
    assert texts(built) == [
        ["toy", "ours", "guessed", "62.50", "80.00", "10.00", "75.00", "100.00", "0.00", "", "", "4", "0"]
    ]


def test_a_guess_with_missing_rows_has_no_differences(rows: pd.DataFrame) -> None:
    built = build_table("auto_text", rows[(rows["method"] != "ours, guessed") | (rows["instance_id"] != "A1")], CONTEXT)
    assert texts(built)[2][3] == "–" and texts(built)[2][9:11] == ["", ""]
    assert not any("recovered" in note for note in built.notes[:-1])


def test_a_run_that_guesses_nothing_says_so(rows: pd.DataFrame) -> None:
    built = build_table("auto_text", rows[rows["method"] == "click"].drop(columns="guess"), Context("demo"))
    assert built.body == () and built.notes == ("No method of this run guessed its words (auto/v1).",)


def test_missing_rows_leave_no_share_of_right_guesses(rows: pd.DataFrame) -> None:
    built = build_table("auto_text", rows[rows["method"].ne("ours, guessed") | rows["instance_id"].ne("A2")], CONTEXT)
    guessed = built.body[-1].cells
    assert [cell.text for cell in guessed[2:11]] == ["guessed", *["–"] * 6, "", ""]
    assert all(cell.value is None and "1 of 4 instances have no row" in cell.notes[0] for cell in guessed[6:9])
    assert not any("the guess is right on" in note for note in built.notes), "by the others it would be 100"
