"""The findings behind the footnotes: every one that is known of the paper's tables, and those of a run's own means."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context
from harness.report.paper.findings import findings, implied_share
from harness.report.paper.published import load_published
from harness.report.tables.audit import CLEAN, printed_findings, published_audit

KNOWN = [
    ("Table 1, voc", "text_click", "all", "usual split, 15 seen and 5 unseen"),
    ("Table 1, coco", "text_click", "all", "0.577 for text_click and of 0.581 for click_only"),
    (
        "Table 2, openimages",
        "click_only (openimages, seen34)",
        "all",
        "0.237 for text_click and of 0.245 for click_only",
    ),
    ("Table 2, openimages", "text_click (openimages, seen23)", "overall", "+7.89; its own means give +7.79"),
    ("Table 4, refcoco", "sam", "seen, unseen", "seen share of 0.306, swapped back 0.694"),
    ("Table 4, refcoco", "sam", "seen, unseen", "the unseen mean is 61.18; text_click's is 56.35"),
    ("Table 4, coco", "sam", "seen, unseen", "swapped back 0.585"),
    ("Table 4, openimages", "text_click", "seen", "63.68, is Table 1's for click_only"),
    (
        "Table 4, openimages",
        "text_click",
        "seen",
        "Table 1 prints 67.03 for the same model, with which the seen share is 0.239",
    ),
    (
        "Table 4, openimages",
        "sam",
        "all",
        "or 0.322 if seen and unseen are swapped; neither is the data set's, about 0.239",
    ),
    ("Table 6, openimages", "ritm", "all", "0.111 for ritm and of 0.237 for text_click"),
    ("Table 7, coco", "text_click", "overall", "39.62, is above the same model's mask IoU in Table 1, 38.42"),
    ("Table 8, refcoco", "lavt", "all", "overall (cumulative) IoU; its mean over sentences is 74.46"),
    ("Table 8, refcoco", "vlt", "all", "65.65 is a mean over sentences"),
    ("Table 8, refcoco", "text_click", "all", "(miou: text_click; overall_iou: lavt; sentence_iou: vlt)"),
    ("Table 7, coco", "text_click", "all", "0.559 to 0.569; those of the same model in Table 1 imply 0.576 to 0.578"),
    ("Table 5, coco", "click_only", "overall", "36.82 on all classes; trained on the seen classes alone, it has 40.34"),
    ("Table 6, openimages", "ritm", "all", "classes of OpenImages: 350 in section 4, 300 in Table 6's caption"),
    ("Table 4, openimages", "text_click", "overall", "does not hold on openimages: -6.83 (57.05 against 63.88)"),
    (
        "Table 2, openimages",
        "seen23",
        "seen, unseen",
        "does not hold on openimages: +7.61 (51.14 against 43.53) less +8.38",
    ),
    ("section 1", "the text", "–", "the paper prints no number of phraseclick"),
    ("Table 5, coco", "click_only", "overall", "One negative click gives click_only +10.31; the text gives +10.35"),
    ("Table 5, coco", "click_only", "overall", "COCO's results are similar\" (section 6.3) does not hold on coco"),
    ("section 3, section 4", "the text", "–", "value of the click map at the click: 0 in section 3, -1 in section 4"),
]


@pytest.mark.parametrize("known", KNOWN, ids=[f"{where} {line}" for where, line, _, _ in KNOWN])
def test_everything_that_is_known_is_found(known: tuple[str, ...]) -> None:
    where, line, means, text = known
    assert [
        one for one in printed_findings() if one[0] == where and line in one[1] and one[2] == means and text in one[3]
    ]


def test_sound_tables_are_left_alone() -> None:
    found = {
        (where, line)
        for where, line, _, text in printed_findings()
        if "does not say which" not in text and "usual split" not in text
    }
    for where in ("Table 1, refcoco", "Table 1, openimages", "Table 1, voc"):
        assert not [one for one in found if one[0] == where]
    assert not [one for one in found if one[0] == "Table 2, openimages" and "seen64" in one[1]]


def test_a_mended_table_has_no_findings_left() -> None:
    rows = [replace(row, flags=(), doubts={}) for row in load_published()]
    sam = next(index for index, row in enumerate(rows) if (row.table, row.dataset, row.method) == (4, "refcoco", "sam"))
    assert [one.rule for one in findings(rows) if one.row == sam] == ["share"]
    rows[sam] = replace(rows[sam], seen=rows[sam].unseen, unseen=rows[sam].seen)
    assert not [one for one in findings(rows) if one.row == sam]


def test_the_implied_share_with_its_bounds() -> None:
    share, low, high = implied_share(57.76, 59.31, 50.73)
    assert low < 2801 / 3422 < high and share == pytest.approx(0.8193, abs=1e-4)
    assert implied_share(50, 50.005, 50)[1:] == (float("-inf"), float("inf"))


def test_the_papers_audit_is_a_table() -> None:
    body = [[cell.text for cell in row.cells] for row in published_audit().body]
    assert len(body) == len({(where, text) for where, _, _, text in printed_findings()}) > len(KNOWN)
    (coco,) = (line for line in body if line[1] == "Table 1, coco")
    assert coco[2] == "text_click (coco, seen); click_only (coco, seen)", "one finding of both lines"


def own(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    built = build_table("audit", rows, Context("demo"))
    return [tuple(cell.text for cell in row.cells[1:]) for row in built.body if row.cells[0].text == "run demo"]


def test_a_sound_run_has_none(pair: pd.DataFrame) -> None:
    assert own(pair) == []
    assert CLEAN in build_table("audit", pair, Context("demo")).notes


@pytest.mark.slow
def test_what_is_wrong_in_a_run_is_found_and_a_footnote_in_its_tables(pair: pd.DataFrame, make_row: Any) -> None:
    copied = pair[pair["method"] == "ours"].assign(method="theirs")
    short = pair[(pair["method"] == "click") & (pair["instance_id"] != "A1")].assign(method="short", boundary_iou=0.9)
    failed = pd.DataFrame([make_row("short", "A1", None)])
    halfless = pair[pair["method"] == "click"].assign(method="halfless", seen=[True, None, None, None], iou=0.33)
    rows = pd.concat([pair, copied, short, failed, halfless])
    found = own(rows)
    for line, metric, text in (
        ("theirs", "iou, boundary_iou", "Every mean equals that of ours"),
        ("short", "iou, boundary_iou", "Over 3 instances, others over 4"),
        ("short", "boundary_iou", "Boundary IoU 90.00 above mask IoU 40.00"),
        ("halfless", "iou, boundary_iou", "3 of 4 instances are neither seen nor unseen"),
    ):
        assert [one for one in found if one[1:3] == (line, metric) and text in one[3]], line
    footnotes = " ".join(build_table("table1", rows, Context("demo")).footnotes)
    assert all(text in footnotes for text in ("Every mean equals", "Over 3 instances", "neither seen nor unseen"))


def test_missing_rows_are_findings(pair: pd.DataFrame) -> None:
    assert [one for one in own(pair.iloc[1:]) if "1 of 4 instances have no row" in one[3]]
