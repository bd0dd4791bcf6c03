"""What a word is worth: seconds, mean IoU, and the clicks that one click with text saves."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.config.run_config import RunConfig
from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table

CONTEXT = Context("demo", labels={"ours": MethodFacts(True), "clicks": MethodFacts()}, click_s=2, word_s=0.5)
IOUS = {"clicks": {"A": (0.2, 0.6, 0.9), "B": (0.4, 0.4, 0.4)}, "ours": {"A": (0.6,), "B": (0.5,)}}
KINDS: dict[str, dict[str, Any]] = {
    "A": {"text": "the red car", "category": "car", "gt_area_px": 100},
    "B": {"text": "tree", "category": "tree", "gt_area_px": 1024},
}


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    click = {"x": 1, "y": 1, "positive": True}
    made = [
        make_row(method, name, iou, click_index=count, clicks=[click] * count, **KINDS[name])
        for method, instances in IOUS.items()
        for name, ious in instances.items()
        for count, iou in enumerate(ious, start=1)
    ]
    return pd.DataFrame(made)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells[1:]] for row in table.body]


def test_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("effort", rows, CONTEXT)
    assert texts(built) == [
        # words: (3 + 1) / 2; seconds: 2 + 2 * 0.5; 55 is more than 50 after two clicks, less than 65 after three
        ["ours", "all", "2.0", "1", "3.0", "55.00", "2", "3"],
        # each part by its own prompts: "the red car" has 3 words, "tree" 1
        ["ours", "small", "3.0", "1", "3.5", "60.00", "1", "2"],
        ["ours", "medium", "1.0", "1", "2.5", "50.00", "1", "> 3"],
        ["ours", "car", "3.0", "1", "3.5", "60.00", "1", "2"],
        ["ours", "tree", "1.0", "1", "2.5", "50.00", "1", "> 3"],
        ["clicks", "all", "0.0", "1", "2.0", "30.00", "2", ""],
        ["clicks", "all", "0.0", "2", "4.0", "50.00", "2", ""],
        ["clicks", "all", "0.0", "3", "6.0", "65.00", "2", ""],
    ]
    assert "A click costs 2 s and a word 0.5 s" in built.notes[0]


def test_only_instances_of_both_are_compared(rows: pd.DataFrame) -> None:
    lost = (rows["method"] == "clicks") & (rows["instance_id"] == "B")
    rows.loc[lost, ["status", "iou"]] = ["failed", None]
    (line, *_) = texts(build_table("effort", rows, CONTEXT))
    assert line[-1] == "2"  # of A alone: 0.6


def test_a_prompt_without_words_costs_none(rows: pd.DataFrame) -> None:
    rows.loc[rows["instance_id"] == "B", ["text", "category"]] = [None, ""]  # a picture's object without class or words
    (line, *others) = texts(build_table("effort", rows, CONTEXT))
    assert line == ["ours", "all", "1.5", "1", "2.8", "55.00", "2", "3"]  # (3 + 0) / 2 words; 2 + 1.5 * 0.5 seconds
    assert [line[1] for line in others] == ["small", "medium", "car", "all", "all", "all"], "no class is no part"


def test_clicks_are_saved_against_those_of_the_same_data_set(rows: pd.DataFrame) -> None:
    easy = rows.assign(dataset="zoo", iou=rows["iou"].where(rows["method"] == "ours", 0.95))
    built = build_table("effort", pd.concat([rows, easy], ignore_index=True), CONTEXT)
    assert [line[-1] for line in texts(built) if line[0] == "ours"] == ["3", "2", "> 3", "2", "> 3", *"11111"]
    assert [number for number, row in enumerate(built.body) if row.starts_section] == [0, 8]


def test_by_text_alone_costs_its_words(rows: pd.DataFrame) -> None:
    alone = rows[rows["method"] == "ours"].assign(click_index=0)
    alone["clicks"] = [[]] * len(alone)
    assert texts(build_table("effort", alone, CONTEXT)) == [["ours", "all", "2.0", "0", "1.0", "55.00", "2"]]


def test_a_texts_concept_is_held_against_the_tracker_by_clicks_beside_it(rows: pd.DataFrame) -> None:
    concept = rows[rows["method"] == "ours"].assign(ranking="concept")
    tracked = concept.assign(ranking="confidence", iou=0.4)
    built = build_table("effort", pd.concat([concept, tracked]), CONTEXT)
    assert [line for line in texts(built) if line[1] == "all"] == [
        ["ours (concept)", "all", "2.0", "1", "3.0", "55.00", "2", "> 1"],
        ["ours (confidence)", "all", "0.0", "1", "2.0", "40.00", "2", ""],
    ]


def test_a_mean_says_its_interval_where_asked_and_nothing_is_made_of_nothing(rows: pd.DataFrame) -> None:
    built = build_table("effort", rows, replace(CONTEXT, intervals=True))
    assert all(row.cells[6].n in (1, 2) for row in built.body)
    assert build_table("effort", pd.DataFrame(), CONTEXT).notes == ("No rows.",)


def test_the_config_says_the_costs() -> None:
    plain = {"run": "a", "datasets": [{"name": "scenes"}], "methods": [{"name": "ritm"}]}
    assert RunConfig.model_validate(plain).effort.click_s == 2
    assert RunConfig.model_validate(plain | {"effort": {"word_s": 0.4}}).effort.word_s == 0.4


def test_a_method_without_all_its_rows_has_no_words_and_no_column_of_clicks(rows: pd.DataFrame) -> None:
    built = build_table("effort", rows[rows["method"].ne("ours") | rows["instance_id"].ne("A")], CONTEXT)
    assert built.headings[-1] == "Clicks of clicks" and not any("ours" in heading for heading in built.headings)
    assert texts(built)[0] == ["ours", "all", "–", "1", "–", "–", "0", ""]
