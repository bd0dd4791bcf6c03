"""The three strategies of Xu et al.: where each click may fall."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import pytest

from harness.clicks import NoClickError, Situation, click_rng
from harness.clicks.xu import xu
from harness.structures import Click, Instance, Mask, Sample

H, W = 110, 170


def box(top: int, bottom: int, left: int, right: int) -> Mask:
    mask = np.zeros((H, W), bool)
    mask[top:bottom, left:right] = True
    return mask


OBJECT = box(30, 60, 40, 80)
LEFT, RIGHT = box(10, 30, 5, 30), box(80, 105, 120, 165)


def situation(truth: Mask = OBJECT, seed: int = 0, *others: Mask, ignore: Mask | None = None) -> Situation:
    classes = ["thing", "thing", "other"]
    instances = [Instance(str(number), mask, classes[number]) for number, mask in enumerate((truth, *others))]
    sample = Sample("s", np.zeros((H, W, 3), np.uint8), tuple(instances), ignore=ignore)
    return Situation(sample, instances[0], (), None, click_rng(seed, "d", "s", "0", 1))


def depth(mask: Mask) -> np.ndarray:
    padded = np.pad(mask, 1).view(np.uint8)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] + 1e-4


def away(mask: Mask) -> np.ndarray:
    return cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def closest(clicks: list[Click]) -> float:
    return min(np.hypot(a.x - b.x, a.y - b.y) for i, a in enumerate(clicks) for b in clicks[:i])


def parted(clicks: tuple[Click, ...]) -> tuple[list[Click], list[Click]]:
    return [c for c in clicks if c.positive], [c for c in clicks if not c.positive]


def test_positives_keep_margin_and_step() -> None:
    for seed in range(40):
        on, off = parted(xu(situation(seed=seed), positives=3, negatives=0))
        assert len(on) == 3 and not off
        assert all(depth(OBJECT)[click.y, click.x] >= 5 for click in on) and closest(on) >= 10


def test_by_default_a_margin_of_5_a_step_of_10_and_a_band_of_40() -> None:
    found = [parted(xu(situation(seed=seed), positives=6)) for seed in range(60)]
    assert min(closest(on) for on, _ in found) == 10
    assert min(depth(OBJECT)[click.y, click.x] for on, _ in found for click in on) == pytest.approx(5, abs=0.01)
    assert {len(off) for _, off in found} == {1}
    assert 38 < max(away(OBJECT)[off.y, off.x] for _, (off,) in found) <= 40


def test_a_small_object_gives_what_it_has() -> None:
    small = box(5, 8, 7, 18)
    for seed in range(20):
        on, _ = parted(xu(situation(small, seed), positives=2, negatives=0))
        assert {click.y for click in on} == {6} and all(8 <= click.x <= 16 for click in on)
        assert abs(on[0].x - on[1].x) == max(on[0].x - 8, 16 - on[0].x)


def test_strategy_one_is_all_around() -> None:
    for seed in range(40):
        _, off = parted(xu(situation(OBJECT, seed, RIGHT), negatives=3, negatives_by=1))
        assert all(away(OBJECT)[click.y, click.x] + 1e-4 >= 5 and away(OBJECT)[click.y, click.x] <= 40 for click in off)
        assert len(off) == 3 and closest(off) >= 10


def test_strategy_two_is_on_other_objects() -> None:
    hit = set()
    for seed in range(40):
        _, off = parted(xu(situation(OBJECT, seed, LEFT, RIGHT), negatives=2, negatives_by=2))
        for click in off:
            assert max(depth(LEFT)[click.y, click.x], depth(RIGHT)[click.y, click.x]) >= 5
            hit.add(bool(LEFT[click.y, click.x]))
        assert closest(off) >= 10
    assert hit == {True, False}
    _, (off,) = parted(xu(situation(), negatives=1, negatives_by=2))
    assert away(OBJECT)[off.y, off.x] + 1e-4 >= 5


RING = (away(OBJECT) > 0) & (away(OBJECT) <= 40)
"""The band around the object; the image's edge is no border of it."""


def is_farthest(click: Click, made: list[Click]) -> bool:
    """Whether a pixel of the band is as far as any from its borders and from these clicks."""
    y, x = np.indices((H, W))
    far = np.pad(RING, 60, mode="edge")
    border = cv2.distanceTransform(far.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[60:-60, 60:-60]
    room = np.minimum.reduce([border, *(np.hypot(y - one.y, x - one.x) for one in made)])
    return bool(RING[click.y, click.x]) and room[click.y, click.x] == pytest.approx(room[RING].max(), abs=1e-3)


def test_strategy_three_covers_the_outline() -> None:
    firsts = set()
    for seed in range(15):
        _, off = parted(xu(situation(seed=seed), negatives=6))
        firsts.add(off[0])
        assert all(is_farthest(off[number], off[:number]) for number in range(1, 6))
    assert len(firsts) > 12


@pytest.mark.parametrize("way", [1, 3])
def test_a_second_round_adds_clicks_away_from_the_first(way: Literal[1, 3]) -> None:
    for seed in range(10):
        made = xu(situation(seed=seed), negatives_by=way)
        on, off = parted(xu(replace(situation(seed=seed + 100), clicks=made), 2, 2, way))
        assert (len(on), len(off)) == (2, 2) and not {*on, *off} & {*made}
        assert closest([made[0], *on]) >= 10
        if way == 3:
            assert is_farthest(off[0], [made[1]]) and is_farthest(off[1], [made[1], off[0]])
        else:
            assert closest([made[1], *off]) >= 10


def test_ignored_pixels_are_not_clicked() -> None:
    ignore = ~OBJECT & ~box(62, 64, 50, 60)
    for way in (1, 2, 3):
        _, off = parted(xu(situation(ignore=ignore), negatives=2, negatives_by=way))
        assert all(62 <= click.y < 64 and 50 <= click.x < 60 for click in off)
        with pytest.raises(NoClickError, match="off the object"):
            xu(situation(ignore=~OBJECT), negatives=1, negatives_by=way)
