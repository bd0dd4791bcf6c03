"""Clicks into errors: which error, which pixel, which sign, and what happens when nothing is wrong."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.clicks import Situation
from harness.clicks.correction import center, ritm, sam
from harness.plugins.registry import find
from harness.structures import Click, Instance, Mask, Sample

H, W = 30, 44
FEW = settings(max_examples=40, derandomize=True)


def box(top: int, bottom: int, left: int, right: int) -> Mask:
    mask = np.zeros((H, W), bool)
    mask[top:bottom, left:right] = True
    return mask


def situation(
    truth: Mask,
    predicted: Mask | None = None,
    clicks: tuple[Click, ...] = (),
    ignore: Mask | None = None,
    seed: int = 0,
) -> Situation:
    instance = Instance("i", truth, "thing")
    sample = Sample("s", np.zeros((*truth.shape, 3), np.uint8), (instance,), ignore=ignore)
    return Situation(sample, instance, clicks, predicted, np.random.default_rng(seed))


OBJECT = box(5, 20, 8, 29)
CORRECTING = pytest.mark.parametrize("name", ["ritm/v1", "center/v1", "sam/v1"])


@CORRECTING
def test_first_at_the_object_s_deepest_pixel(name: str) -> None:
    # 15 x 21: depth 8 along the middle row, from column 15 to 21; the leftmost is taken.
    assert find("clicks", name)(situation(OBJECT)) == (Click(15, 12),)
    assert find("clicks", name)(situation(OBJECT, np.zeros_like(OBJECT))) == (Click(15, 12),)


@CORRECTING
def test_then_where_the_deepest_error_is(name: str) -> None:
    missing = OBJECT & ~box(0, H, 8, 24)  # columns 24 to 28
    assert find("clicks", name)(situation(OBJECT, OBJECT & ~missing)) == (Click(26, 7),)
    extra = box(22, 29, 1, 40)
    assert find("clicks", name)(situation(OBJECT, OBJECT | extra)) == (Click(4, 25, positive=False),)
    assert find("clicks", name)(situation(OBJECT, (OBJECT & ~missing) | extra)) == (Click(4, 25, positive=False),)


def test_a_tie_between_missing_and_too_much_is_negative() -> None:
    missing, extra = box(5, 10, 8, 29), box(24, 29, 8, 29)
    at = situation(OBJECT, (OBJECT & ~missing) | extra)
    assert ritm(at) == center(at) == (Click(10, 26, positive=False),)
    deeper = situation(OBJECT, (OBJECT & ~box(5, 12, 8, 29)) | extra)
    assert ritm(deeper) == center(deeper) == (Click(11, 8),)


def test_a_missing_region_deeper_by_the_least_is_clicked_first() -> None:
    # The middle of the missing cross is sqrt(2) deep, each surplus pixel of the line 1.
    cross = np.zeros((H, W), bool)
    cross[10, 19:22] = cross[9:12, 20] = True
    at = situation(OBJECT, (OBJECT & ~cross) | box(24, 25, 8, 29))
    assert ritm(at) == center(at) == (Click(20, 10),)


def test_a_deeper_error_wins_over_a_larger_one() -> None:
    missing, extra = box(5, 9, 8, 29), box(22, 29, 1, 8)
    at = situation(OBJECT, (OBJECT & ~missing) | extra)
    assert missing.sum() > extra.sum()
    assert ritm(at) == center(at) == (Click(4, 25, positive=False),)


def test_for_sam_what_is_missing_and_what_is_too_much_is_one_region() -> None:
    # 6 missing columns beside 6 superfluous ones: alone each is 3 deep, together 6.
    predicted = (OBJECT & ~box(5, 20, 23, 29)) | box(5, 20, 29, 35)
    at = situation(OBJECT, predicted)
    assert center(at) == (Click(31, 7, positive=False),)
    assert sam(at) == (Click(28, 10),)


@CORRECTING
def test_a_clicked_pixel_is_not_clicked_again(name: str) -> None:
    at = situation(OBJECT, np.zeros_like(OBJECT), (Click(15, 12), Click(16, 12)))
    assert find("clicks", name)(at) == (Click(17, 12),)


@CORRECTING
def test_ignored_pixels_are_no_errors_and_bound_them(name: str) -> None:
    ignore = box(0, H, 8, 20)
    click = find("clicks", name)(situation(OBJECT, None, (), ignore))[0]
    assert click == Click(24, 9)  # in columns 20 to 28 alone
    nothing_wrong = situation(OBJECT, OBJECT | box(21, 28, 8, 20), (), ignore)
    assert find("clicks", name)(nothing_wrong) in [(Click(24, 9),), (Click(0, 0, positive=False),)]


def test_when_nothing_is_wrong() -> None:
    at = situation(OBJECT, OBJECT, (Click(15, 12),))
    assert ritm(at) == (Click(0, 0, positive=False),)
    assert center(at) == sam(at) == (Click(16, 12),)


def test_when_all_that_is_wrong_was_clicked() -> None:
    clicks = (Click(8, 5), Click(18, 12))
    at = situation(OBJECT, OBJECT & ~box(5, 6, 8, 9), clicks)
    assert ritm(at) == (Click(0, 0, positive=False),)
    assert center(at) == sam(at) == (Click(15, 12),)


def test_an_object_of_one_pixel_can_be_clicked_for_ever() -> None:
    clicks: tuple[Click, ...] = ()
    for _ in range(3):
        clicks += center(situation(box(7, 8, 9, 10), np.zeros_like(OBJECT), clicks))
    assert clicks == (Click(9, 7),) * 3


def test_sam_s_random_first_click_is_uniform_over_the_object() -> None:
    truth = box(3, 5, 7, 27)
    ignore = box(3, 4, 7, 27)
    counts = np.zeros(W, int)
    for seed in range(2000):
        (click,) = sam(situation(truth, None, (), ignore, seed), first="random")
        assert click.positive and click.y == 4
        counts[click.x] += 1
    assert counts.sum() == counts[7:27].sum() and abs(((counts[7:27] - 100) ** 2 / 100).sum() - 19) < 4 * 38**0.5
    later = situation(truth, np.zeros_like(truth), (Click(9, 3),))
    assert sam(later, first="random") == sam(later)


def public_click(truth: Mask, predicted: Mask, ignore: Mask, clicks: tuple[Click, ...]) -> Click:
    """RITM's rule on whole images, by OpenCV's transform; the distances are rounded to the integers they stand for."""
    best = []
    for wrong in (truth & ~predicted & ~ignore, predicted & ~truth & ~ignore):
        depth = cv2.distanceTransform(np.pad(wrong, 1).astype(np.uint8), cv2.DIST_L2, 0)[1:-1, 1:-1]
        squared = np.rint(np.square(depth, dtype=np.float64)).astype(int)
        for click in clicks:
            squared[click.y, click.x] = 0
        best.append(squared)
    on, off = best
    chosen = on if on.max() > off.max() else off
    y, x = np.unravel_index(chosen.argmax(), chosen.shape)
    return Click(int(x), int(y), positive=bool(on.max() > off.max()))


@pytest.mark.slow
@FEW
@given(st.integers(0, 10**6))
def test_ritm_s_rule_by_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def blob(threshold: float) -> Mask:
        noise = rng.standard_normal((6, 8)).astype(np.float32)
        return cv2.resize(noise, (W, H), interpolation=cv2.INTER_CUBIC) > threshold

    truth, ignore = blob(0), blob(1.2)
    truth[3, 4], ignore[3, 4] = True, False
    clicks: tuple[Click, ...] = ()
    predicted = np.zeros_like(truth)
    for _ in range(6):
        at = situation(truth, predicted, clicks, ignore)
        assert ritm(at) == (public_click(truth, predicted, ignore, clicks),)
        clicks += ritm(at)
        predicted = blob(0) if rng.random() < 0.5 else truth ^ blob(1)
