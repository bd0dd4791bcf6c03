"""Clicks needed, and mIoU click by click."""

from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table, percent
from harness.statistics.final_clicks import at_click
from harness.statistics.means import summarise

LADDERS = {"A1": (0.5, 0.8, 0.9, 0.9), "A2": (0.96, 0.1, 0.1, 0.1), "B1": (0.2, 0.3, 0.4, 0.5)}


@pytest.fixture
def four_clicks(make_row: Any) -> pd.DataFrame:
    """Two methods with four clicks on three instances; `other` is worse by 0.1, and has an oracle."""
    entries = [("RITM", "single", 0.0), ("other", "confidence", 0.1), ("other", "oracle", 0.0)]
    return pd.DataFrame(
        [
            make_row(method, name, max(0.0, iou - less), ranking=ranking, click_index=k, clicks=[{}] * k)
            for method, ranking, less in entries
            for name, ladder in LADDERS.items()
            for k, iou in enumerate(ladder, 1)
        ]
    )


def build(name: str, rows: pd.DataFrame, context: Context | None = None) -> Table:
    return build_table(name, rows, context or Context("demo"))


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


def test_noc_by_hand(four_clicks: pd.DataFrame) -> None:
    built = build("noc", four_clicks)
    assert [f"{column.group}{column.heading}" for column in built.columns] == [
        *("Dataset", "Method", "NoC@80", "NoC@85", "NoC@90", "NoC@95", "NoF@90strict", "NoF@90RITM's"),
        *("mIoU@1", "mIoU@2", "mIoU@3", "AuC", "n", "Failed"),
    ]
    # A1 needs 2 clicks for 80 % and 3 for 85 and 90, A2 one for all, B1 fails and counts 4.
    first = ["2.33", "2.67", "2.67", "3.00", "1", "1", "55.33", "40.00", "46.67", "46.44", "3", "0"]
    assert texts(built)[0] == ["toy", "RITM", *first]
    # A1 is at 80 % after 3 clicks, A2 (86 %) after 1; the oracle's line is not shown, for no click followed its masks.
    assert texts(built)[1][:6] == ["toy", "other (confidence)", "2.67", "3.00", "4.00", "4.00"]
    assert len(built.body) == 2
    assert built.notes[0] == "Clicks per instance: at most 4."


def test_the_last_click_is_a_failure_for_ritm_alone(four_clicks: pd.DataFrame) -> None:
    late = (four_clicks["instance_id"] == "B1") & (four_clicks["click_index"] == 4)
    four_clicks.loc[late, "iou"] = 0.9
    assert texts(build("noc", four_clicks))[0][6:8] == ["0", "1"]


def test_iou_by_click_has_a_line_a_click(four_clicks: pd.DataFrame) -> None:
    built = build("iou_by_click", four_clicks)
    assert [(column.group, column.heading) for column in built.columns[1:]] == [
        ("toy", "RITM"),
        ("toy", "other (confidence)"),
    ]
    assert [line[:2] for line in texts(built)] == [["1", "55.33"], ["2", "40.00"], ["3", "46.67"], ["4", "50.00"]]
    assert built.notes[0] == "toy, RITM: n = 3, failed 0."


@pytest.mark.slow
def test_a_sequence_that_broke_off_is_failed(four_clicks: pd.DataFrame, make_row: Any) -> None:
    cut = (four_clicks["instance_id"] == "B1") & (four_clicks["click_index"] > 2) & (four_clicks["method"] == "RITM")
    rows = pd.concat([four_clicks[~cut], pd.DataFrame([make_row("RITM", "B1", None, click_index=3, clicks=[{}] * 3)])])
    line = texts(build("noc", rows))[0]
    assert line[2:5] == ["1.50", "2.00", "2.00"]
    assert line[-2:] == ["2", "1"]
    assert texts(build("iou_by_click", rows))[0][1] == "73.00"


@pytest.mark.slow
def test_missing_rows_blank_the_line(four_clicks: pd.DataFrame) -> None:
    rows = four_clicks[~((four_clicks["instance_id"] == "B1") & (four_clicks["method"] == "RITM"))]
    built = build("noc", rows)
    assert texts(built)[0][2:] == ["–"] * 10 + ["0", "0"]
    assert texts(built)[1][2] == "2.67"
    assert "1 of 3 instances have no row; a mean over the others is not shown." in built.footnotes
    assert [line[1] for line in texts(build("iou_by_click", rows))] == ["–"] * 4


def test_an_entry_without_a_row_has_a_line(four_clicks: pd.DataFrame) -> None:
    expected = {("RITM", "toy"): 3, ("gone", "toy"): 3}
    built = build("noc", four_clicks, Context("demo", expected_instances=expected))
    assert texts(built)[1][:4] == ["toy", "gone", "–", "–"]


def test_a_method_that_always_failed_says_why(make_row: Any) -> None:
    built = build("noc", pd.DataFrame([make_row("RITM", name, None) for name in LADDERS]))
    assert texts(built)[0][2:] == ["–"] * 7 + ["0", "3"]
    assert "All 3 failed, most often: out of memory" in built.footnotes


@pytest.mark.parametrize("name", ["noc", "iou_by_click"])
def test_no_rows(name: str) -> None:
    assert build(name, pd.DataFrame()).notes == ("No rows.",)


@pytest.mark.usefixtures("two_images_do")
@pytest.mark.slow
def test_every_mean_says_its_interval_where_asked(four_clicks: pd.DataFrame) -> None:
    built = build("noc", four_clicks, Context("demo", intervals=True))
    assert texts(built) == texts(build("noc", four_clicks)), "the numbers themselves stay"
    own = four_clicks[four_clicks["method"] == "RITM"]
    first = built.body[0].cells
    for number, at in ((1, 8), (3, 10)):
        (line,) = summarise(at_click(own, number), intervals=True).itertuples()
        assert (first[at].low, first[at].high, first[at].n) == pytest.approx((line.mean_low, line.mean_high, 3))
    area = own.assign(iou=own["instance_id"].map({name: areas(ladder) for name, ladder in LADDERS.items()}))
    (line,) = summarise(area, intervals=True).itertuples()
    assert (first[11].value, first[11].low, first[11].high) == pytest.approx((line.mean, line.mean_low, line.mean_high))


def areas(ladder: tuple[float, ...]) -> float:
    """Under four clicks, by hand."""
    a, b, c, d = ladder
    return (a / 2 + b + c + d / 2) / 3


def test_the_interval_of_clicks_is_in_clicks(four_clicks: pd.DataFrame) -> None:
    needed = {"A1": 0.02, "A2": 0.01, "B1": 0.04}  # NoC@80, a hundredth of it
    own = four_clicks[four_clicks["method"] == "RITM"]
    line = summarise(own.assign(iou=own["instance_id"].map(needed)), intervals=True).iloc[0]
    cell = build("noc", four_clicks, Context("demo", intervals=True)).body[0].cells[2]
    low, high = (percent(float(bound)) for bound in (line.mean_low, line.mean_high))
    assert cell.whole == f"2.33 [{low}, {high}], n = 3"
    assert cell.value is None and cell.n == 3, "no share, for formats that machines read"


@pytest.mark.slow
@pytest.mark.usefixtures("two_images_do")
def test_iou_by_click_says_its_intervals_where_asked(four_clicks: pd.DataFrame) -> None:
    built = build("iou_by_click", four_clicks, Context("demo", intervals=True))
    (line,) = (
        summarise(at_click(four_clicks, 2), ["ranking", "method"], intervals=True)
        .query("method == 'RITM'")
        .itertuples()
    )
    cell = built.body[1].cells[1]
    assert (cell.low, cell.high, cell.n) == pytest.approx((line.mean_low, line.mean_high, 3))
    gone = build("iou_by_click", four_clicks[four_clicks.index > 3], Context("demo", intervals=True))
    assert {row.cells[1].whole for row in gone.body} == {"–"}, "of a line that is not whole there is none"


@pytest.mark.parametrize(("first", "shown"), [("", "confidence"), ("clip", "clip"), ("gone", "confidence")])
def test_of_several_rankings_the_one_that_the_clicks_followed_is_shown(
    four_clicks: pd.DataFrame, first: str, shown: str
) -> None:
    clip = four_clicks[four_clicks["ranking"] == "confidence"].assign(ranking="clip")
    context = Context("demo", labels={"other": MethodFacts(first_ranking=first)})
    built = build("noc", pd.concat([four_clicks, clip]), context)
    assert [line[1] for line in texts(built)] == [f"other ({shown})", "RITM"]


def test_a_run_in_which_everything_failed_has_no_line_by_click(make_row: Any) -> None:
    failed = pd.DataFrame([make_row("RITM", name, None) for name in LADDERS])
    built = build("iou_by_click", failed, Context("demo", intervals=True))
    assert not built.body
