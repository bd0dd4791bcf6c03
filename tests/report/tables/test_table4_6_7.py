"""Tables 4, 6 and 7: ours against others, on all, seen and unseen classes."""

from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.report.rendering.markdown import to_markdown

PLUGINS = {"ours": "text_click", "click": "click_only", "SAM": "sam", "RITM": "ritm"}
INSTANCES = ("A1", "A2", "B1", "B2")
FACTS = {
    "ours": MethodFacts(True, "coco"),
    "click": MethodFacts(),
    "SAM": MethodFacts(),
    "RITM": MethodFacts(False, "sbd"),
}
CONTEXT = Context("demo", labels=FACTS)
TABLES = ("table4", "table6", "table7")


@pytest.fixture
def cast(make_row: Any) -> pd.DataFrame:
    """Everybody on two images of two instances each. Ours 70 %, click 50 %, SAM 60 / 40 / 80 %, RITM 30 %."""
    means = {("ours", "single"): 0.7, ("click", "single"): 0.5, ("RITM", "single"): 0.3}
    means |= {("SAM", "confidence"): 0.6, ("SAM", "clip"): 0.4, ("SAM", "oracle"): 0.8}
    step = dict(zip(INSTANCES, (0.1, 0.0, 0.0, -0.1), strict=True))
    return pd.DataFrame(
        [
            make_row(method, name, mean + step[name], ranking=ranking, method_plugin=PLUGINS[method])
            for (method, ranking), mean in means.items()
            for name in INSTANCES
        ]
    )


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


@pytest.mark.usefixtures("two_images_do")
def test_table_4_exactly(cast: pd.DataFrame) -> None:
    assert to_markdown(build_table("table4", cast, CONTEXT)) == (
        "**Table 4: ours against SAM, on seen and unseen classes (run demo)**\n\n"
        "| Dataset | Model | mIoU@1 Overall | mIoU@1 Seen | mIoU@1 Unseen |\n"
        "| :-- | :-- | --: | --: | --: |\n"
        "| toy | ours ¹ | **70.00** | **75.00** | **65.00** |\n"
        "| toy | SAM (confidence) | 60.00 | 65.00 | 55.00 |\n\n"
        "- ¹ Out of domain: trained on coco, evaluated on scenes.\n"
        "- toy, ours: n = 4, w = 0.500, failed 0.\n"
        "- toy, SAM (confidence): n = 4, w = 0.500, failed 0.\n"
        "- toy, ours against SAM (confidence): overall +10.00 \\[+10.00, +10.00\\] (n = 4), "
        "seen +10.00 \\[+10.00, +10.00\\] (n = 2), unseen +10.00 \\[+10.00, +10.00\\] (n = 2).\n"
        "- Means over instances, in percent; w is the share of seen instances. Against: the gain over the same "
        "instances from the same clicks, in points, with its 95 % interval (2000 resamples of the images).\n"
        "- Seen and unseen are the halves of the data set's split; weights that name no classes of their training, as "
        "published SAM's and RITM's, have both means.\n"
    )


@pytest.mark.usefixtures("two_images_do")
def test_no_gain_on_unseen_classes_over_weights_that_were_trained_on_them(cast: pd.DataFrame) -> None:
    """Their halves are blank, so a note must not have the numbers after all."""
    blank = cast.assign(seen=cast["seen"].astype(object).where(cast["method"] != "SAM"))
    built = build_table("table4", blank, CONTEXT)
    assert texts(built)[1] == ["toy", "SAM (confidence)", "60.00", "–", "–"]
    assert "toy, ours against SAM (confidence): overall +10.00 [+10.00, +10.00] (n = 4)." in built.notes


def test_table_6_says_what_was_trained_on_what(cast: pd.DataFrame) -> None:
    built = build_table("table6", cast, CONTEXT)
    assert [column.heading for column in built.columns][:3] == ["Model", "Train data", "Eval data"]
    assert texts(built) == [
        ["RITM", "sbd", "toy", "30.00", "35.00", "25.00"],
        ["ours", "coco", "toy", "70.00", "75.00", "65.00"],
    ]
    assert any("toy, ours against RITM: overall +40.00" in note for note in built.notes)


@pytest.mark.parametrize("plugin", ["simpleclick", "focalclick"])
def test_other_click_systems_stand_in_table_6(cast: pd.DataFrame, plugin: str) -> None:
    other = cast[cast["method"] == "RITM"].assign(method="another", method_plugin=plugin)
    built = build_table("table6", pd.concat([cast, other]), CONTEXT)
    assert [row[0] for row in texts(built)] == ["RITM", "another", "ours"]


def test_table_7_is_of_boundary_iou(cast: pd.DataFrame) -> None:
    built = build_table("table7", cast, CONTEXT)
    assert {column.group for column in built.columns[2:]} == {"boundary mIoU@1"}
    assert texts(built)[1] == ["toy", "SAM (confidence)", "30.00", "32.50", "27.50"]
    assert any("overall +5.00" in note for note in built.notes)


def test_a_run_without_boundary_iou_shows_dashes(cast: pd.DataFrame) -> None:
    built = build_table("table7", cast.assign(boundary_iou=None), CONTEXT)
    assert texts(built)[0] == ["toy", "ours", "–", "–", "–"]
    assert not any("against" in note for note in built.notes)


@pytest.mark.parametrize("name", TABLES)
def test_the_part_goes_by_the_plugin_not_the_label(cast: pd.DataFrame, name: str) -> None:
    swapped = cast.assign(method=cast["method"].map({"ours": "SAM", "SAM": "ours", "click": "RITM", "RITM": "click"}))
    found = {cell.split(" (")[0] for line in texts(build_table(name, swapped, Context("demo"))) for cell in line[:2]}
    assert ("click" in found) == (name == "table6")
    assert "SAM" in found and "RITM" not in found


def test_two_entries_of_one_plugin_have_a_line_each(cast: pd.DataFrame) -> None:
    small = cast[cast["method"] == "SAM"].assign(method="SAM small", iou=0.5)
    hq = small.assign(method="HQ", method_plugin="sam_hq")
    built = build_table("table4", pd.concat([cast, small, hq]), CONTEXT)
    models = [line[1] for line in texts(built)]
    assert models == ["ours", "SAM (confidence)", "HQ (confidence)", "SAM small (confidence)"]
    assert sum("against" in note and note.startswith("toy, ours") for note in built.notes) == 3


def test_a_sam_that_gives_one_mask_is_compared_by_it(cast: pd.DataFrame) -> None:
    one = cast[cast["ranking"] != "oracle"].replace({"ranking": {"confidence": "single"}})
    assert texts(build_table("table4", one[one["ranking"] != "clip"], CONTEXT))[1][:3] == ["toy", "SAM", "60.00"]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("absent", ["ours", "SAM", "RITM", "everybody"])
def test_missing_parts_are_said(cast: pd.DataFrame, name: str, absent: str) -> None:
    keep = cast["method"] == "click" if absent == "everybody" else cast["method"] != absent
    built = build_table(name, cast[keep], Context("demo"))
    missing = [note for note in built.notes if note.startswith("No method of this run is")]
    other = "RITM" if name == "table6" else "SAM"
    assert len(missing) == {"ours": 1, "everybody": 2, other: 1}.get(absent, 0)
    assert len(built.body) == 2 - len(missing)


def test_a_method_without_a_row_is_known_by_its_facts(cast: pd.DataFrame) -> None:
    labels = FACTS | {"SAM": MethodFacts(plugin="sam")}
    expected = {(name, "toy"): 4 for name in labels}
    built = build_table("table4", cast[cast["method"] != "SAM"], Context("demo", {}, labels, expected))
    assert texts(built)[1] == ["toy", "SAM", "–", "–", "–"]
    assert any("4 of 4 instances have no row" in note for note in built.footnotes)


def test_failures_are_counted_and_leave_the_gain_to_the_others(cast: pd.DataFrame, make_row: Any) -> None:
    gone = make_row("SAM", "A1", None, method_plugin="sam")
    rows = pd.concat([cast[~((cast["method"] == "SAM") & (cast["instance_id"] == "A1"))], pd.DataFrame([gone])])
    built = build_table("table4", rows, CONTEXT)
    assert texts(built)[1][2] == "56.67"
    assert "toy, SAM (confidence): n = 3, w = 0.333, failed 1." in built.notes
    assert any("overall +10.00" in note and "(n = 3)" in note for note in built.notes)


def test_a_method_that_always_failed_has_a_line_of_dashes(cast: pd.DataFrame, make_row: Any) -> None:
    gone = [make_row("SAM", name, None, method_plugin="sam") for name in INSTANCES]
    built = build_table("table4", pd.concat([cast[cast["method"] != "SAM"], pd.DataFrame(gone)]), CONTEXT)
    assert texts(built)[1] == ["toy", "SAM", "–", "–", "–"]
    assert "toy, SAM: n = 0, w = –, failed 4." in built.notes


def test_other_clicks_leave_no_gain(cast: pd.DataFrame) -> None:
    cast["clicks"] = [[{"x": 9 if m == "SAM" else 3, "y": 5, "positive": True}] for m in cast["method"]]
    built = build_table("table4", cast, CONTEXT)
    assert any("no gains" in note and "different clicks on 4 of 4" in note for note in built.notes)


@pytest.mark.parametrize(
    ("name", "plugin", "printed"),
    [
        ("table4", "coco", ["COCO", "published: sam (confidence)", "39.31", "41.73", "37.59"]),
        ("table4", "openimages", ["COCO", "published: text_click (maskclip)", "57.05", "63.68", "53.92"]),
        ("table6", "coco", ["published: ritm", "sbd (voc20)", "COCO", "38.86", "45.00", "30.33"]),
        ("table7", "coco", ["COCO", "published: text_click (maskclip)", "39.62", "40.51", "38.47"]),
    ],
)
def test_published_numbers_stand_beneath_ours(cast: pd.DataFrame, name: str, plugin: str, printed: list[str]) -> None:
    built = build_table(name, cast.assign(dataset="COCO", dataset_plugin=plugin), CONTEXT)
    assert [row.quoted for row in built.body] == [False, False, True, True]
    assert printed in texts(built)
    number = name.removeprefix("table")
    assert f"published: as the paper's Table {number} prints it, for one click; not measured here." in built.notes


@pytest.mark.slow
def test_published_doubts_are_footnotes(cast: pd.DataFrame) -> None:
    for plugin, doubt in (("coco", "swapped back 0.585"), ("refcoco", "swapped back 0.694"), ("openimages", "63.68")):
        built = build_table("table4", cast.assign(dataset_plugin=plugin), CONTEXT)
        assert any(doubt in note for note in built.footnotes)
    assert not any(row.quoted for row in build_table("table6", cast.assign(dataset_plugin="voc"), CONTEXT).body)


def test_each_data_set_is_a_section_with_its_own_notes(cast: pd.DataFrame) -> None:
    built = build_table("table4", pd.concat([cast, cast.assign(dataset="z")]), CONTEXT)
    assert [row.starts_section for row in built.body] == [True, False, True, False]
    assert sum("ours against SAM" in note for note in built.notes) == 2
