"""Clicks needed: by hand, and as RITM's own function counts them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics.clicks_needed import sequences
from harness.structures import UserError

LADDER = (0.2, 0.8, 0.85, 0.85, 0.95)


def rows(*ious: Sequence[float | None], step: int = 1) -> pd.DataFrame:
    """An instance a sequence; None is a click that failed."""
    return pd.DataFrame(
        [
            {
                "dataset": "toy",
                "image_id": str(number // 2),
                "instance_id": str(number),
                "click_index": (index + 1) * step,
                "iou": iou,
                "status": "failed" if iou is None else "ok",
            }
            for number, sequence in enumerate(ious)
            for index, iou in enumerate(sequence)
        ]
    )


def test_by_hand() -> None:
    found = sequences(rows(LADDER, (0.9, 0.1, 0.1, 0.1, 0.1), (0.1, 0.2, 0.3, 0.4, 0.5)))
    assert found.ious.shape == (3, 5) and found.failed == 0
    assert found.noc(0.8) == pytest.approx((2 + 1 + 5) / 3)
    assert found.noc(0.85) == pytest.approx((3 + 1 + 5) / 3)
    assert found.noc(0.95) == pytest.approx((5 + 5 + 5) / 3)
    assert (found.nof_ritm(0.95), found.nof_strict(0.95)) == (3, 2)  # one is good enough at the last click
    assert (found.nof_ritm(0.9), found.nof_strict(0.9)) == (2, 1)
    assert (found.nof_ritm(0.8), found.nof_strict(0.8)) == (1, 1)
    means = found.ious[:, [0, 4]].mean(axis=0)
    assert list(means) == pytest.approx([(0.2 + 0.9 + 0.1) / 3, (0.95 + 0.1 + 0.5) / 3])
    areas = [sum(LADDER) - (0.2 + 0.95) / 2, 0.9 / 2 + 0.3 + 0.05, 1.5 - 0.3]
    assert found.areas().mean() == pytest.approx(sum(areas) / 3 / 4)


def test_the_same_protocol_over_no_instance() -> None:
    empty = sequences(rows(LADDER, (0.1, 0.2, 0.3, 0.4, None))).none()
    assert np.isnan(empty.noc(0.9)) and (empty.nof_ritm(0.9), empty.nof_strict(0.9)) == (0, 0)
    assert empty.ious.shape == empty.drawn.shape == (0, 5) and not len(empty.areas()) and not len(empty.instances)
    assert (list(empty.clicks), empty.failed) == ([1, 2, 3, 4, 5], 1)


def test_several_clicks_a_round() -> None:
    found = sequences(rows((0.2, 0.9, 0.95), (0.1, 0.2, 0.3), step=3))
    assert list(found.clicks) == [3, 6, 9]
    assert found.noc(0.9) == (6 + 9) / 2
    assert (found.nof_ritm(0.9), found.nof_strict(0.9)) == (1, 1)
    assert found.ious[:, 1].mean() == pytest.approx(0.55)
    assert found.areas().mean() == pytest.approx(((0.55 + 0.925) / 2 + (0.15 + 0.25) / 2) / 2)


def test_an_instance_fails_by_the_share_of_its_draws_that_do() -> None:
    # Both draws of the first fail, one of the second's two, and of the third's one is good enough at the last click.
    first, second = rows((0.1, 0.2), (0.1, 0.2), (0.1, 0.9)), rows((0.3, 0.4), (0.9, 0.9), (0.9, 0.9))
    found = sequences(pd.concat([first.assign(draw=0), second.assign(draw=1)]))
    assert found.needed(0.9).tolist() == [2, 1.5, 1.5]
    assert (found.nof_ritm(0.9), found.nof_strict(0.9)) == (2, 2)  # 1 + 1/2 + 1/2, and 1 + 1/2 rounded
    said = found.nof_ritm(0.2), found.nof_strict(0.2)
    assert said == (2, 0) and set(map(type, said)) == {int}  # 1/2 + 1/2 + 1/2 rounded
    assert found.areas().tolist() == pytest.approx([0.25, (0.15 + 0.9) / 2, (0.5 + 0.9) / 2])


def test_a_broken_sequence_counts_as_failed() -> None:
    found = sequences(rows((0.5, 0.6, 0.7), (0.5, None), (None,), (0.9, 0.9)))
    assert found.ious.tolist() == [[0.5, 0.6, 0.7]] and found.failed == 3
    all_broken = sequences(rows((0.5, 0.6, None), (0.5, 0.7, None)))
    assert len(all_broken.ious) == 0 and all_broken.failed == 2


def test_a_draw_without_a_score_counts_as_failed() -> None:
    ladders = rows((0.5, 0.9), (0.5, 0.6))
    unscored = ladders.assign(draw=1, iou=ladders["iou"].where(ladders["instance_id"] != "1"))
    found = sequences(pd.concat([ladders.assign(draw=0), unscored]))
    assert (found.failed, found.ious.tolist(), found.noc(0.9)) == (1, [[0.5, 0.9]], 2)


def test_nothing_is_no_number() -> None:
    for some in (rows((None,), (None,)), rows((0.5, 0.6)).iloc[:0]):
        found = sequences(some)
        assert found.failed == len(some)
        assert np.isnan(found.noc(0.9)) and not len(found.areas())
        assert found.nof_ritm(0.9) == found.nof_strict(0.9) == 0
    assert np.isnan(sequences(rows((0.5,), (0.7,))).areas()).all()


def test_two_rows_after_one_click_are_refused() -> None:
    with pytest.raises(UserError, match="two rows after click 1"):
        sequences(pd.concat([rows((0.5,)), rows((0.6,))]))


def published(ious: np.ndarray, quality: float, most: int) -> tuple[float, int]:
    """What RITM's `compute_noc_metric` says, written from its definition: NoC and its count at the last click."""
    reached = [next((k for k, iou in enumerate(one, 1) if iou >= np.float32(quality)), most) for one in ious]
    return float(np.mean(reached)), reached.count(most)


@pytest.mark.slow
@settings(max_examples=40, derandomize=True)
@given(st.lists(st.lists(st.integers(0, 20), min_size=20, max_size=20), min_size=1, max_size=6))
def test_as_ritm_counts(steps: list[list[int]]) -> None:
    """Steps of 0.05 are its thresholds: 0.85 in float64 is below its 0.8500000000000001, and reaches it in float32."""
    ious = np.array(steps) / 20
    found = sequences(rows(*ious))
    for quality in np.arange(0.8, 0.95 + 0.001, 0.05).tolist():
        assert (found.noc(quality), found.nof_ritm(quality)) == published(ious.astype(np.float32), quality, 20)
        assert found.noc(round(quality, 2)) == found.noc(quality)
