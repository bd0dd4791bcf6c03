"""Metrics against hand counts and against another implementation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from drawn_masks import SIZE, SIZES, band, band_by_definition, masks, pairs, rectangle
from harness.masks.metrics import boundary_iou, iou
from harness.masks.region import Region
from harness.structures import Mask


def ratio(one: Mask, other: Mask) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def test_iou_counted_by_hand() -> None:
    truth, prediction = Region(rectangle(10, 5, 20, 15)), Region(rectangle(15, 5, 30, 15))
    assert (truth.area, prediction.area) == (100, 150)
    assert (truth.intersection(prediction), truth.union(prediction)) == (50, 200)
    assert iou(truth, prediction) == 0.25


def test_boundary_iou_counted_by_hand() -> None:
    # At 32 x 48 the band is one pixel wide: 36 pixels around each square of 10, which share two rows of five,
    # less the ends: the columns x = 15 and x = 19 are band of one square and inside of the other.
    truth, prediction = Region(rectangle(10, 5, 20, 15)), Region(rectangle(15, 5, 25, 15))
    assert (truth.boundary_area(), prediction.boundary_area()) == (36, 36)
    assert truth.boundary_intersection(prediction) == 10
    assert boundary_iou(truth, prediction) == 10 / 62


def test_masks_that_overlap_in_a_corner_or_lie_above_each_other() -> None:
    # They share the columns 15 to 19 and the rows 8 to 14; of the bands, one pixel wide, only (19, 8) and (15, 14).
    upper, lower = Region(rectangle(10, 5, 20, 15)), Region(rectangle(15, 8, 30, 18))
    assert upper.intersection(lower) == lower.intersection(upper) == 5 * 7
    assert iou(upper, lower) == iou(lower, upper) == 35 / 215
    assert boundary_iou(upper, lower) == boundary_iou(lower, upper) == 2 / (36 + 46 - 2)
    below = Region(rectangle(5, 20, 40, 22))
    assert iou(upper, below) == iou(below, upper) == boundary_iou(upper, below) == 0.0


def test_boundary_iou_is_not_capped_by_the_mask_iou() -> None:
    solid, ring = rectangle(4, 4, 40, 28), rectangle(4, 4, 40, 28) & ~rectangle(5, 5, 39, 27)
    assert boundary_iou(Region(solid), Region(ring)) == 1.0
    assert iou(Region(solid), Region(ring)) < 0.2


@pytest.mark.parametrize("function", [iou, boundary_iou])
def test_empty_masks(function: Callable[[Region, Region], float]) -> None:
    nothing, something = Region(np.zeros(SIZE, bool)), Region(rectangle(3, 4, 9, 8))
    assert nothing.box == (0, 0, 0, 0) and nothing.area == 0 and nothing.boundary().size == 0
    assert function(nothing, nothing) == 1.0
    assert function(nothing, something) == function(something, nothing) == 0.0


@pytest.mark.parametrize("function", [iou, boundary_iou])
def test_disjoint_touching_and_equal_masks(function: Callable[[Region, Region], float]) -> None:
    left, right, apart = (Region(rectangle(x, 4, x + 8, 12)) for x in (3, 11, 30))
    assert function(left, right) == function(left, apart) == 0.0
    assert function(left, left) == 1.0


@pytest.mark.slow
@given(pairs())
@settings(max_examples=100)
def test_against_pycocotools(pair: tuple[Mask, Mask]) -> None:
    truth, prediction = pair
    theirs = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in pair]
    expected = coco_mask.iou([theirs[1]], [theirs[0]], [0])[0, 0]
    ours = iou(Region(truth), Region(prediction))
    # Of two empty masks pycocotools says 0 or NaN.
    assert ours == (expected if truth.any() or prediction.any() else 1.0)


@pytest.mark.slow
@given(pairs())
@settings(max_examples=100)
def test_metrics_are_ratios_of_counts_and_symmetric(pair: tuple[Mask, Mask]) -> None:
    one, other = (Region(mask) for mask in pair)
    assert iou(one, other) == iou(other, one) == ratio(*pair)
    bands = [band_by_definition(mask, 0.02) for mask in pair]
    assert boundary_iou(one, other) == boundary_iou(other, one) == ratio(*bands)


@pytest.mark.slow
@given(SIZES.flatmap(lambda size: st.tuples(masks(size), masks(size), masks(size))))
@settings(max_examples=100)
def test_ignored_pixels_do_not_count_but_make_no_boundary(drawn: tuple[Mask, Mask, Mask]) -> None:
    *pair, ignore = drawn
    truth, prediction = (Region(mask, ignore) for mask in pair)
    assert truth.area == np.count_nonzero(pair[0] & ~ignore)
    assert iou(truth, prediction) == ratio(*(mask & ~ignore for mask in pair))
    bands = [band_by_definition(mask, 0.05) & ~ignore for mask in pair]
    np.testing.assert_array_equal(band(pair[0], 0.05, ignore), bands[0])
    assert truth.boundary_intersection(prediction, 0.05) == np.count_nonzero(bands[0] & bands[1])
    areas = [region.boundary_area(0.05) for region in (truth, prediction)]
    assert areas == [np.count_nonzero(one) for one in bands]


def test_ignore_counted_by_hand() -> None:
    ignore = rectangle(0, 0, 14, 32)
    truth, prediction = Region(rectangle(10, 5, 20, 15), ignore), Region(rectangle(12, 5, 20, 15), ignore)
    assert iou(truth, prediction) == 1.0
    # The top and bottom rows of six and the eight pixels between them on the right; no band along x = 14.
    assert truth.boundary_area() == 6 + 6 + 8
    everything = Region(np.ones(SIZE, bool), np.ones(SIZE, bool))
    assert everything.area == 0 and everything.box == (0, 0, 48, 32)
    assert iou(everything, everything) == 1.0
