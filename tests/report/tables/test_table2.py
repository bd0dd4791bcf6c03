"""Table 2: gains by the number of classes seen in training."""

import pandas as pd

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table

PLUGINS = {"ours": "text_click", "click": "click_only"}


def several(pair: pd.DataFrame) -> tuple[pd.DataFrame, Context]:
    """Text and click alone with 64 and with 34 training classes; the latter are worse, click alone the more."""
    pair = pair.assign(method_plugin=pair["method"].map(PLUGINS))
    fewer = pair.assign(
        method=pair["method"] + " 34", iou=pair["iou"] - pair["method"].map({"ours": 0.1, "click": 0.2})
    )
    facts = {
        f"{name}{end}": MethodFacts(name == "ours", plugin=PLUGINS[name], trained_classes=classes)
        for name in ("click", "ours")
        for end, classes in ((" 34", 34), ("", 64))
    }
    return pd.concat([fewer, pair]), Context("demo", labels=facts)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


def test_each_number_of_classes_has_its_own_gain(pair: pd.DataFrame) -> None:
    built = build_table("table2", *several(pair))
    assert [line[1:5] for line in texts(built)] == [
        ["64", "ours", "✓", "70.00 (+20.00)"],
        ["64", "click", "", "50.00"],
        ["34", "ours 34", "✓", "60.00 (+30.00)"],
        ["34", "click 34", "", "30.00"],
    ]
    assert [row.starts_section for row in built.body] == [True, False, True, False]
    assert [row.cells[4].strong for row in built.body] == [True, False, True, False]


def test_the_papers_lines_stand_beneath_those_of_as_many_classes(pair: pd.DataFrame) -> None:
    rows, context = several(pair)
    built = build_table("table2", rows.assign(dataset_plugin="openimages"), context)
    assert [line[1] for line in texts(built)] == ["64"] * 4 + ["34"] * 4 + ["23"] * 2
    assert texts(built)[8][4:] == ["53.65 (+7.89)", "61.64 (+8.38)", "51.14 (+7.62)"]
    assert any("+7.79" in note for note in built.body[8].cells[4].notes)
    assert built.body[8].starts_section and built.body[8].quoted


def test_an_unknown_number_is_a_dash_and_others_are_left_out(pair: pd.DataFrame) -> None:
    rows, _ = several(pair)
    more = rows[rows["method"] == "ours"].assign(method="far", method_plugin="far:Away")
    built = build_table("table2", pd.concat([rows[~rows["method"].str.endswith("34")], more]), Context("demo"))
    assert {line[1] for line in texts(built)} == {"–"} and len(built.body) == 2
    alone = build_table("table2", more, Context("demo"))
    assert alone.body == () and len(alone.notes) == 2


def test_no_rows() -> None:
    assert build_table("table2", pd.DataFrame(), Context("demo")).notes == ("No rows.",)
