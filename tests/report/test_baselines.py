"""Who plays click-only: by the config, by its plugin, by being given no text; of several, the one most alike."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.baselines import NAME_ONE, baselines
from harness.report.build import build_table
from harness.report.context import Asked, Context, MethodFacts
from harness.report.scores import scores
from harness.statistics.final_clicks import FinalClicks


def facts(plugin: str, uses_text: bool = False, **given: Any) -> MethodFacts:
    return MethodFacts(uses_text=uses_text, plugin=plugin, **given)


def rows(make_row: Any, methods: dict[str, float], dataset: str = "toy") -> pd.DataFrame:
    made = [make_row(name, one, iou, dataset=dataset) for name, iou in methods.items() for one in ("A1", "A2", "B1")]
    return pd.DataFrame(made)


def found(own: pd.DataFrame, context: Context) -> Any:
    final = FinalClicks.of(own)
    return baselines(scores(final, context), final, context)


@pytest.fixture
def three(make_row: Any) -> pd.DataFrame:
    return rows(make_row, {"ours": 0.7, "RITM": 0.6, "Click only": 0.5})


THREE = Context(
    "demo",
    labels={"RITM": facts("ritm"), "ours": facts("text_click", True), "Click only": facts("click_only")},
)


def test_the_plugin_plays_it_wherever_it_stands_in_the_config(three: pd.DataFrame) -> None:
    own = found(three, THREE)
    assert (own.of("toy", "ours"), own.said, own.notes) == ("Click only", "Click only", [])
    table = build_table("table1", three, THREE)
    assert table.title == "Table 1: text and click against Click only (run demo)"
    assert table.body[0].cells[3].text == "70.00 (+20.00)"
    assert "toy, ours against Click only: overall +20.00" in table.notes[1]


def test_it_is_named_though_no_method_is_given_text(three: pd.DataFrame) -> None:
    table = build_table("table1", three[three["method"] != "ours"], THREE)
    assert table.title == "Table 1: text and click against Click only (run demo)"


def test_the_config_may_name_another(three: pd.DataFrame) -> None:
    table = build_table("table1", three, replace(THREE, baseline=("RITM",)))
    assert table.title == "Table 1: text and click against RITM (run demo)"
    assert table.body[0].cells[3].text == "70.00 (+10.00)"


def test_without_the_plugin_the_only_one_without_text_plays_it(three: pd.DataFrame) -> None:
    own = found(three[three["method"] != "Click only"], replace(THREE, labels=dict(list(THREE.labels.items())[:2])))
    assert own.of("toy", "ours") == "RITM"


def test_of_several_none_is_taken_and_a_note_says_how_to_name_one(three: pd.DataFrame) -> None:
    context = replace(THREE, labels={**THREE.labels, "Click only": facts("my_repo:Other")})
    table = build_table("table1", three, context)
    assert table.title.startswith("Table 1: text and click against click alone")
    assert table.body[0].cells[3].text == "70.00"
    assert (
        f"toy, ours: no gains over click alone, since there are several such methods: RITM and Click only. {NAME_ONE}"
        in table.notes
    )


def test_nobody_plays_it_who_reads_the_text_or_is_given_some(three: pd.DataFrame) -> None:
    pair = three[three["method"] != "Click only"]
    labels = {"RITM": facts("ritm", reads_text=True), "ours": facts("text_click", True)}
    own = found(pair, Context("demo", labels=labels))
    assert own.of("toy", "ours") is None
    assert own.notes == [f"toy: no gains over click alone, since no method of this run is click-only there. {NAME_ONE}"]


@pytest.mark.slow
def test_of_several_the_one_most_alike_is_taken(make_row: Any) -> None:
    labels = {
        "ours 10": facts("text_click", True, trained_classes=10, seed=1),
        "click 3": facts("click_only", trained_classes=3, seed=1),
        "click 10, seed 0": facts("click_only", trained_classes=10, seed=0),
        "click 10, seed 1": facts("click_only", trained_classes=10, seed=1),
        "click 10, three clicks": facts("click_only", trained_classes=10, seed=1),
    }
    one = Asked("paper/v1", {}, 1, "given")
    asked = {(name, "toy"): one for name in labels} | {("click 10, three clicks", "toy"): replace(one, max_clicks=3)}
    context = Context("demo", labels=labels, asked=asked)
    assert found(rows(make_row, dict.fromkeys(labels, 0.5)), context).of("toy", "ours 10") == "click 10, seed 1"


def test_each_data_set_has_its_own(make_row: Any) -> None:
    parts = [rows(make_row, {f"ours {name}": 0.7, f"click {name}": 0.5}, name) for name in ("VOC", "COCO")]
    kinds = {"ours": facts("text_click", True), "click": facts("click_only")}
    labels = {f"{kind} {name}": own for name in ("VOC", "COCO") for kind, own in kinds.items()}
    expected = {(f"{kind} {name}", name): 3 for name in ("VOC", "COCO") for kind in kinds}
    table = build_table("table1", pd.concat(parts), Context("demo", labels=labels, expected_instances=expected))
    assert table.title == "Table 1: text and click against click VOC, click COCO (run demo)"
    assert [row.cells[3].text for row in table.body] == ["70.00 (+20.00)", "50.00"] * 2
