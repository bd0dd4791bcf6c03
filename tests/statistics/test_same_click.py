"""Both answers to one click, by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from harness.statistics.same_click import asked, pairs
from harness.structures import UserError

CLICK = [{"x": 3, "y": 5, "positive": True}]


def answer(make_row: Any, one: str, other: str, iou: float, partner_iou: float, **more: Any) -> dict[str, Any]:
    known = {"partner": other, "partner_iou": partner_iou, "shared_px": 90, "pred_area_px": 50, "clicks": CLICK}
    return make_row("m", one, iou, **(known | {"gt_area_px": 1000 if one.endswith("1") else 100} | more))


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    return pd.DataFrame(
        [
            # A: each mask is of its own object, and 90 of the 100 pixels of A2 lie in A1.
            answer(make_row, "A1", "A2", 0.9, 0.1, pred_area_px=900),
            answer(make_row, "A2", "A1", 0.8, 0.1),
            # B: one mask for both words, that of B2; 89 of the 100 pixels of B2 lie in B1.
            answer(make_row, "B1", "B2", 0.1, 0.8, shared_px=89),
            answer(make_row, "B2", "B1", 0.8, 0.1, shared_px=89),
            # C: other masks, both nearer to C1.
            answer(make_row, "C1", "C2", 0.49, 0.1),
            answer(make_row, "C2", "C1", 0.2, 0.3),
        ]
    )


def test_pairs_by_hand(rows: pd.DataFrame) -> None:
    found = pairs(rows).set_index("image_id")
    assert found[["both", "one", "none"]].to_numpy().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert found["mask"].tolist() == [1, 0, 1]
    assert found["object"].tolist() == [1, 0, 0]
    assert found["nested"].tolist() == [True, False, True]


def test_an_instance_counts_once_a_partner(rows: pd.DataFrame, make_row: Any) -> None:
    more = [answer(make_row, "A1", "A3", 0.5, 0.1, draw=1), answer(make_row, "A3", "A1", 0.2, 0.1)]
    found = pairs(pd.concat([rows, pd.DataFrame(more)]))
    assert found[["instance_id", "partner", "one"]].to_numpy().tolist()[:2] == [["A1", "A2", 0], ["A1", "A3", 1]]
    assert len(found) == asked(pd.concat([rows, pd.DataFrame(more)])) == 4


def test_a_mask_that_meets_neither_object_is_of_neither(make_row: Any) -> None:
    rows = [answer(make_row, "A1", "A2", 0.0, 0.0), answer(make_row, "A2", "A1", 0.8, 0.1)]
    assert pairs(pd.DataFrame(rows))[["mask", "object"]].to_numpy().tolist() == [[1, 0]]


@pytest.mark.parametrize(("ious", "both"), [((0.5, 0.5), 1), ((0.5, 0.49), 0), ((0.49, 0.5), 0)])
def test_a_mask_is_right_from_one_half_on(make_row: Any, ious: tuple[float, float], both: float) -> None:
    rows = [answer(make_row, "A1", "A2", ious[0], 0.1), answer(make_row, "A2", "A1", ious[1], 0.1)]
    assert pairs(pd.DataFrame(rows))[["both", "one"]].to_numpy().tolist() == [[both, 1 - both]]


def test_a_pair_of_which_one_failed_is_asked_and_not_answered(rows: pd.DataFrame) -> None:
    rows.loc[rows["instance_id"] == "C2", "status"] = "failed"
    assert asked(rows) == 3
    assert pairs(rows[rows["status"] == "ok"])["image_id"].tolist() == ["A", "B"]


def test_two_clicks_are_refused(rows: pd.DataFrame) -> None:
    rows["clicks"] = [CLICK] * 5 + [[{"x": 4, "y": 5, "positive": True}]]
    with pytest.raises(UserError, match=r"'C1' and 'C2' of image 'C' had different clicks; wanted one"):
        pairs(rows)
