"""The difference between people's clicks and simulated ones, by hand."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.statistics.means import summarise

WAYS = {
    "ours, people": ("recorded/v1", {"A1": 0.5, "A2": 0.7, "B1": 0.3, "B2": None}),
    "ours, deepest": ("center/v1", {"A1": 0.7, "A2": 0.8, "B1": 0.9, "B2": 0.1}),
    "ours, random": ("paper/v1", {"A1": 0.5, "A2": 0.6, "B1": 0.1, "B2": 0.9}),
    "other": ("center/v1", {"A1": 0.9, "A2": 0.9, "B1": 0.9, "B2": 0.9}),
}
LABELS = {name: MethodFacts(variant_of="ours" if "," in name else "") for name in WAYS}
CONTEXT = Context("demo", labels=LABELS)


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    listed = [
        make_row(way, name, iou, click_strategy=rule, text_rule="given")
        for way, (rule, ious) in WAYS.items()
        for name, iou in ious.items()
    ]
    return pd.DataFrame(listed)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


def test_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("people", rows, CONTEXT)
    assert texts(built) == [
        ["toy", "ours", "people", "deepest", "50.00", "80.00", "+30.00", "3", "1"],
        ["toy", "ours", "people", "random", "50.00", "40.00", "-10.00", "3", "1"],
    ]
    said = "\n".join(built.notes)
    assert "toy, ours, people and ours, deepest: simulated less people's +30.00" in said and "(n = 3)" in said


@pytest.mark.slow
@pytest.mark.usefixtures("two_images_do")
def test_the_interval_is_that_of_the_paired_means(rows: pd.DataFrame) -> None:
    first = build_table("people", rows, replace(CONTEXT, intervals=True)).body[0].cells
    ours = rows[rows["method"].eq("ours, people") & rows["status"].eq("ok")]
    (line,) = summarise(ours, intervals=True).itertuples()
    assert (first[4].value, first[4].low, first[4].high) == pytest.approx((line.mean, line.mean_low, line.mean_high))
    gain = ours["instance_id"].map({"A1": 0.2, "A2": 0.1, "B1": 0.6})
    (mean,) = summarise(ours.assign(iou=gain), intervals=True).itertuples()
    assert (first[6].value, first[6].low, first[6].high) == pytest.approx((mean.mean, mean.mean_low, mean.mean_high))
    assert f"{100 * mean.mean_low:+.2f}" in first[6].spread and f"{100 * mean.mean_high:+.2f}" in first[6].spread


def test_other_words_are_another_question(rows: pd.DataFrame) -> None:
    rows["text_rule"] = rows["method"].map(lambda name: "none" if name == "ours, random" else "given")
    assert [line[3] for line in texts(build_table("people", rows, CONTEXT))] == ["deepest"]


def test_rows_that_are_missing_leave_no_number(rows: pd.DataFrame) -> None:
    gone = rows[rows["method"].ne("ours, deepest") | rows["instance_id"].ne("A1")]
    built = build_table("people", gone, CONTEXT)
    assert texts(built)[0][4:8] == ["–", "–", "–", "0"]
    assert not any("people and ours, deepest" in note for note in built.notes)


def test_a_run_without_people_says_so(rows: pd.DataFrame) -> None:
    alone = rows[rows["method"] != "ours, people"]
    assert build_table("people", alone, CONTEXT).notes[0].startswith("No method of this run has a variant by people's")
    assert build_table("people", pd.DataFrame(), Context("demo")).notes == ("No rows.",)
