"""What authors print for their weights, beside ours."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts

LADDERS = {"A1": (0.5, 0.8, 0.9), "A2": (0.96, 0.1, 0.1), "B1": (0.2, 0.3, 0.4)}
CONTEXT = Context(
    "demo",
    labels={"RITM": MethodFacts(published_in="Their paper, Table 3."), "other": MethodFacts()},
    published={("RITM", "toy"): {"NoC@85": 1.5, "NoC@90": 2.5}},
)


@pytest.fixture
def three_clicks(make_row: Any) -> pd.DataFrame:
    return pd.DataFrame(
        [
            make_row(
                method,
                name,
                iou if method == "RITM" else iou / 2,
                click_index=k,
                clicks=[{"x": 1, "y": 1, "positive": True}] * k,
                click_strategy="ritm/v1",
            )
            for method in ("RITM", "other")
            for name, ladder in LADDERS.items()
            for k, iou in enumerate(ladder, 1)
        ]
    )


def test_published_beside_ours_with_the_difference(three_clicks: pd.DataFrame) -> None:
    built = build_table("reproduction", three_clicks, CONTEXT)
    # A1 needs 3 clicks for 85 and for 90 %, A2 one, B1 fails and counts 3.
    assert [[cell.text for cell in row.cells] for row in built.body] == [
        ["toy", "RITM", "NoC@85", "1.50", "2.33", "+0.83", "3", "0"],
        ["toy", "RITM", "NoC@90", "2.50", "2.33", "-0.17", "3", "0"],
    ]
    assert built.footnotes == ("Published: Their paper, Table 3.", "Our clicks: ritm/v1, at most 3.")
    assert "not measured here" in built.notes[-1]


def test_a_difference_that_rounds_to_nothing_has_no_minus(three_clicks: pd.DataFrame) -> None:
    near = replace(CONTEXT, published={("RITM", "toy"): {"NoC@90": 7 / 3 + 0.001, "mIoU@1": 100 * 1.66 / 3 + 0.001}})
    assert [row.cells[5].text for row in build_table("reproduction", three_clicks, near).body] == ["+0.00", "+0.00"]


def test_published_mean_iou_beside_ours(three_clicks: pd.DataFrame) -> None:
    context = replace(CONTEXT, published={("RITM", "toy"): {"NoC@90": 2.5, "mIoU@1": 50.0, "mIoU@3": 50.5}})
    built = build_table("reproduction", three_clicks, context)
    # After one click 0.5, 0.96, 0.2; after three 0.9, 0.1, 0.4.
    assert [[cell.text for cell in row.cells[2:6]] for row in built.body] == [
        ["NoC@90", "2.50", "2.33", "-0.17"],
        ["mIoU@1", "50.00", "55.33", "+5.33"],
        ["mIoU@3", "50.50", "46.67", "-3.83"],
    ]
    missing = replace(context, expected_instances={("RITM", "toy"): 4})
    assert [row.cells[5].text for row in build_table("reproduction", three_clicks, missing).body] == ["–"] * 3


def test_missing_rows_leave_ours_blank(three_clicks: pd.DataFrame) -> None:
    context = replace(CONTEXT, expected_instances={("RITM", "toy"): 4})
    (first, _) = build_table("reproduction", three_clicks, context).body
    assert [cell.text for cell in first.cells[3:6]] == ["1.50", "–", "–"]
    assert "1 of 4 instances have no row" in first.cells[4].notes[0]


def test_intervals_where_asked_for(three_clicks: pd.DataFrame) -> None:
    (first, _) = build_table("reproduction", three_clicks, replace(CONTEXT, intervals=True)).body
    assert first.cells[4].spread.endswith("n = 3")


def test_nothing_published_is_a_note(three_clicks: pd.DataFrame) -> None:
    built = build_table("reproduction", three_clicks, Context("demo"))
    assert not built.body and "print no number" in built.notes[0]
