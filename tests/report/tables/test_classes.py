"""Class by class, by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts

CONTEXT = Context("demo", labels={"ours": MethodFacts(True, plugin="text_click"), "click": MethodFacts()})
CLASSES = {"A1": "cup", "A2": "tie", "B1": "cup", "B2": "tie", "C1": "cup"}
OURS = {"A1": 0.9, "A2": 0.5, "B1": 0.8, "B2": 0.3, "C1": 0.7}
CLICK = {"A1": 0.8, "A2": 0.2, "B1": 0.7, "B2": 0.0, "C1": 0.6}


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    plugins = {"ours": "text_click", "click": "click_only"}
    return pd.DataFrame(
        [
            make_row(method, name, iou, method_plugin=plugins[method], category=CLASSES[name])
            for method, ious in (("ours", OURS), ("click", CLICK))
            for name, iou in ious.items()
        ]
    )


def texts(rows: pd.DataFrame) -> list[list[str]]:
    return [[cell.text for cell in row.cells][1:] for row in build_table("classes", rows, CONTEXT).body]


@pytest.mark.slow
def test_means_over_classes_and_every_class(rows: pd.DataFrame) -> None:
    built = build_table("classes", rows, CONTEXT)
    assert built.headings[4:] == ("mIoU@1 ours", "mIoU@1 click", "Gain over click ours")
    assert [line[:5] for line in texts(rows)] == [
        ["mean over 2 classes", "all", "5", "60.00", "40.00"],  # over instances 64 and 46
        ["mean over 1 class", "seen", "3", "80.00", "70.00"],
        ["mean over 1 class", "unseen", "2", "40.00", "10.00"],
        ["cup", "seen", "3", "80.00", "70.00"],
        ["tie", "unseen", "2", "40.00", "10.00"],
    ]
    gains = [line[5].partition(" ")[0] for line in texts(rows)]
    assert gains == ["+20.00", "+10.00", "+30.00", "+10.00", "+30.00"]
    values = [row.cells[6].value for row in build_table("classes", rows, CONTEXT).body]
    assert values == pytest.approx([0.2, 0.1, 0.3, 0.1, 0.3])


def test_missing_rows_leave_no_mean(rows: pd.DataFrame) -> None:
    lines = texts(rows[~((rows["method"] == "click") & (rows["instance_id"] == "C1"))])
    assert {line[4] for line in lines} == {"–"} and {line[5] for line in lines} == {""}
    assert lines[0][3] == "60.00"


def test_no_split_leaves_one_mean(rows: pd.DataFrame) -> None:
    lines = texts(rows.assign(seen=None))
    assert [line[1] for line in lines] == ["all", "", ""]


@pytest.mark.slow
def test_a_class_that_only_some_methods_saw_is_seen_by_method(rows: pd.DataFrame) -> None:
    """The first method was trained on all classes and has no halves, or each has those of its own training."""
    none = rows.assign(seen=rows["seen"].astype(object).mask(rows["method"] == "ours", None))
    assert [line[:2] for line in texts(none)[3:]] == [["cup", "seen"], ["tie", "unseen"]]
    more = rows.assign(seen=rows["seen"] | (rows["method"] == "ours"))
    assert [line[:5] for line in texts(more)[1:]] == [
        ["mean over 2 classes", "seen", "5", "60.00", "70.00"],
        ["mean over 1 class", "unseen", "2", "–", "10.00"],
        ["cup", "seen", "3", "80.00", "70.00"],
        ["tie", "by method", "2", "40.00", "10.00"],
    ]


def test_instances_without_a_class_are_no_class(rows: pd.DataFrame) -> None:
    some = rows.assign(category=rows["category"].where(rows["category"] == "cup", ""), seen=None)
    assert [line[:4] for line in texts(some)] == [["mean over 1 class", "all", "3", "80.00"], ["cup", "", "3", "80.00"]]
    built = build_table("classes", rows.assign(category=""), CONTEXT)
    assert not built.body and built.notes == ("No instance of this run was scored and has a class.",)
