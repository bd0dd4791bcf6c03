"""What answers took: the example of harness/statistics/costs.py, counted by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from harness.statistics.costs import encodings_ms, ms_an_instance, s_per_1000_masks

ROWS = pd.DataFrame(
    {
        "dataset": "d",
        "image_id": "1",
        "instance_id": ["a", "a", "b", "c"],
        "status": ["ok", "ok", "ok", "failed"],
        "encode_ms": [30.0, 30.0, 30.0, 30.0],
        "segment_ms": [2.0, 4.0, 6.0, None],
    }
)


def test_an_image_is_encoded_once_and_each_click_answered() -> None:
    assert ms_an_instance(ROWS) == pytest.approx(21)
    assert s_per_1000_masks(ROWS) == pytest.approx(14)
    other = pd.concat([ROWS, ROWS.assign(image_id="2", instance_id=["d", "d", "e", "f"])])
    assert s_per_1000_masks(other) == pytest.approx(14) and ms_an_instance(other) == pytest.approx(21)


def test_an_image_whose_first_instance_failed_counts_by_the_next() -> None:
    failed = {"status": ["failed", "ok", "ok", "failed"], "encode_ms": [None, 30.0, 30.0, None]}
    rows = pd.concat([ROWS.assign(**failed), ROWS.assign(dataset="e", encode_ms=50.0), ROWS[3:].assign(encode_ms=None)])
    assert encodings_ms(rows).tolist() == [30.0, 50.0]


def test_of_several_draws_an_instance_takes_the_mean_and_each_mask_counts() -> None:
    draws = pd.concat([ROWS.assign(draw=0), ROWS.assign(draw=1)], ignore_index=True)
    assert ms_an_instance(draws) == pytest.approx(21)
    assert s_per_1000_masks(draws) == pytest.approx((30 + 2 * 12) / 6)


def test_rows_without_times_tell_nothing() -> None:
    for rows in (ROWS[3:], ROWS.drop(columns="encode_ms"), ROWS.assign(segment_ms=[2.0, None, 6.0, None])):
        assert math.isnan(ms_an_instance(rows)) and math.isnan(s_per_1000_masks(rows))
