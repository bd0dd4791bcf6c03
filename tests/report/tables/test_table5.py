"""Table 5: one line a setting and method, by hand."""

from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table

SETTINGS = {"2+1": (2, 1), "1+0": (1, 0), "1+1": (1, 1)}
MEANS = {
    ("ours", "2+1"): 0.8,
    ("ours", "1+0"): 0.7,
    ("click", "2+1"): 0.75,
    ("click", "1+0"): 0.5,
    ("click", "1+1"): 0.6,
}
LABELS = {
    f"{method}, {setting}": MethodFacts(method == "ours", plugin="", variant_of=method) for method, setting in MEANS
}
CONTEXT = Context("demo", labels=LABELS)
PLUGINS = {"ours": "text_click", "click": "click_only"}


def clicked(setting: str) -> list[dict[str, Any]]:
    positive, negative = SETTINGS[setting]
    return [{"x": x, "y": 5, "positive": x < positive} for x in range(positive + negative)]


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    return pd.DataFrame(
        [
            make_row(
                f"{method}, {setting}",
                name,
                mean + step,
                method_plugin=PLUGINS[method],
                clicks=clicked(setting),
                click_index=sum(SETTINGS[setting]),
                click_strategy="paper/v2",
                text_rule="given",
            )
            for (method, setting), mean in MEANS.items()
            for name, step in (("A1", 0.1), ("B1", -0.1))
        ]
    )


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


@pytest.mark.slow
@pytest.mark.usefixtures("two_images_do")
def test_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("table5", rows, CONTEXT)
    assert [column.heading for column in built.columns] == ["Text", "Pclicks", "Nclicks", "Method", "toy"]
    assert texts(built) == [
        ["✓", "2", "1", "ours", "80.00"],
        ["", "2", "1", "click", "75.00"],
        ["✓", "1", "0", "ours", "70.00"],
        ["", "1", "0", "click", "50.00"],
        ["", "1", "1", "click", "60.00"],
    ]
    gains = [note for note in built.notes if "against" in note]
    assert [note.split(" [")[0] for note in gains] == [
        "toy, ours, 2+1 against click, 2+1: overall +5.00",
        "toy, ours, 1+0 against click, 1+0: overall +20.00",
    ]
    assert not any("No method of this run" in note for note in built.notes)


@pytest.mark.slow
def test_the_best_setting_of_a_data_set_is_strong(rows: pd.DataFrame) -> None:
    other = rows.assign(dataset="COCO", dataset_plugin="coco")
    other.loc[other["method"] == "click, 1+1", "iou"] = 0.95
    body = build_table("table5", pd.concat([rows, other]), CONTEXT).body
    best = [(row.cells[3].text, at) for row in body for at, cell in enumerate(row.cells) if cell.strong]
    place = [column.heading for column in build_table("table5", pd.concat([rows, other]), CONTEXT).columns]
    assert sorted((name, place[at]) for name, at in best) == [("click", "COCO"), ("ours", "toy")]
    assert not any(cell.strong for row in body if row.quoted for cell in row.cells)


@pytest.mark.slow
def test_ours_without_text_is_a_line_without_text_and_gains_nothing_by_it(rows: pd.DataFrame) -> None:
    rows.loc[rows["method"] == "ours, 2+1", "text_rule"] = "none"
    built = build_table("table5", rows, CONTEXT)
    assert texts(built)[:2] == [["", "2", "1", "ours", "80.00"], ["", "2", "1", "click", "75.00"]]
    assert sum("against" in note for note in built.notes) == 1


@pytest.mark.slow
def test_published_lines_stand_beneath_ours(rows: pd.DataFrame) -> None:
    both = pd.concat([rows.assign(dataset="COCO", dataset_plugin="coco"), rows])
    built = build_table("table5", both, CONTEXT)
    assert [row.quoted for row in built.body] == [False, True] * 5
    assert texts(built)[1] == ["✓", "2", "1", "published: text_click (maskclip)", "54.46", ""]
    assert texts(built)[9] == ["", "1", "1", "published: click_only", "47.13", ""]
    two = [both.assign(dataset="COCO", dataset_plugin="coco"), rows.assign(dataset="ref", dataset_plugin="refcoco")]
    lines = texts(build_table("table5", pd.concat([two[0][two[0]["dataset"] == "COCO"].iloc[:10], two[1]]), CONTEXT))
    assert lines[1][-2:] == ["54.46", "72.89"]


def test_a_setting_that_nobody_has_is_said(rows: pd.DataFrame) -> None:
    some = rows[rows["method"].isin(["ours, 1+0", "click, 1+0"])]
    labels = {name: LABELS[name] for name in ("ours, 1+0", "click, 1+0")}
    built = build_table("table5", some, Context("demo", labels=labels))
    assert [line[:4] for line in texts(built)] == [["✓", "1", "0", "ours"], ["", "1", "0", "click"]]
    assert "No method of this run was asked with: text, 2+1; no text, 2+1; no text, 1+1." in built.notes


@pytest.mark.slow
def test_a_network_that_refuses_the_clicks_says_so(rows: pd.DataFrame, make_row: Any) -> None:
    refused = [
        make_row("ours, 2+1", name, None, error="found 2 and 1", clicks=clicked("2+1"), click_index=3)
        for name in ("A1", "B1")
    ]
    built = build_table("table5", pd.concat([rows[rows["method"] != "ours, 2+1"], pd.DataFrame(refused)]), CONTEXT)
    assert texts(built)[0] == ["✓", "2", "1", "ours", "–"]
    assert "All 2 failed, most often: found 2 and 1" in built.footnotes
    assert sum("against" in note for note in built.notes) == 1


@pytest.mark.slow
def test_missing_rows_leave_no_mean(rows: pd.DataFrame) -> None:
    expected = {(name, "toy"): 3 if name == "ours, 1+0" else 2 for name in LABELS}
    built = build_table("table5", rows, Context("demo", labels=LABELS, expected_instances=expected))
    assert [line[-1] for line in texts(built)] == ["80.00", "75.00", "–", "50.00", "60.00"]
    assert "1 of 3 instances have no row; a mean over the others is not shown." in built.footnotes
    assert sum("against" in note for note in built.notes) == 1


@pytest.mark.slow
def test_another_setting_is_a_line_of_its_own(rows: pd.DataFrame) -> None:
    text = rows[rows["method"] == "click, 1+1"].assign(method="more", method_plugin="text_click")
    labels = LABELS | {"more": MethodFacts(True)}
    built = build_table("table5", pd.concat([rows, text]), Context("demo", labels=labels))
    assert texts(built)[-1] == ["✓", "1", "1", "more", "60.00"]


def test_no_rows() -> None:
    assert "No rows." in build_table("table5", pd.DataFrame(columns=["method", "clicks"]), Context("demo")).notes
    assert "No rows." in build_table("table5", pd.DataFrame(), Context("demo")).notes


@pytest.mark.parametrize("name", ["leaderboard", "table1"])
def test_other_tables_show_every_method_at_its_own_last_click_and_say_so(rows: pd.DataFrame, name: str) -> None:
    labels = {label: MethodFacts(label.startswith("ours")) for label in LABELS}
    built = build_table(name, rows, Context("demo", labels=labels))
    place = [column.heading for column in built.columns].index("Method")
    mean = place + 2
    shown = {row.cells[place].text: row.cells[mean] for row in built.body}
    assert {label: cell.text.split(" ")[0] for label, cell in shown.items()} == {
        f"{method}, {setting}": f"{100 * value:.2f}" for (method, setting), value in MEANS.items()
    }
    for label, cell in shown.items():
        clicks = sum(SETTINGS[label.split(", ")[1]])
        said = [note for note in cell.notes if note.startswith(f"After {clicks} click")]
        assert len(said) == (clicks < 3), label
    assert "mIoU@" not in f"{built.columns[mean].group}{built.columns[mean].heading}"
    assert "Clicks per instance: 1 to 3." in built.notes
    if name == "table1":
        assert "toy, ours, 2+1 against click, 2+1: overall +5.00" in str(built.notes)
        assert "toy, ours, 1+0 against click, 1+0: overall +20.00" in str(built.notes), "the one clicked alike"


def test_variants_of_one_setting_are_told_apart_by_their_labels(make_row: Any) -> None:
    facts = MethodFacts(True, plugin="text_click", variant_of="ours")
    rows = [
        make_row(
            method,
            name,
            iou,
            method_plugin="text_click",
            text_rule=rule,
            clicks=clicked(way),
            click_index=sum(SETTINGS[way]),
        )
        for method, rule, iou, way in (
            ("ours, name", "class_name", 0.6, "1+0"),
            ("ours, synonym", "synonym", 0.5, "1+0"),
            ("ours, more", "class_name", 0.7, "2+1"),
        )
        for name in ("A1", "B1")
    ]
    context = Context("demo", labels=dict.fromkeys(("ours, name", "ours, synonym", "ours, more"), facts))
    shown = [(row.cells[3].text, row.cells[4].text) for row in build_table("table5", pd.DataFrame(rows), context).body]
    assert shown == [("ours", "70.00"), ("ours, name", "60.00"), ("ours, synonym", "50.00")]
