"""Table 8: ours beside referring segmentation, each by its own measures."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Asked, Context, MethodFacts
from harness.report.layout import Table
from harness.report.paper import lists

CONTEXT = Context(
    "demo", labels={"ours": MethodFacts(True, plugin="text_click"), "LAVT": MethodFacts(True, plugin="lavt")}
)
CLICK = {"x": 3, "y": 5, "positive": True}


@pytest.fixture
def sentences(make_row: Any) -> pd.DataFrame:
    """One object with two sentences and one with one; LAVT without a click."""
    answers = {"A1~0": (0.9, 90, 100), "A1~1": (0.5, 50, 100), "B1~0": (0.1, 100, 1000)}
    rows = []
    for name, (iou, intersection, union) in answers.items():
        pixels = {"intersection_px": intersection, "union_px": union, "category": "cat"}
        rows.append(make_row("ours", name, iou, method_plugin="text_click", text="cat", **pixels))
        said = {"text": "the left one", "clicks": [], "click_index": 1}
        rows.append(make_row("LAVT", name, iou, method_plugin="lavt", **said, **pixels))
    return pd.DataFrame(rows)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


def test_measures_by_hand(sentences: pd.DataFrame) -> None:
    lines = texts(build_table("table8", sentences, CONTEXT))
    numbers = ["40.00", "50.00", "20.00", "66.67", "33.33", "33.33"]
    assert lines == [
        ["toy", "LAVT", "Phrase", *numbers],
        ["toy", "ours", "Class name + 1 click", *numbers],
    ]


@pytest.mark.usefixtures("two_images_do")
def test_every_number_of_ours_says_its_interval_where_asked(sentences: pd.DataFrame) -> None:
    built = build_table("table8", sentences, replace(CONTEXT, intervals=True))
    assert all(cell.low is not None and cell.n in (2, 3) for row in built.body for cell in row.cells[3:])


@pytest.mark.slow
def test_the_first_click_has_a_line_of_its_own(sentences: pd.DataFrame) -> None:
    later = sentences[sentences["method"] == "ours"].assign(click_index=3, iou=0.95)
    later["clicks"] = [[CLICK] * 3] * len(later)
    lines = texts(build_table("table8", pd.concat([sentences, later]), CONTEXT))
    assert [line[2] for line in lines] == ["Phrase", "Class name + 3 clicks", "Class name + 1 click"]
    assert [line[3] for line in lines] == ["40.00", "95.00", "40.00"]


def test_the_papers_lines_stand_beneath(sentences: pd.DataFrame) -> None:
    built = build_table("table8", sentences.assign(dataset_plugin="refcoco"), CONTEXT)
    heads = ["by object", "by sentence", "overall IoU"]
    assert [column.heading for column in built.columns[3:6]] == heads
    assert [line[2:6] for line in texts(built)[2:]] == [
        ["Phrase", "–", "–", "72.73"],
        ["Phrase", "–", "65.65", "–"],
        ["Class name + 3 clicks", "72.89", "–", "–"],
        ["Class name + 1 click", "68.07", "–", "–"],
    ]
    assert not any("for one click" in note for note in built.notes)
    assert any("74.46" in note for note in built.footnotes)


@pytest.mark.slow
def test_anybody_has_a_line_for_each_of_its_answers(sentences: pd.DataFrame, make_row: Any) -> None:
    clicked = {"method_plugin": "other", "text": "the left one", "category": "cat", "click_index": 1}
    pixels = {"intersection_px": 50, "union_px": 100}
    names = ("A1~0", "A1~1", "B1~0")
    rankings = {"text": 0.2, "component": 0.6}
    more = [
        make_row("piece", name, iou, ranking=ranking, clicks=[CLICK], **clicked, **pixels)
        for name in names
        for ranking, iou in rankings.items()
    ]
    twice = {"category": "cat", "text": "cat", "clicks": [CLICK] * 2, "click_index": 2}
    more += [make_row("clicks", name, 0.4, method_plugin="ritm", **twice, **pixels) for name in names]
    facts = {**CONTEXT.labels, "piece": MethodFacts(True, plugin="other"), "clicks": MethodFacts(plugin="ritm")}
    built = build_table("table8", pd.concat([sentences, pd.DataFrame(more)]), replace(CONTEXT, labels=facts))
    assert [line[1:4] for line in texts(built)] == [
        ["LAVT", "Phrase", "40.00"],
        ["piece (component)", "Phrase + 1 click", "60.00"],
        ["piece (text)", "Phrase", "20.00"],
        ["clicks", "2 clicks", "40.00"],
        ["ours", "Class name + 1 click", "40.00"],
    ]


@pytest.mark.parametrize(
    ("rule", "text", "said"),
    [
        ("class_name", "a photo of a cat", "Class name"),
        ("given", "cat", "Class name"),
        ("given", "the left cat", "Phrase"),
        ("synonym", "kitty", "Synonym"),
        ("none", None, "1 click"),
    ],
)
def test_the_input_names_the_words(sentences: pd.DataFrame, rule: str, text: str | None, said: str) -> None:
    ours = sentences[sentences["method"] == "ours"].assign(text_rule=rule, text=text)
    (line, *_) = texts(build_table("table8", ours, CONTEXT))
    assert line[2].startswith(said)


@pytest.mark.slow
def test_sentences_of_the_papers_objects_are_its_list(sentences: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {("ours", "toy"): Asked("paper/v1", {}, 1, "class_name", "val")}
    context = replace(CONTEXT, asked=asked, other_lists={"toy": "published: val, 2 objects; here: val, 3"})
    rows = sentences.assign(dataset_plugin="refcoco")
    built = build_table("table8", rows, context)
    assert len(built.body) == 2
    assert any("published: val, 3811 objects; here: val, 2." in note for note in built.notes)  # of three sentences
    monkeypatch.setitem(lists.LISTS, "refcoco", lists.PaperList("val", 2))
    assert len(build_table("table8", rows, context).body) == 6
    assert len(build_table("table8", rows, replace(context, limits={"toy": 5})).body) == 2


def test_missing_sentences_leave_no_number(sentences: pd.DataFrame) -> None:
    context = Context("demo", labels=CONTEXT.labels, expected_instances={("ours", "toy"): 4, ("LAVT", "toy"): 3})
    lines = texts(build_table("table8", sentences, context))
    assert set(lines[1][3:]) == {"–"} and "–" not in lines[0]


def test_without_ours_or_rows(sentences: pd.DataFrame) -> None:
    without = build_table("table8", sentences[sentences["method"] == "LAVT"], Context("demo"))
    assert len(without.body) == 1 and any("text_click" in note for note in without.notes)
    assert build_table("table8", pd.DataFrame(), Context("demo")).notes == ("No rows.",)


def test_a_tracker_by_clicks_beside_a_texts_concept_was_given_no_words(sentences: pd.DataFrame) -> None:
    both = [sentences[sentences["method"] == "ours"].assign(ranking=name) for name in ("confidence", "concept")]
    lines = texts(build_table("table8", pd.concat(both), CONTEXT))
    assert [line[1:3] for line in lines[:2]] == [
        ["ours (concept)", "Class name + 1 click"],
        ["ours (confidence)", "1 click"],
    ]
