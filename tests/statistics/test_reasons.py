"""Reasons of failures are counted by kind; what is odd about the other rows is said where it means something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from harness.statistics.reasons import LEAST_MASKS, doubts, reasons

Make = Callable[..., dict[str, Any]]


def test_reasons_that_differ_in_names_and_numbers_are_one(make_row: Make) -> None:
    told = [
        "load: OSError: cannot open '/data/a.jpg' (mine.py, line 7)",
        "segment: ValueError: predict returned uint8 (48, 32); wanted bool (k, 32, 48).",
        "load: OSError: cannot open '/data/b.jpg' (mine.py, line 7)",
        "load: OSError: cannot open '/data/c.jpg' (mine.py, line 7)",
    ]
    rows = [make_row("ours", f"{letter}1", None, error=error) for letter, error in zip("ABCD", told, strict=True)]
    twice = make_row("ours", "A1", None, error="segment: another draw of the same instance", draw=1)
    found = reasons(pd.DataFrame([*rows, twice, make_row("ours", "E1", 0.5), make_row("other", "A1", None)]))
    assert [(one.method, one.instances, one.text, one.image_id) for one in found] == [
        ("ours", 3, told[0], "A"),
        ("ours", 1, told[1], "B"),
        ("other", 1, "out of memory", "A"),
    ]
    assert reasons(pd.DataFrame([make_row("ours", "E1", 0.5)])) == []


def masks(make: Make, count: int, outside: int, **given: Any) -> pd.DataFrame:
    """As many rows of a method, some of whose masks miss the click."""
    known = {"holds_click": True, "click_depth_px": 3.0, "pred_area_px": 9, "text_rule": "given", "retried": None}
    return pd.DataFrame(
        [make("ours", f"A{n}", 0.5, **{**known, "holds_click": n >= outside, **given}) for n in range(count)]
    )


def test_a_method_whose_masks_miss_most_clicks_is_named(make_row: Make) -> None:
    (said,) = doubts(masks(make_row, 20, 11))
    assert said.startswith("ours on toy: in 11 of 20 rows the first click lies on the object and outside of the mask.")
    assert doubts(masks(make_row, 20, 10)) == []  # half is not most
    assert len(doubts(masks(make_row, LEAST_MASKS, LEAST_MASKS))) == 1
    assert doubts(masks(make_row, LEAST_MASKS - 1, LEAST_MASKS - 1)) == []


@pytest.mark.parametrize(
    "given",
    [
        {"click_depth_px": 0.0},  # the rule puts the click off the object
        {"pred_area_px": 0},  # an empty mask is another fault
        {"text_rule": "wrong_present"},  # the words mean another object
        {"ranking": "oracle"},
        {"holds_click": None},  # negative clicks alone, or rows of before there was the column
    ],
)
def test_a_miss_that_means_nothing_is_not_said(make_row: Make, given: dict[str, Any]) -> None:
    assert doubts(masks(make_row, 20, 20)) and doubts(masks(make_row, 20, 20, **given)) == []


def test_later_clicks_do_not_count(make_row: Make) -> None:
    rows = pd.concat([masks(make_row, 20, 0), masks(make_row, 20, 20, click_index=2)])
    assert doubts(rows) == []


def test_answers_at_a_second_try_are_counted_by_instance(make_row: Make) -> None:
    rows = masks(make_row, 3, 0)
    rows.loc[:1, "retried"] = "segment: RuntimeError: now and then (mine.py, line 3)"
    assert doubts(pd.concat([rows, rows.assign(draw=1)])) == [
        "ours on toy: 2 of 3 instances were answered at a second try only, the first of them after segment: "
        "RuntimeError: now and then (mine.py, line 3)"
    ]
    assert doubts(rows.drop(columns=["retried", "holds_click"])) == []


def test_a_method_that_may_follow_its_words_is_not_asked_about_its_clicks(make_row: Make) -> None:
    rows = masks(make_row, 20, 20)
    assert len(doubts(rows)) == len(doubts(rows, {"other"})) == 1 and doubts(rows, {"ours"}) == []
