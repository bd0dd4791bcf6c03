from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.report.rendering.markdown import to_markdown
from harness.report.rendering.terminal import to_text

CONTEXT = Context("demo", labels={"ours": MethodFacts(uses_text=True), "click": MethodFacts()})
OVERALL, SEEN, UNSEEN = 3, 4, 5


def texts(table: Table, column: int) -> list[str]:
    return [row.cells[column].text for row in table.body]


def build(rows: pd.DataFrame, context: Context = CONTEXT) -> Table:
    return build_table("table1", rows, context)


@pytest.mark.usefixtures("two_images_do")
def test_markdown_exactly(pair: pd.DataFrame) -> None:
    assert to_markdown(build(pair)) == (
        "**Table 1: text and click against click (run demo)**\n\n"
        "| Dataset | Method | Text | mIoU@1 Overall | mIoU@1 Seen | mIoU@1 Unseen |\n"
        "| :-- | :-- | :-: | --: | --: | --: |\n"
        "| toy | ours | ✓ | **70.00 (+20.00)** | **85.00 (+10.00)** | **55.00 (+30.00)** |\n"
        "| toy | click |  | 50.00 | 75.00 | 25.00 |\n\n"
        "- toy, ours: n = 4, w = 0.500, failed 0.\n"
        "- toy, ours against click: overall +20.00 \\[+15.00, +25.00\\] (n = 4), "
        "seen +10.00 \\[+10.00, +10.00\\] (n = 2), unseen +30.00 \\[+20.00, +40.00\\] (n = 2).\n"
        "- toy, click: n = 4, w = 0.500, failed 0.\n"
        "- Means over instances, in percent; w is the share of seen instances. In parentheses and in the notes: "
        "the gain over the same instances from the same clicks, in points, with its 95 % interval "
        "(2000 resamples of the images).\n"
    )


@pytest.mark.usefixtures("two_images_do")
def test_terminal_exactly(pair: pd.DataFrame) -> None:
    assert to_text(build(pair), width=100) == (
        "Table 1: text and click against click (run demo)\n\n"
        "                                  mIoU@1           mIoU@1           mIoU@1\n"
        "Dataset   Method   Text          Overall             Seen           Unseen\n"
        "──────────────────────────────────────────────────────────────────────────\n"
        "toy       ours      ✓     70.00 (+20.00)   85.00 (+10.00)   55.00 (+30.00)\n"
        "toy       click                    50.00            75.00            25.00\n\n"
        "toy, ours: n = 4, w = 0.500, failed 0.\n"
        "toy, ours against click: overall +20.00 [+15.00, +25.00] (n = 4), seen +10.00 [+10.00, +10.00] (n =\n"
        "2), unseen +30.00 [+20.00, +40.00] (n = 2).\n"
        "toy, click: n = 4, w = 0.500, failed 0.\n"
        "Means over instances, in percent; w is the share of seen instances. In parentheses and in the notes:\n"
        "the gain over the same instances from the same clicks, in points, with its 95 % interval (2000\n"
        "resamples of the images).\n"
    )


def test_a_failure_is_counted_and_the_gain_is_over_the_others(pair: pd.DataFrame, make_row: Any) -> None:
    rows = pd.concat([pair.iloc[1:], pd.DataFrame([make_row("ours", "A1", None)])])
    built = build(rows)
    assert texts(built, OVERALL) == ["63.33 (+23.33)", "50.00"]
    assert "toy, ours: n = 3, w = 0.333, failed 1." in built.notes
    assert any("overall +23.33" in note and "(n = 3)" in note for note in built.notes)


def test_missing_rows_leave_no_mean_and_no_gain(pair: pd.DataFrame) -> None:
    built = build(pair.iloc[:-1])
    assert texts(built, OVERALL) == ["70.00", "–"]
    assert built.body[1].cells[OVERALL].notes == ("1 of 4 instances have no row; a mean over the others is not shown.",)
    assert not any("against" in note for note in built.notes)


def test_a_method_that_always_failed_has_a_line(pair: pd.DataFrame, make_row: Any) -> None:
    gone = [make_row("ours", name, None) for name in ("A1", "A2", "B1", "B2")]
    built = build(pd.concat([pair[pair["method"] == "click"], pd.DataFrame(gone)]))
    assert texts(built, OVERALL) == ["–", "50.00"]
    assert "toy, ours: n = 0, w = –, failed 4." in built.notes


def test_without_a_split_there_are_dashes(pair: pd.DataFrame) -> None:
    built = build(pair.assign(seen=None))
    assert texts(built, OVERALL)[0] == "70.00 (+20.00)"
    assert texts(built, SEEN) == texts(built, UNSEEN) == ["–", "–"]


def test_other_clicks_leave_no_gain(pair: pd.DataFrame) -> None:
    pair["clicks"] = [[{"x": 9 if method == "click" else 3, "y": 5, "positive": True}] for method in pair["method"]]
    built = build(pair)
    assert texts(built, OVERALL) == ["70.00", "50.00"]
    assert any("no gains" in note and "different clicks on 4 of 4" in note for note in built.notes)


@pytest.mark.slow
def test_more_methods_gain_over_the_one_that_the_config_names(pair: pd.DataFrame, make_row: Any) -> None:
    more = pair.assign(method=pair["method"] + "2", iou=pair["iou"] - 0.1)
    sam = pd.DataFrame([make_row("SAM", name, 0.5, ranking="clip") for name in ("A1", "A2", "B1", "B2")])
    facts = {"click": MethodFacts(), "click2": MethodFacts(), "ours": MethodFacts(True), "ours2": MethodFacts(True)}
    rows = pd.concat([more, sam, pair])
    built = build(rows, Context("demo", labels=facts, baseline=("click",)))
    assert texts(built, 1) == ["ours", "ours2", "click", "click2"]
    assert texts(built, OVERALL) == ["70.00 (+20.00)", "60.00 (+10.00)", "50.00", "40.00"]
    assert "Only in the leaderboard, since they give several masks per click: SAM." in built.notes
    unnamed = build(rows, Context("demo", labels=facts))
    assert texts(unnamed, OVERALL) == ["70.00", "60.00", "50.00", "40.00"]
    assert sum("several such methods: click and click2" in note for note in unnamed.notes) == 2


@pytest.mark.slow
def test_only_the_last_click_counts(pair: pd.DataFrame) -> None:
    click = {"x": 3, "y": 5, "positive": True}
    later = pair.assign(click_index=2, iou=pair["iou"] / 2, clicks=[[click, click]] * len(pair))
    built = build(pd.concat([pair, later]))
    assert texts(built, OVERALL) == ["35.00 (+10.00)", "25.00"]
    assert built.columns[OVERALL].group == "mIoU@2"


def test_unequal_clicks_are_said(pair: pd.DataFrame) -> None:
    click = {"x": 3, "y": 5, "positive": True}
    pair["clicks"] = [[click] * (2 if name == "A1" else 1) for name in pair["instance_id"]]
    built = build(pair)
    assert built.columns[OVERALL].group == "mIoU"
    assert "Clicks per instance: 1 to 2." in built.notes


def test_published_numbers_stand_beside_ours_with_their_doubts(pair: pd.DataFrame) -> None:
    built = build(pair.assign(dataset="COCO val", dataset_plugin="coco"))
    assert [row.quoted for row in built.body] == [False, False, True, True]
    assert texts(built, 1)[2:] == ["published: text_click (maskclip)", "published: click_only"]
    assert texts(built, 2) == ["✓", "", "✓", ""]
    assert texts(built, UNSEEN)[2:] == ["33.45 (+6.98)", "26.47"]
    assert any("0.577" in note and "0.581" in note for note in built.footnotes)
    assert built.notes[-1] == "published: as the paper's Table 1 prints it, for one click; not measured here."


def test_published_numbers_do_not_stand_beside_another_list_of_instances(pair: pd.DataFrame) -> None:
    rows = pd.concat([pair.assign(dataset=name, dataset_plugin=name) for name in ("refcoco", "voc")])
    built = build(rows, replace(CONTEXT, other_lists={"voc": "published: val, 3422 objects; here: trainval, 25"}))
    assert {row.cells[0].text for row in built.body if row.quoted} == {"refcoco"}
    assert built.notes[-1] == (
        "voc: the paper's numbers are left out, since they are over other instances. published: val, 3422 objects; "
        "here: trainval, 25."
    )


@pytest.mark.parametrize("plugin", ["scenes", "module:Class"])
def test_a_data_set_of_our_own_has_no_published_rows(pair: pd.DataFrame, plugin: str) -> None:
    built = build(pair.assign(dataset_plugin=plugin))
    assert not any(row.quoted for row in built.body)
    assert not any("published" in note for note in built.notes)


def test_the_papers_gains_come_out_as_printed(pair: pd.DataFrame) -> None:
    rows = pd.concat([pair.assign(dataset=name, dataset_plugin=name) for name in ("refcoco", "voc", "openimages")])
    found = {
        row.cells[0].text: [cell.text for cell in row.cells[OVERALL:]] for row in build(rows).body[::-1] if row.quoted
    }
    assert found["refcoco"] == ["66.02 (+3.03)", "70.30 (+1.86)", "56.35 (+5.68)"]
    assert found["voc"] == ["57.76 (+4.52)", "59.31 (+3.20)", "50.73 (+10.45)"]
    assert found["openimages"] == ["57.05 (+4.40)", "67.03 (+3.35)", "53.92 (+4.74)"]


def test_out_of_domain_weights_are_a_footnote(pair: pd.DataFrame) -> None:
    facts = {"ours": MethodFacts(True, trained_on="scenes"), "click": MethodFacts(trained_on="coco")}
    built = build(pair.assign(dataset_plugin="coco"), Context("demo", labels=facts))
    assert built.body[0].cells[1].notes == ("Out of domain: trained on scenes, evaluated on coco.",)
    assert built.body[1].cells[1].notes == ()


def test_hostile_labels_are_printed(pair: pd.DataFrame) -> None:
    name = "[bold]a|b"
    rows = pair.assign(method=pair["method"].replace("ours", name))
    built = build(rows, Context("demo", labels={name: MethodFacts(True), "click": MethodFacts()}))
    assert r"| toy | \[bold\]a\|b | ✓ | **70.00 (+20.00)** |" in to_markdown(built)
    assert "[bold]a|b" in to_text(built)


@pytest.mark.usefixtures("two_images_do")
@pytest.mark.slow
def test_intervals_on_demand(pair: pd.DataFrame) -> None:
    context = Context("demo", labels=CONTEXT.labels, intervals=True)
    cell = build(pair, context).body[0].cells[OVERALL]
    assert (cell.text, cell.whole) == ("70.00 (+20.00)", "70.00 (+20.00) [60.00, 80.00], n = 4")
    assert (cell.value, cell.low, cell.high, cell.n) == pytest.approx((0.7, 0.6, 0.8, 4))
    one = build(pair[pair["image_id"] == "A"], context).body[0].cells[OVERALL]
    assert one.whole == "80.00 (+25.00) [–, –], n = 2"
    assert build(pair).body[0].cells[OVERALL].low is None
