"""Means of paired differences, and their difference between two parts of the instances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from harness.statistics.contrasts import contrast, mean_gain, paired, share_of

CLICK, OTHER = ([{"x": x, "y": 5, "positive": True}] for x in (3, 4))


def rows(scores: dict[str, float], clicks: object = CLICK) -> pd.DataFrame:
    """A row an instance, whose image is the first letter of its name."""
    return pd.DataFrame(
        [
            {"dataset": "toy", "image_id": name[0], "instance_id": name, "iou": score, "clicks": clicks}
            for name, score in scores.items()
        ]
    )


def test_pairs_are_of_one_instance_and_the_same_clicks() -> None:
    a = pd.concat([rows({"A1": 0.9, "B1": 0.5}), rows({"C1": 0.8}, OTHER)], ignore_index=True)
    b = rows({"A1": 0.7, "C1": 0.1, "D1": 0.2})
    found = paired(a, b)
    assert list(found["instance_id"]) == ["A1"] and found["gain"].tolist() == pytest.approx([0.2])
    assert list(paired(a, b, same_clicks=False)["instance_id"]) == ["A1", "C1"]


def test_what_only_one_method_saw_is_neither_seen_nor_unseen() -> None:
    a, b = rows({"A1": 0.9, "B1": 0.5, "C1": 0.4}), rows({"A1": 0.7, "B1": 0.1, "C1": 0.2})
    found = paired(a.assign(seen=[True, False, False]), b.assign(seen=[True, True, None]))
    assert found["seen"].tolist() == [True, None, False] and len(found) == 3


def test_later_clicks_may_follow_the_masks_but_not_another_rule() -> None:
    first, (cup, fork) = CLICK[0], ({"x": x, "y": 9, "positive": True} for x in (1, 2))
    a, b = rows({"A1": 0.9, "B1": 0.5}), rows({"A1": 0.7, "B1": 0.5})
    a["clicks"], b["clicks"] = pd.Series([[first, cup], [first, cup]]), pd.Series([[first, fork], [first, cup]])
    assert paired(a, b)["gain"].tolist() == pytest.approx([0.2, 0.0]), "not the instance alone that is alike by chance"
    assert paired(a.assign(click_index=2), b.assign(click_index=[1, 2]))["instance_id"].tolist() == ["B1"]
    named = {"click_strategy": "ritm/v1", "click_options": None}
    assert len(paired(a.assign(**named), b.assign(**named))) == 2
    assert paired(a.assign(**named), b.assign(**named | {"click_options": '{"margin": 0}'})).empty
    assert paired(a.assign(**named), b.assign(**named | {"click_strategy": "sam/v1"})).empty


def test_an_instance_with_a_draw_that_cannot_be_compared_is_left_out() -> None:
    a = pd.concat([rows({"A1": iou, "B1": 0.5}).assign(draw=draw) for draw, iou in enumerate((0.9, 0.5))])
    b = a.assign(iou=0.1)
    assert len(paired(a, b)) == 4
    for odd in (b.assign(iou=[0.1, 0.1, None, 0.1]), b.assign(clicks=[CLICK, CLICK, OTHER, CLICK])):
        assert paired(a, odd)["instance_id"].tolist() == ["B1", "B1"]


@pytest.mark.usefixtures("two_images_do")
def test_a_contrast_is_the_difference_of_two_means() -> None:
    more = rows({"A1": 0, "A2": 0, "B1": 0}).assign(gain=[0.4, 0.2, 0.6])
    less = rows({"B2": 0, "C1": 0}).assign(gain=[0.1, 0.3])
    found = contrast(more, less)
    assert (found.difference, found.n) == (pytest.approx(0.4 - 0.2), 5)
    assert found.low < 0.2 < found.high


def test_each_part_needs_as_many_images_as_an_interval() -> None:
    more = rows(dict.fromkeys("ABCDEFGHIJ", 0)).assign(gain=[0.1, 0.3] * 5)
    gains = [0.1, 0.1, 0.2, 0.1, 0.0]
    few, enough = (
        contrast(more, rows(dict.fromkeys("KLMNO"[:images], 0)).assign(gain=gains[:images])) for images in (4, 5)
    )
    assert (few.difference, few.n) == (pytest.approx(0.2 - 0.125), 14) and np.isnan([few.low, few.high]).all()
    of_four = contrast(more, rows(dict.fromkeys(["K1", "K2", "L", "M", "N"], 0)).assign(gain=gains))
    assert np.isnan([of_four.low, of_four.high]).all()
    assert (enough.difference, enough.n) == (pytest.approx(0.1), 15) and enough.low < 0.1 < enough.high


@pytest.mark.usefixtures("two_images_do")
def test_equal_gains_have_no_spread() -> None:
    found = contrast(rows({"A1": 0, "B1": 0}).assign(gain=0.5), rows({"A2": 0, "C1": 0}).assign(gain=0.1))
    assert (found.difference, found.low, found.high) == pytest.approx((0.4, 0.4, 0.4))


def test_over_nothing_there_is_none() -> None:
    none = rows({"A1": 0}).assign(gain=0.1).iloc[:0]
    some = rows({"A1": 0}).assign(gain=0.1)
    for more, less in ((none, none), (some, none), (none, some)):
        assert np.isnan(contrast(more, less).difference) and contrast(more, less).n == 0
    assert np.isnan(mean_gain(none).low) and mean_gain(some).difference == pytest.approx(0.1)


def test_one_image_has_no_interval() -> None:
    one = rows({"A1": 0, "A2": 0}).assign(gain=[0.1, 0.2])
    assert np.isnan(contrast(one, one).low) and np.isnan(mean_gain(one).low)


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Images that share a shift, instances of both parts in each: of 60 draws 95 % within what chance allows."""
    rng = np.random.default_rng(0)
    names = [f"{chr(65 + image)}{part}{at}" for image in range(40) for part in "ml" for at in range(3)]
    frame = rows(dict.fromkeys(names, 0.0))
    held = 0
    for _ in range(60):
        shift = {name[0]: rng.normal(0, 0.1) for name in names}
        gains = [0.1 * (name[1] == "m") + shift[name[0]] + rng.normal(0, 0.1) for name in names]
        drawn = frame.assign(gain=gains)
        more = drawn["instance_id"].str[1] == "m"
        found = contrast(drawn[more], drawn[~more])
        held += found.low <= 0.1 <= found.high
    assert 52 <= held <= 60


@pytest.mark.usefixtures("two_images_do")
def test_a_share_is_the_ratio_of_two_sums_over_the_same_instances() -> None:
    some = rows({"A1": 0, "A2": 0, "B1": 0}).assign(gain=[0.2, 0.0, 0.8])
    whole = rows({"A1": 0, "B1": 0, "C1": 0}).assign(gain=[0.4, 1.6, 9.0])
    found = share_of(some, whole)
    assert (found.difference, found.n) == (pytest.approx(1.0 / 2.0), 2)
    assert found.low == pytest.approx(0.5) and found.high == pytest.approx(0.5)  # half in either image
    uneven = share_of(some.assign(gain=[0.4, 0.0, 0.0]), whole)
    assert uneven.difference == pytest.approx(0.4 / 2.0) and uneven.low < 0.2 < uneven.high


@pytest.mark.parametrize("gain", [[0.0, 0.0], [-0.3, 0.1]])
def test_nothing_is_a_share_of_no_gain(gain: list[float]) -> None:
    found = share_of(rows({"A1": 0, "B1": 0}).assign(gain=0.2), rows({"A1": 0, "B1": 0}).assign(gain=gain))
    assert found.n == 0 and np.isnan(found.difference)
