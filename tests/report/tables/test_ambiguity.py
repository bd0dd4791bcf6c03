"""Ambiguous clicks and destinations, by hand."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.statistics.means import summarise

CONTEXT = Context("demo", labels={"ours": MethodFacts(True, plugin="text_click"), "click": MethodFacts()})
UNDER = {"A1": 2, "A2": 1, "B1": 3, "B2": 1, "C1": 2, "C2": 1}
OURS = {"A1": 0.9, "A2": 0.7, "B1": 0.7, "B2": 0.9, "C1": 0.8, "C2": 0.8}
CLICK = {"A1": 0.3, "A2": 0.6, "B1": 0.1, "B2": 0.8, "C1": 0.2, "C2": 0.7}
HITS = {"A1": "whole", "A2": "right", "B1": "part", "B2": "right", "C1": "whole", "C2": "background"}


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    """The text gains 60 points on each ambiguous click, 10 on each other."""
    plugins = {"ours": "text_click", "click": "click_only"}
    return pd.DataFrame(
        [
            make_row(method, name, iou, method_plugin=plugins[method], under_click=UNDER[name], hit=hit)
            for method, ious, hits in (("ours", OURS, dict.fromkeys(HITS, "right")), ("click", CLICK, HITS))
            for name, iou in ious.items()
            for hit in [hits[name]]
        ]
    )


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


@pytest.mark.usefixtures("two_images_do")
def test_ambiguity_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("ambiguity", rows, CONTEXT)
    assert texts(built) == [
        ["toy", "ours", "single", "✓", "80.00 (+60.00)", "80.00 (+10.00)", "3", "3", "0"],
        ["toy", "click", "single", "", "20.00", "70.00", "3", "3", "0"],
    ]
    assert built.notes[0] == (
        "toy, ours against click: ambiguous +60.00 [+60.00, +60.00] (n = 3), unambiguous +10.00 [+10.00, +10.00] "
        "(n = 3); +50.00 [+50.00, +50.00] more on ambiguous clicks."
    )


@pytest.mark.usefixtures("two_images_do")
def test_the_difference_of_gains_has_an_interval_of_its_own(rows: pd.DataFrame) -> None:
    rows.loc[(rows["method"] == "ours") & (rows["instance_id"] == "A1"), "iou"] = 0.6
    rows.loc[(rows["method"] == "ours") & (rows["instance_id"] == "B1"), "iou"] = 1.0
    (note, *_) = build_table("ambiguity", rows, CONTEXT).notes
    low, high = (float(bound) for bound in note.split("; +50.00 [")[1].split("]")[0].split(", "))
    assert -50 < low < 50 < high < 150


@pytest.mark.usefixtures("two_images_do")
def test_gains_that_go_together_leave_no_doubt_about_their_difference(rows: pd.DataFrame) -> None:
    more = {"A": 0.5, "B": 0.2, "C": 0.1}
    click = rows[rows["method"] == "click"]
    ours = click.assign(
        method="ours", method_plugin="text_click", iou=[0.3 + more[name[0]] for name in click["instance_id"]]
    )
    (note, *_) = build_table("ambiguity", pd.concat([click.assign(iou=0.3), ours]), CONTEXT).notes
    assert "ambiguous +26.67 [" in note
    assert "; +0.00 [+0.00, +0.00] more on ambiguous clicks" in note


def test_destinations_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("destinations", rows, CONTEXT)
    assert [column.heading for column in built.columns][4:] == [
        *("right", "part", "whole", "same class", "other class", "background", "nothing", "n")
    ]
    zero = "0.00"
    assert texts(built) == [
        ["toy", "ours", "single", "ambiguous", "100.00", *[zero] * 6, "3"],
        ["toy", "ours", "", "unambiguous", "100.00", *[zero] * 6, "3"],
        ["toy", "click", "single", "ambiguous", zero, "33.33", "66.67", *[zero] * 4, "3"],
        ["toy", "click", "", "unambiguous", "66.67", *[zero] * 4, "33.33", zero, "3"],
    ]


def test_missing_rows_leave_no_mean_and_no_gain(rows: pd.DataFrame) -> None:
    some = rows[~((rows["method"] == "click") & (rows["instance_id"] == "C2"))]
    built = build_table("ambiguity", some, CONTEXT)
    assert [line[4:6] for line in texts(built)] == [["80.00", "80.00"], ["–", "–"]]
    assert not any("against" in note for note in built.notes)
    assert texts(build_table("destinations", some, CONTEXT))[2][4:11] == ["–"] * 7


@pytest.mark.usefixtures("two_images_do")
def test_a_failure_is_counted_and_in_neither_mean(rows: pd.DataFrame, make_row: Any) -> None:
    gone = make_row("click", "A1", None, method_plugin="click_only", under_click=2)
    some = pd.concat([rows[~((rows["method"] == "click") & (rows["instance_id"] == "A1"))], pd.DataFrame([gone])])
    built = build_table("ambiguity", some, CONTEXT)
    assert texts(built)[1][4:] == ["15.00", "70.00", "2", "3", "1"]
    assert "ambiguous +60.00 [+60.00, +60.00] (n = 2)" in built.notes[0]


@pytest.mark.parametrize("name", ["ambiguity", "destinations"])
def test_rows_without_the_column_show_dashes(rows: pd.DataFrame, name: str) -> None:
    built = build_table(name, rows.drop(columns=["under_click", "hit"]), CONTEXT)
    assert all("–" in line for line in texts(built))


@pytest.mark.parametrize("name", ["ambiguity", "destinations"])
def test_no_rows(name: str) -> None:
    assert build_table(name, pd.DataFrame(), Context("demo")).notes == ("No rows.",)


@pytest.mark.slow
def test_a_ranking_by_clip_is_held_against_the_same_method_s_confidence(rows: pd.DataFrame) -> None:
    clip = rows[rows["method"] == "ours"].assign(method="SAM", method_plugin="sam", ranking="clip")
    confidence = clip.assign(ranking="confidence", iou=clip["iou"] - 0.05)
    every = pd.concat([rows, clip, confidence, clip.assign(ranking="oracle")])
    built = build_table("ambiguity", every, CONTEXT)
    assert [(line[2], line[3], line[4]) for line in texts(built)[2:]] == [
        ("clip", "✓", "80.00 (+5.00)"),
        ("confidence", "", "75.00"),
        ("oracle", "", "80.00"),
    ]
    assert any(note.startswith("toy, SAM (clip) against SAM (confidence): ambiguous +5.00") for note in built.notes)
    alone = build_table("ambiguity", pd.concat([rows, clip]), CONTEXT)
    assert texts(alone)[2][4] == "80.00 (+60.00)"


@pytest.mark.usefixtures("two_images_do")
@pytest.mark.slow
def test_every_mean_says_its_interval_where_asked(rows: pd.DataFrame) -> None:
    context = replace(CONTEXT, intervals=True)
    built = build_table("ambiguity", rows, context)
    assert texts(built) == texts(build_table("ambiguity", rows, CONTEXT))
    click = rows[rows["method"] == "click"]
    for at, names in ((4, ["A1", "B1", "C1"]), (5, ["A2", "B2", "C2"])):
        (line,) = summarise(click[click["instance_id"].isin(names)], intervals=True).itertuples()
        cell = built.body[1].cells[at]
        assert (cell.low, cell.high, cell.n) == pytest.approx((line.mean_low, line.mean_high, 3))
    right = click[click["under_click"] == 1].assign(iou=[1.0, 1.0, 0.0])
    (line,) = summarise(right, intervals=True).itertuples()
    cell = build_table("destinations", rows, context).body[3].cells[4]
    assert (cell.low, cell.high, cell.n) == pytest.approx((line.mean_low, line.mean_high, 3))
    gone = build_table("ambiguity", rows[rows.index != rows.index[-1]], context)
    assert [cell.whole for cell in gone.body[1].cells[4:6]] == ["–", "–"]
