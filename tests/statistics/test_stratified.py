"""Weighted means of strata, by hand and against the bootstrap that they stand for."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from harness.statistics.resampling import interval_of_means
from harness.statistics.stratified import class_mean, matched_weights, octave, stratified

HAND = pd.DataFrame(
    {
        "dataset": "toy",
        "image_id": ["1", "1", "2", "2", "3"],
        "instance_id": list("abcde"),
        "category": ["cup", "cup", "cup", "tie", "tie"],
        "iou": [0.9, 0.7, 0.8, 0.3, 0.5],
    }
)


@pytest.mark.usefixtures("two_images_do")
def test_each_class_counts_once() -> None:
    found = class_mean(HAND)
    assert (found.difference, found.n) == (pytest.approx((0.8 + 0.4) / 2), 5)
    assert found.low < 0.6 < found.high
    gone = HAND.assign(iou=[0.9, 0.7, 0.8, None, None])
    assert class_mean(gone).difference == pytest.approx(0.8)  # and not the mean of 0.8 and nothing


def test_over_nothing_there_is_none_and_of_one_image_no_interval() -> None:
    assert math.isnan(class_mean(HAND.iloc[:0]).difference)
    assert math.isnan(class_mean(HAND.iloc[:2]).low)


def test_the_interval_is_that_of_influences_counted_by_hand() -> None:
    rows = pd.DataFrame({"dataset": "toy", "image_id": [*list("12345"), "1"], "category": ["cup"] * 5 + ["tie"]})
    found = class_mean(rows.assign(iou=[0.1, 0.2, 0.3, 0.4, 0.5, 0.9]))
    # A cup moves the mean by 1/2 * (its IoU - 0.3) / 5. The tie is in one image, so it counts from the mean of the two
    # classes, 0.6: 1/2 * (0.9 - 0.6) / 1. The images' influences are 0.13, -0.01, 0, 0.01 and 0.02, together 0.15.
    low, high = interval_of_means(5 * (np.array([0.13, -0.01, 0.0, 0.01, 0.02]) - 0.03), np.ones(5))
    assert [found.difference, found.low, found.high] == pytest.approx([0.6, 0.6 + low, 0.6 + high])


@pytest.mark.slow
def test_classes_of_one_image_widen_the_interval_as_the_others_do() -> None:
    rng = np.random.default_rng(3)
    images, classes = 20, 12
    # Classes 0 to 5 are in every image, 6 to 11 in one image each. The truth is the mean of 0.3, 0.35, ..., 0.85.
    image = np.concatenate([np.repeat(np.arange(images), 6), np.arange(6)])
    category = np.concatenate([np.tile(np.arange(6), images), np.arange(6, classes)])
    held = 0
    for _ in range(100):
        ious = 0.3 + 0.05 * category + rng.normal(0, 0.1, size=len(category))
        found = class_mean(pd.DataFrame({"dataset": "toy", "image_id": image, "category": category, "iou": ious}))
        held += found.low < 0.575 < found.high
    assert 90 <= held <= 100  # 43 where a class of one image adds no width


@pytest.mark.slow
def test_the_interval_is_that_of_drawn_images() -> None:
    rng = np.random.default_rng(0)
    images, classes = np.repeat(np.arange(60), 4), rng.integers(3, size=240)
    ious = 0.2 * classes + 0.1 * rng.random(60)[images] + 0.3 * rng.random(240)
    known = {"dataset": "toy", "image_id": images, "category": classes.astype(str), "iou": ious}
    rows = pd.DataFrame(known)
    drawn = []
    for _ in range(1000):
        some = np.concatenate([np.arange(4 * image, 4 * image + 4) for image in rng.integers(60, size=60)])
        drawn.append(rows.iloc[some].groupby("category")["iou"].mean().mean())
    found = class_mean(rows)
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.006)


def test_size_bins_double() -> None:
    assert octave(pd.Series([0.0, 1, 2, 3, 4, 1023, 1024])).tolist()[1:] == [0, 1, 1, 2, 9, 10]
    assert math.isnan(octave(pd.Series([0.0]))[0])
    assert octave(pd.Series([8.0, 64.0], index=[5, 3])).to_dict() == {5: 3, 3: 6}  # rows that were filtered


def test_a_bin_weighs_the_same_in_both_halves_and_needs_both() -> None:
    bins = pd.Series([1.0, 1, 1, 2, 2, 3])
    seen = pd.Series([True, True, False, True, False, False])
    assert matched_weights(bins, seen) == {1.0: pytest.approx(4 / 7), 2.0: pytest.approx(3 / 7)}  # 2/3 and 1/2
    assert matched_weights(bins[:2], seen[:2]) == {}


def test_a_gap_is_a_sum_with_weights_of_both_signs() -> None:
    found = stratified(HAND, "iou", HAND["category"], {"cup": 1.0, "tie": -1.0})
    assert found.difference == pytest.approx(0.4)
    assert stratified(HAND, "iou", HAND["category"], {"cup": 1.0}).n == 3
