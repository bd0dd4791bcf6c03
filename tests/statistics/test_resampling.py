"""Intervals and tests of plain arrays: what they say of draws whose truth is known."""

import numpy as np
import pytest

from harness.statistics.resampling import benjamini_hochberg, holm, interval_of_means, intervals_of_means, sign_flip_p


@pytest.mark.parametrize("images", [10, 60, 300])
def test_the_interval_covers_the_mean_of_clustered_data(images: int) -> None:
    rng, draws = np.random.default_rng(11), 500
    counts = rng.integers(1, 6, size=(images, draws)).astype(float)
    sums = counts * rng.normal(0.5, 0.1, size=counts.shape) + rng.normal(0, 0.1 * np.sqrt(counts))
    low, high = intervals_of_means(sums, counts, resamples=1000)
    assert 0.93 <= ((low <= 0.5) & (high >= 0.5)).mean() <= 0.97


@pytest.mark.parametrize("images", [10, 60, 300])
def test_the_test_is_wrong_in_5_of_100_and_stronger_where_there_is_more(images: int) -> None:
    rng, draws = np.random.default_rng(12), 1000
    counts = rng.integers(1, 6, size=(images, draws)).astype(float)
    nothing = counts * rng.normal(0, 0.1, size=counts.shape) + rng.normal(0, 0.1 * np.sqrt(counts))
    p = sign_flip_p(nothing)
    assert 0.03 <= (p < 0.05).mean() <= 0.07
    assert np.mean(p) == pytest.approx(0.5, abs=0.05)
    assert (sign_flip_p(nothing + 0.05 * counts) < 0.05).mean() > 0.15


def test_the_interval_is_as_wide_as_theory_says() -> None:
    sums = np.random.default_rng(5).normal(0.5, 0.1, size=400)
    low, high = interval_of_means(sums, np.ones(400))
    assert high - low == pytest.approx(2 * 1.966 * sums.std(ddof=1) / np.sqrt(400), rel=0.04)


def test_few_images_are_as_wide_as_student_says() -> None:
    rng, ratios = np.random.default_rng(6), []
    for _ in range(60):
        sums = rng.normal(0.5, 0.1, size=8)
        low, high = interval_of_means(sums, np.ones(8), 4000)
        ratios.append((high - low) / (2 * 2.365 * sums.std(ddof=1) / np.sqrt(8)))
    assert 0.94 < np.mean(ratios) < 1  # 0.91 without the factor for the variance of drawn means


@pytest.mark.slow
def test_too_few_images_have_no_interval() -> None:
    rng = np.random.default_rng(7)
    for images, least in ((2, 0.45), (3, 0.7), (4, 0.8)):
        sums = rng.normal(0.5, 0.1, size=(images, 1000))
        assert np.isnan(intervals_of_means(sums, np.ones_like(sums))).all()
        # All images' means lie on one side of the truth in 2 of 2^images cases: no drawing of them reaches it.
        assert least < ((sums.min(axis=0) < 0.5) & (sums.max(axis=0) > 0.5)).mean() < least + 0.1
    five = rng.normal(0.5, 0.1, size=(5, 1000))
    low, high = intervals_of_means(five, np.ones_like(five))
    assert 0.91 < ((low < 0.5) & (high > 0.5)).mean() < 0.97


def test_five_images_have_an_interval_and_four_have_none() -> None:
    counts = np.array([[1.0, 1], [1, 1], [1, 1], [1, 1], [1, 0]])
    low, high = intervals_of_means(counts * np.array([[0.1], [0.2], [0.3], [0.4], [0.5]]), counts)
    assert low[0] < 0.3 < high[0] and np.isnan([low[1], high[1]]).all()


def test_an_image_weighs_as_many_instances_as_it_holds() -> None:
    counts = np.repeat([9.0, 1.0], 100)
    low, high = interval_of_means(counts * np.repeat([0.2, 0.8], 100), counts)
    assert low < 0.26 < high < 0.5


def test_columns_do_not_hear_of_each_other() -> None:
    rng = np.random.default_rng(8)
    counts = rng.integers(0, 3, size=(50, 4)).astype(float)
    counts[:, 3] = 0
    counts[0, 2:] = (1, 1)
    counts[1:, 2] = 0
    sums = counts * rng.random((50, 4))
    low, high = intervals_of_means(sums, counts)
    assert np.isnan([low[2], high[2], low[3], high[3]]).all()
    assert (low[0], high[0]) == pytest.approx(interval_of_means(sums[:, 0], counts[:, 0]))


def test_nothing_says_nothing() -> None:
    none = np.empty((0, 2))
    assert np.isnan(intervals_of_means(none, none)).all()
    assert np.isnan(sign_flip_p(none)).all()
    assert sign_flip_p(np.zeros((5, 1))).tolist() == [1.0]


def test_p_by_counting_every_flip() -> None:
    sums = np.array([0.5, 0.1, 0.2, -0.1, 0.3, 0.25, 0.05, 0.15])
    signs = 1 - 2 * (np.arange(256)[:, None] >> np.arange(8) & 1)
    exact = (np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).mean()
    assert sign_flip_p(sums[:, None], flips=20_000)[0] == pytest.approx(exact, rel=0.15)


def test_p_beyond_the_flips_is_normal_but_no_less_than_the_images_can_tell() -> None:
    (far,) = sign_flip_p(np.ones((40, 1)))
    assert far == pytest.approx(2.5e-10, rel=0.1)
    (few,) = sign_flip_p(np.ones((9, 1)), flips=50)
    assert few == 2 / 2**9


def test_adjusted_by_hand() -> None:
    p = [0.01, float("nan"), 0.04, 0.03, 0.005]
    assert benjamini_hochberg(p) == pytest.approx([0.02, float("nan"), 0.04, 0.04, 0.02], nan_ok=True)
    assert holm(p) == pytest.approx([0.03, float("nan"), 0.06, 0.06, 0.02], nan_ok=True)
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert benjamini_hochberg([]).size == holm([]).size == 0


def test_discoveries_are_false_as_often_as_asked_for() -> None:
    rng, shares = np.random.default_rng(4), []
    for _ in range(300):
        p = np.concatenate([rng.random(80), rng.random(20) * 1e-3])
        found = benjamini_hochberg(p) < 0.1
        shares.append(found[:80].sum() / max(1, found.sum()))
    assert np.mean(shares) == pytest.approx(0.08, abs=0.02)
