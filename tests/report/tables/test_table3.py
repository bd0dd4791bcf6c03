from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.report.rendering.markdown import to_markdown
from harness.report.tables.leaderboard import ORACLE
from harness.report.tables.table3 import SEVERAL

PLUGINS = {"ours": "text_click", "click": "click_only", "SAM": "sam"}
INSTANCES = ("A1", "A2", "B1", "B2")
CONTEXT = Context("demo", labels={"ours": MethodFacts(True), "click": MethodFacts(), "SAM": MethodFacts()})
MEANS = {
    ("ours", "single"): 0.7,
    ("click", "single"): 0.5,
    ("SAM", "confidence"): 0.4,
    ("SAM", "clip"): 0.45,
    ("SAM", "oracle"): 0.6,
}


@pytest.fixture
def cast(make_row: Any) -> pd.DataFrame:
    """Ours, click alone and SAM with three rankings, on two images of two instances each."""
    return pd.DataFrame(
        [
            make_row(method, name, mean, ranking=ranking, method_plugin=PLUGINS[method])
            for (method, ranking), mean in MEANS.items()
            for name in INSTANCES
        ]
    )


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


def build(rows: pd.DataFrame, context: Context = CONTEXT) -> Table:
    return build_table("table3", rows, context)


@pytest.mark.usefixtures("two_images_do")
def test_markdown_exactly(cast: pd.DataFrame) -> None:
    assert to_markdown(build(cast)) == (
        "**Table 3: mIoU@1 of SAM, of click alone, and of ours (run demo)**\n\n"
        "| Dataset | SAM CLIP | SAM Conf. | SAM Oracle | click 1-Click | ours Ours |\n"
        "| :-- | --: | --: | --: | --: | --: |\n"
        "| toy | 45.00 | 40.00 | 60.00 | 50.00 | **70.00** |\n\n"
        "- toy, SAM: n = 4, w = 0.500, failed 0.\n"
        "- toy, click: n = 4, w = 0.500, failed 0.\n"
        "- toy, ours: n = 4, w = 0.500, failed 0.\n"
        "- toy, SAM: oracle gap +20.00 \\[+20.00, +20.00\\] (oracle less confidence, n = 4); recovered share 0.250 "
        "(CLIP less confidence, +5.00 \\[+5.00, +5.00\\], over the gap).\n"
        "- Means over instances, in percent; w is the share of seen instances. Gap and recovered share: over the same "
        "instances, in points, with 95 % intervals (2000 resamples of the images).\n"
        f"- Oracle: {ORACLE[0].lower()}{ORACLE[1:]}\n"
    )


@pytest.mark.parametrize(
    ("absent", "wanted", "notes"),
    [
        ("SAM", ["", "", "", "50.00", "70.00"], ["No method of this run is sam or sam_hq or sam2."]),
        ("click", ["45.00", "40.00", "60.00", "", "70.00"], ["No method of this run is click_only."]),
        ("ours", ["45.00", "40.00", "60.00", "50.00", ""], ["No method of this run is text_click."]),
    ],
)
def test_missing_parts_are_empty_cells(cast: pd.DataFrame, absent: str, wanted: list[str], notes: list[str]) -> None:
    built = build(cast[cast["method"] != absent], Context("demo"))
    assert texts(built) == [["toy", *wanted]]
    assert [note for note in built.notes if note.startswith("No method")] == notes


def test_no_part_at_all_is_no_line(cast: pd.DataFrame) -> None:
    built = build(cast.assign(method_plugin="far:Away"), Context("demo"))
    assert built.body == ()
    assert len(built.notes) == 3


@pytest.mark.parametrize("ranking", ["clip", "confidence", "oracle"])
def test_a_missing_ranking_is_an_empty_cell(cast: pd.DataFrame, ranking: str) -> None:
    built = build(cast[cast["ranking"] != ranking])
    column = {"clip": 1, "confidence": 2, "oracle": 3}[ranking]
    assert [bool(cell) for cell in texts(built)[0][1:4]] == [index != column for index in (1, 2, 3)]
    assert any("oracle gap" in note for note in built.notes) == (ranking == "clip")
    assert not any("recovered share 0" in note for note in built.notes)


def test_a_ranking_by_clip_that_is_worse_recovers_less_than_nothing(cast: pd.DataFrame) -> None:
    cast.loc[cast["ranking"] == "clip", "iou"] = 0.3
    assert any("recovered share -0.500" in note for note in build(cast).notes)


def test_no_gap_leaves_nothing_to_recover(cast: pd.DataFrame) -> None:
    cast.loc[cast["method"] == "SAM", "iou"] = 0.4
    assert any("oracle gap +0.00" in note and "recovered share –" in note for note in build(cast).notes)


def test_rankings_over_other_instances_have_no_share(cast: pd.DataFrame, make_row: Any) -> None:
    gone = make_row("SAM", "A1", None, method_plugin="sam") | {"ranking": "clip"}
    rows = cast[~((cast["ranking"] == "clip") & (cast["instance_id"] == "A1"))]
    built = build(pd.concat([rows, pd.DataFrame([gone])]))
    assert "toy, SAM (clip): n = 3, w = 0.333, failed 1." in built.notes
    assert "toy, SAM (confidence, oracle): n = 4, w = 0.500, failed 0." in built.notes
    assert any("oracle gap" in note for note in built.notes)
    assert not any("recovered share 0" in note for note in built.notes)


def test_a_failure_counts_in_every_ranking(cast: pd.DataFrame, make_row: Any) -> None:
    rows = cast[~((cast["method"] == "SAM") & (cast["instance_id"] == "A1"))]
    built = build(pd.concat([rows, pd.DataFrame([make_row("SAM", "A1", None, method_plugin="sam")])]))
    assert "toy, SAM: n = 3, w = 0.333, failed 1." in built.notes


def test_missing_rows_blank_the_cell_and_the_gap(cast: pd.DataFrame) -> None:
    built = build(cast[~((cast["method"] == "SAM") & (cast["instance_id"] == "A1"))])
    assert texts(built)[0][1:4] == ["–", "–", "–"]
    assert "1 of 4 instances have no row; a mean over the others is not shown." in built.footnotes
    assert not any("oracle gap" in note for note in built.notes)


def test_two_entries_of_a_plugin_have_their_own_columns(cast: pd.DataFrame) -> None:
    small = cast[cast["method"] == "SAM"].assign(method="SAM small", iou=cast["iou"] / 2)
    built = build(pd.concat([cast, small]).assign(dataset_plugin="coco"))
    assert [column.group for column in built.columns[1:7]] == ["SAM"] * 3 + ["SAM small"] * 3
    assert texts(built)[0][4:7] == ["22.50", "20.00", "30.00"]
    assert texts(built)[1][1:] == ["36.43", "39.31", "–", "–", "–", "–", "36.82", "47.17"]
    assert SEVERAL in built.footnotes
    assert sum("oracle gap" in note for note in built.notes) == 2


def test_two_of_ours_have_their_own_columns(cast: pd.DataFrame) -> None:
    other = cast[cast["method"] == "ours"].assign(method="ours too", iou=0.2)
    built = build(pd.concat([cast, other]).assign(dataset_plugin="coco"))
    assert [(column.group, column.heading) for column in built.columns[-2:]] == [("ours", "Ours"), ("ours too", "Ours")]
    assert [line[-2:] for line in texts(built)] == [["70.00", "20.00"], ["47.17", "–"]]
    assert SEVERAL in built.footnotes


@pytest.mark.slow
def test_published_numbers_stand_beneath_ours(cast: pd.DataFrame) -> None:
    built = build(cast.assign(dataset="refCOCO val", dataset_plugin="refcoco"))
    assert [row.quoted for row in built.body] == [False, True]
    assert texts(built)[1] == ["published: refCOCO val", "47.07", "52.48", "–", "66.16", "68.07"]
    values = [None if cell.value is None else round(100 * cell.value, 2) for cell in built.body[1].cells]
    assert values == [None, 47.07, 52.48, None, 66.16, 68.07]  # what a Parquet file holds
    assert built.footnotes[0] == "The paper does not say which of refCOCO's val, testA and testB it used."
    assert all(said.startswith("Trained on all classes, ") for said in built.footnotes[1:])
    assert "published: as the paper's Table 3 prints it, for one click; not measured here." in built.notes
    assert not any(row.quoted for row in build(cast).body)


def test_weights_are_said_once_a_method(cast: pd.DataFrame) -> None:
    labels = {"SAM": MethodFacts(trained_on="sa1b"), "ours": MethodFacts(True, weights="ours.pth")}
    built = build(cast, Context("demo", labels=labels))
    assert [len(cell.notes) for cell in built.body[0].cells] == [0, 1, 0, 0, 0, 1]


@pytest.mark.slow
def test_a_data_set_a_line(cast: pd.DataFrame) -> None:
    built = build(pd.concat([cast, cast[cast["method"] != "ours"].assign(dataset="a")]), Context("demo"))
    assert [line[0] for line in texts(built)] == ["a", "toy"]
    assert texts(built)[0][-1] == ""


@pytest.mark.usefixtures("two_images_do")
def test_a_ranking_by_saliency_has_a_column_and_a_recovered_share(cast: pd.DataFrame, make_row: Any) -> None:
    more = [make_row("SAM", name, 0.55, ranking="saliency", method_plugin="sam") for name in INSTANCES]
    built = build(pd.concat([cast, pd.DataFrame(more)]))
    assert [column.heading for column in built.columns][:5] == ["Dataset", "CLIP", "Saliency", "Conf.", "Oracle"]
    assert texts(built) == [["toy", "45.00", "55.00", "40.00", "60.00", "50.00", "70.00"]]
    (said,) = [note for note in built.notes if "oracle gap" in note]
    assert "recovered share 0.250 (CLIP less confidence" in said
    assert said.endswith("recovered share 0.750 (saliency less confidence, +15.00 [+15.00, +15.00], over the gap).")
    assert SEVERAL not in built.notes
