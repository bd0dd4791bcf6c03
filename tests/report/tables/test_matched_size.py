"""Seen and unseen classes at matched size, by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context

AREAS = {"A1": 1000, "B1": 1000, "C1": 20, "A2": 1000, "B2": 20, "C2": 20, "D2": 3}
IOUS = {"A1": 0.9, "B1": 0.9, "C1": 0.3, "A2": 0.9, "B2": 0.3, "C2": 0.3, "D2": 0.1}
"""IoU goes with size alone. Seen objects are large, unseen ones small."""


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    return pd.DataFrame([make_row("m", name, iou, gt_area_px=AREAS[name]) for name, iou in IOUS.items()])


def texts(rows: pd.DataFrame) -> list[str]:
    (line,) = build_table("matched_size", rows, Context("demo")).body
    return [cell.text for cell in line.cells][3:]


def test_a_gap_that_is_size_alone_vanishes(rows: pd.DataFrame) -> None:
    thrice = pd.concat([rows.assign(image_id=rows["image_id"] + turn) for turn in "abc"], ignore_index=True)
    seen, unseen, gap, seen_matched, unseen_matched, gap_matched, n, left_out = texts(thrice)
    assert (seen, unseen) == ("70.00", "40.00") and gap.startswith("+30.00 [")
    assert seen_matched == unseen_matched == "60.00"
    assert gap_matched == "+0.00 [+0.00, +0.00]"
    assert (n, left_out) == ("18", "3")  # no seen object is as small as D2


def test_two_images_show_a_gap_and_no_interval(rows: pd.DataFrame) -> None:
    assert texts(rows) == [
        *("70.00", "40.00", "+30.00 from fewer than 5 images"),
        *("60.00", "60.00", "+0.00 from fewer than 5 images", "6", "1"),
    ]


def test_without_a_split_or_a_common_size_there_is_no_gap(rows: pd.DataFrame) -> None:
    assert texts(rows.assign(seen=None)) == ["–"] * 6 + ["0", "0"]
    apart = rows[~rows["instance_id"].isin(["C1", "A2"])]
    assert texts(apart)[3:] == ["–"] * 3 + ["0", "5"]
