"""A region's box, crop and band against their definitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawn_masks import SIZE, SIZES, band, band_by_definition, masks, rectangle
from harness.cropping import bounding_box
from harness.masks.region import Region
from harness.structures import Mask


def test_box_excludes_its_end_and_is_cropped_to() -> None:
    region = Region(rectangle(47, 30, 48, 32) | rectangle(40, 0, 41, 1))
    assert region.size == SIZE
    assert region.box == (40, 0, 48, 32)
    assert region.crop.shape == (32, 8) and region.crop.dtype == np.uint8 and region.crop.sum() == 3


@pytest.mark.parametrize("x,y", [(0, 0), (47, 0), (0, 31), (47, 31), (20, 10)])
def test_one_pixel_is_all_band(x: int, y: int) -> None:
    region = Region(rectangle(x, y, x + 1, y + 1))
    assert region.box == (x, y, x + 1, y + 1)
    assert region.area == region.boundary_area() == 1


def test_the_image_border_is_a_boundary() -> None:
    full = Region(np.ones(SIZE, bool))
    assert full.boundary_area() == 2 * (32 + 48) - 4
    # round(0.1 * 57.7) = 6
    assert full.boundary_area(0.1) == 32 * 48 - (32 - 12) * (48 - 12)


def test_a_hole_has_a_boundary() -> None:
    holed = rectangle(5, 5, 25, 25)
    holed[15, 15] = False
    assert Region(holed).boundary_area() == 4 * 20 - 4 + 8


@pytest.mark.parametrize("side", [31, 32, 33, 34])
def test_squares_around_twice_the_band(side: int) -> None:
    # At 480 x 640 the band is 16 pixels wide: only from 33 pixels on is anything left inside.
    square = rectangle(100, 200, 100 + side, 200 + side, (480, 640))
    assert Region(square).boundary_area() == side**2 - max(0, side - 32) ** 2


@pytest.mark.slow
@given(SIZES.flatmap(masks), st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.2]))
@settings(max_examples=150)
def test_band_is_the_one_defined(mask: Mask, dilation_ratio: float) -> None:
    np.testing.assert_array_equal(band(mask, dilation_ratio), band_by_definition(mask, dilation_ratio))


@pytest.mark.parametrize("share", [0.0005, 0.5, 0.9995])
def test_band_of_noise_at_full_size(share: float) -> None:
    mask = np.random.default_rng(0).random((427, 640)) < share
    np.testing.assert_array_equal(band(mask), band_by_definition(mask, 0.02))


@pytest.mark.parametrize("width", [48, 45])
@pytest.mark.parametrize(
    "view", [lambda m: m, lambda m: m.T.copy().T, lambda m: m[::-1, ::-1], lambda m: np.stack([m, ~m])[0]]
)
def test_any_memory_layout(width: int, view: Callable[[Mask], Mask]) -> None:
    mask = view(rectangle(7, 3, 31, 29, (32, width)) & (np.indices((32, width)).sum(0) % 5 > 0))
    rows, columns = np.nonzero(mask)
    assert bounding_box(mask) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    np.testing.assert_array_equal(band(mask, 0.1), band_by_definition(mask, 0.1))


def test_a_region_outlives_and_leaves_alone_its_mask() -> None:
    mask = rectangle(0, 3, 48, 20)
    before, region = mask.copy(), Region(mask)
    region.boundary(0.1)
    np.testing.assert_array_equal(mask, before)
    mask[:] = False
    assert region.area == 48 * 17 and region.crop.all()


def test_a_band_is_computed_once() -> None:
    region = Region(rectangle(5, 5, 25, 25))
    assert region.boundary() is region.boundary(0.02)
    assert region.boundary_area(0.1) > region.boundary_area()
