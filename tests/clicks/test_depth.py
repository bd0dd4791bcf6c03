"""Distances that are the same number wherever and however they are computed."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from harness.clicks import click_rng, interior_depth
from harness.clicks.depth import eroded, inside, outside, squared_depth
from harness.clicks.paper import interior
from harness.clicks.sampling import SMALL, deep, deep_inside
from harness.clicks.strategy import Situation
from harness.masks.region import Region
from harness.structures import Instance, Mask, Sample


@pytest.fixture
def threads() -> Iterator[None]:
    """OpenCV's number of threads is the test's own."""
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def blob(seed: int, size: tuple[int, int] = (90, 140)) -> Mask:
    noise = np.random.default_rng(seed).standard_normal((7, 10)).astype(np.float32)
    return cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC) > 0.3


def by_hand(mask: Mask, to: Mask) -> np.ndarray:
    """The squared distance of each of the mask's pixels to the nearest of `to`."""
    targets = np.argwhere(to)
    squared = np.zeros(mask.shape, int)
    for y, x in np.argwhere(mask):
        squared[y, x] = ((targets - (y, x)) ** 2).sum(axis=1).min()
    return squared


@pytest.mark.parametrize("seed", range(6))
def test_squares_are_exact(seed: int) -> None:
    mask = blob(seed, (28, 41))
    squared, left, top = squared_depth(mask)
    padded = np.pad(mask, 1)
    expected = by_hand(padded, ~padded)[1:-1, 1:-1]
    height, width = squared.shape
    assert (squared == expected[top : top + height, left : left + width]).all()
    assert squared.astype(int).sum() == expected.sum()


@pytest.mark.parametrize("seed", range(6))
def test_distances_around_a_mask_are_exact(seed: int) -> None:
    mask = np.zeros((31, 44), bool)
    mask[9:22, 15:33] = blob(seed, (13, 18))
    found = outside(mask, Region(mask), 5)
    (height, width), left, top = found.raw.shape, found.left, found.top
    expected = by_hand(~mask, mask)
    assert (found.squared == expected[top : top + height, left : left + width]).all()
    expected[top : top + height, left : left + width] = 10**6
    assert (expected > 25).all() or mask.all()


@pytest.mark.parametrize("seed", range(6))
def test_thresholds_are_those_of_every_pixel_s_depth(seed: int) -> None:
    """Roots of integers and their neighbours in single precision, where one rounding more would show."""
    mask = blob(seed)
    depth, found = interior_depth(mask)[0], inside(Region(mask))
    assert found.most == depth.max()
    for root in [np.float32(0), *np.unique(depth)]:
        for margin in (root, np.nextafter(root, np.float32(0)), np.nextafter(root, np.float32(99))):
            wanted = (depth > 0) & (depth >= margin)
            np.testing.assert_array_equal(found.at_least(float(margin)), wanted)
            np.testing.assert_array_equal(eroded(Region(mask), float(margin)), wanted)
    for distance in range(1, 12):
        np.testing.assert_array_equal(found.at_most(distance), (depth > 0) & (found.squared <= distance**2))


@pytest.mark.parametrize("margin", [0, 1, 5, SMALL, SMALL + 0.5, 1e9])
def test_well_inside_with_and_without_distances(margin: float) -> None:
    edge = np.zeros((90, 140), bool)
    edge[:9, :5] = True  # cut by the image's corner
    for mask in [edge, np.ones((40, 50), bool), *map(blob, range(4))]:
        np.testing.assert_array_equal(deep_inside(Region(mask), margin), deep(inside(Region(mask)), margin))


def test_depth_does_not_depend_on_the_place_in_the_image() -> None:
    for seed in range(20):
        mask = blob(seed)
        depth, _, _ = interior_depth(mask)
        moved = np.zeros((117, 203), bool)
        moved[3 : 3 + mask.shape[0], 31 : 31 + mask.shape[1]] = mask
        assert (interior_depth(moved)[0] == depth).all()


def test_depth_does_not_depend_on_threads_or_on_the_rest_of_a_process(threads: None) -> None:
    for seed in range(20):
        mask = blob(seed)
        found = set()
        for count in (1, 2, 3):
            cv2.setNumThreads(count)
            kept = np.zeros(int(seed * 37 + count * 11), np.uint8)  # other arrays lie elsewhere then
            found.add(interior_depth(mask)[0].tobytes())
            del kept
        assert len(found) == 1


def test_the_paper_s_click_on_the_deepest_pixels_does_not_depend_on_threads(threads: None) -> None:
    for seed in range(30):
        mask = blob(seed)
        instance = Instance("i", mask, "thing")
        sample = Sample("s", np.zeros((*mask.shape, 3), np.uint8), (instance,))
        clicks = set()
        for count in (1, 2):
            cv2.setNumThreads(count)
            at = Situation(sample, instance, (), None, click_rng(seed, "d", "s", "i", 1))
            clicks.add(interior(at, margin=1))
        assert len(clicks) == 1
