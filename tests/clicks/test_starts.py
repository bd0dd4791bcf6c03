"""Boxes and rough masks that prompts begin with: by hand, and the same each time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.clicks.starts import STARTS, WAYS, Start
from harness.clicks.strategy import Situation, click_rng
from harness.structures import Box, Instance, Mask, Sample


def at(mask: Mask, seed: int = 0, rng: Any = None) -> Situation:
    instance = Instance("a", mask, "cup")
    sample = Sample("1", np.zeros((*mask.shape, 3), np.uint8), (instance,))
    return Situation(sample, instance, (), None, rng or click_rng(seed, "toys", "1", "a", -1))


def square(top: int = 10, left: int = 20, side: int = 9, size: tuple[int, int] = (32, 48)) -> Mask:
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def started(rule: str, mask: Mask, seed: int = 0, rng: Any = None, **options: Any) -> Start:
    return STARTS[rule].start(at(mask, seed, rng), options)


class Drawn:
    """A generator that draws what it is told."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = numbers

    def normal(self, size: int) -> np.ndarray:
        return np.array(self.numbers[:size])

    def integers(self, below: int) -> int:
        return int(self.numbers[0])


def test_a_box_by_hand() -> None:
    mask = np.zeros((60, 100), bool)
    mask[20:40, 10:50] = True
    assert started("box/v1", mask, jitter=0).boxes == (Box(10, 20, 49, 39),)
    (moved,) = started("box/v1", mask, rng=Drawn(0.5, -1, 2, 0)).boxes
    assert moved == Box(12, 18, 57, 39)


def test_no_side_moves_farther_than_allowed_nor_off_the_image() -> None:
    mask = np.zeros((60, 100), bool)
    mask[20:40, 10:50] = True
    assert started("box/v1", mask, rng=Drawn(9, 9, 9, 9)).boxes == (Box(30, 38, 69, 57),)  # 36 px cut to 20, 18 px not
    assert started("box/v1", mask, rng=Drawn(-9, -9, 99, 99)).boxes == (Box(0, 2, 69, 59),)
    assert started("box/v1", mask, rng=Drawn(9, 0, -9, 0), jitter=1, most_px=100).boxes == (Box(0, 20, 99, 39),)
    mask[40:, 50:] = True
    assert started("box/v1", mask, rng=Drawn(0, 0, 9, 9)).boxes == (Box(10, 20, 99, 59),)
    assert started("box/v1", mask, rng=Drawn(9, 9, 9, 9), jitter=1, most_px=100).boxes == (Box(99, 59, 99, 59),)


@pytest.mark.parametrize("sides", [(5, 0, 4, 9), (0, 9, 4, 8), (float("nan"), 0, 4, 9), (0, 0, float("inf"), 9)])
def test_a_box_without_an_inside_is_refused(sides: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="wanted left <= right and top <= bottom"):
        Box(*sides)
    assert Box(4, 9, 4, 9).left == 4


def test_a_box_is_filled_with_its_edges() -> None:
    mask = square()
    start = started("box/v1", mask, jitter=0)
    assert start.kind == "box" and start.mask is None
    np.testing.assert_array_equal(start.filled(mask.shape), mask)
    assert Start("box", (Box(1.5, 2, 3.4, 2),)).filled((4, 6)).nonzero() == (
        pytest.approx([2, 2]),
        pytest.approx([2, 3]),
    )


def test_rough_masks_by_hand() -> None:
    truth = square()  # 9 x 9, so D = 5 and R = 2.5
    np.testing.assert_array_equal(started("rough/v1", truth, how="eroded").mask, square(12, 22, 5))
    y, x = np.indices(truth.shape)
    to_square = np.hypot(np.maximum(np.maximum(10 - y, y - 18), 0), np.maximum(np.maximum(20 - x, x - 28), 0))
    np.testing.assert_array_equal(started("rough/v1", truth, how="dilated").mask, to_square <= 2.5)
    middle = started("rough/v1", truth, how="holed", rng=Drawn(40)).mask  # the 41st pixel of 81
    np.testing.assert_array_equal(middle, truth & (np.hypot(y - 14, x - 24) > 2.5))
    assert truth.sum() - middle.sum() == 21


def test_pixels_exactly_as_far_as_the_reach() -> None:
    # A disc of the pixels with x * x + y * y < 200: D * D is 200 in its middle, so half of D is the root of 50. Twelve
    # pixels, such as (1, 7) and (5, 5), are just as far from the middle.
    y, x = np.ogrid[-30:30, -32:32]
    disc = x * x + y * y < 200
    rough = {how: started("rough/v1", disc, how=how, rng=Drawn(disc.sum() // 2)).mask for how in WAYS}
    np.testing.assert_array_equal(rough["eroded"], x * x + y * y < 50)
    np.testing.assert_array_equal(rough["holed"], disc & (x * x + y * y > 50))
    to_disc = np.square(np.argwhere(np.ones_like(disc))[:, None] - np.argwhere(disc)).sum(axis=2).min(axis=1)
    np.testing.assert_array_equal(rough["dilated"].ravel(), to_disc <= 50)


def test_a_dilated_mask_is_cut_at_the_image() -> None:
    mask = started("rough/v1", square(0, 0), how="dilated").mask
    assert mask[:11, :9].all() and mask[:9, :11].all() and not mask[12:].any() and not mask[11, 11]


@pytest.mark.parametrize("how", ["eroded", "dilated", "holed"])
@pytest.mark.parametrize("strength", [0.01, 0.5, 0.99])
def test_every_object_has_a_rough_mask(how: str, strength: float) -> None:
    line, pixel, whole = np.zeros((3, 20, 30), bool)
    line[5, 3:20] = pixel[19, 29] = whole[:] = True
    for truth in (line, pixel, whole, square(size=(20, 30))):
        start = started("rough/v1", truth, how=how, strength=strength)
        assert start.kind == how and start.mask.shape == truth.shape and start.mask.dtype == bool
        assert start.mask.any() or (how == "holed" and truth.sum() == 1)
        assert (start.mask <= truth).all() if how != "dilated" else (start.mask >= truth).all()


@pytest.mark.parametrize("rule", STARTS)
def test_the_same_instance_begins_the_same_and_another_seed_otherwise(rule: str) -> None:
    truth = square(side=15)

    def drawn(seed: int) -> bytes:
        start = started(rule, truth, seed)
        return f"{start.kind} {start.boxes}".encode() + start.filled(truth.shape).tobytes()

    assert drawn(3) == drawn(3)
    assert len({drawn(seed) for seed in range(12)}) > 3


def test_each_way_is_drawn_for_some() -> None:
    kinds = {started("rough/v1", square(), seed).kind for seed in range(40)}
    assert kinds == {"eroded", "dilated", "holed"}


def test_the_ground_truth_is_left_alone() -> None:
    for how in ("eroded", "dilated", "holed"):
        situation = at(square())
        STARTS["rough/v1"].start(situation, {"how": how})
        np.testing.assert_array_equal(situation.instance.mask, square())
