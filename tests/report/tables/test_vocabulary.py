"""The same prompt, contrasted with other names, by hand."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.report.rendering.parquet import to_arrow

CHOICES = {"ours": "dataset", "bare": "none", "few": "configs/few.txt", "click": ""}
CONTEXT = Context("demo", labels={name: MethodFacts(vocabulary=choice) for name, choice in CHOICES.items()})


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    ious = {"ours": (0.8, 0.6), "bare": (0.5, 0.5), "few": (0.9, 0.7), "click": (0.1, 0.1)}
    return pd.DataFrame(
        [
            make_row(method, name, iou)
            for method, own in ious.items()
            for name, iou in zip(("A1", "B1"), own, strict=True)
        ]
    )


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


@pytest.mark.usefixtures("two_images_do")
def test_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("vocabulary", rows, CONTEXT)
    shown = [[line[1], line[2], line[3], line[6], line[7]] for line in texts(built)]
    assert shown == [
        ["ours", "the data set's names", "70.00", "", "2"],
        ["bare", "nothing", "50.00", "-20.00", "2"],
        ["few", "few.txt", "80.00", "+10.00", "2"],
    ]
    assert any(note.startswith("toy, bare against ours: overall -20.00 [") for note in built.notes)


@pytest.mark.usefixtures("two_images_do")
def test_intervals_stand_behind_the_differences(rows: pd.DataFrame) -> None:
    built = build_table("vocabulary", rows, replace(CONTEXT, intervals=True))
    assert built.body[1].cells[6].whole == "-20.00 [-30.00, -10.00], n = 2"
    against = [line for line in to_arrow([built]).to_pylist() if line["column"] == "Against"][1]
    numbers = [against[name] for name in ("value", "low", "high")]
    assert numbers == pytest.approx([-20, -30, -10]) and (against["unit"], against["n"]) == ("%", 2)


def test_without_the_data_sets_names_there_is_nothing_to_hold_against(rows: pd.DataFrame) -> None:
    built = build_table("vocabulary", rows[rows["method"].isin(["bare", "few"])], CONTEXT)
    assert {line[6] for line in texts(built)} == {""}


def test_a_mean_that_is_not_whole_has_no_difference(rows: pd.DataFrame) -> None:
    built = build_table("vocabulary", rows.iloc[:-3], CONTEXT)
    assert [(line[3], line[6]) for line in texts(built)] == [("70.00", ""), ("50.00", "-20.00"), ("–", "")]


def test_methods_without_a_choice_have_no_line(rows: pd.DataFrame) -> None:
    built = build_table("vocabulary", rows[rows["method"] == "click"], Context("demo"))
    assert not built.body and built.notes == ("No method of this run takes a `vocabulary`.",)
    assert build_table("vocabulary", rows.iloc[:0], CONTEXT).notes == built.notes
