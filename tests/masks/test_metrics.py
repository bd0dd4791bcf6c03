"""Metrics against hand counts, against another implementation, and the band against its definition."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from harness.masks.metrics import boundary_iou, iou
from harness.masks.region import Region, bounding_box
from harness.structures import Mask

SIZE = (32, 48)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 50))


def rectangle(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = SIZE) -> Mask:
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


@st.composite
def masks(draw: st.DrawFn, size: tuple[int, int]) -> Mask:
    """Noise, or rectangles drawn and cut out again: outlines, holes, borders, several parts."""
    if draw(st.booleans()):
        return draw(hnp.arrays(bool, size))
    mask = np.zeros(size, bool)
    for _ in range(draw(st.integers(0, 5))):
        (y0, y1), (x0, x1) = (sorted(draw(st.tuples(*[st.integers(0, side)] * 2))) for side in size)
        mask[y0:y1, x0:x1] = draw(st.booleans())
    return mask


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    size = draw(SIZES)
    return draw(masks(size)), draw(masks(size))


def eroded(mask: Mask) -> Mask:
    """One erosion by 3 x 3; beyond the array there is no mask."""
    padded, (h, w) = np.pad(mask, 1), mask.shape
    return np.all([padded[y : y + h, x : x + w] for y in range(3) for x in range(3)], axis=0)


def band_by_definition(mask: Mask, dilation_ratio: float) -> Mask:
    """The mask without what is left of it after d erosions, on an image with one more ring of background."""
    padded = np.pad(mask, 1)
    for _ in range(max(1, round(dilation_ratio * np.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2)))):
        padded = eroded(padded)
    return np.logical_and(mask, ~padded[1:-1, 1:-1])


def band(mask: Mask, dilation_ratio: float = 0.02, ignore: Mask | None = None) -> Mask:
    """The region's band, put back into the full image."""
    region = Region(mask, ignore)
    x0, y0, x1, y1 = region.box
    full = np.zeros(mask.shape, bool)
    full[y0:y1, x0:x1] = region.boundary(dilation_ratio)
    return full


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
    assert truth.boundary_union(prediction) == 62
    assert boundary_iou(truth, prediction) == 10 / 62


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


@given(SIZES.flatmap(masks), st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.2]))
@settings(deadline=None, max_examples=150)
def test_band_is_the_one_defined(mask: Mask, dilation_ratio: float) -> None:
    np.testing.assert_array_equal(band(mask, dilation_ratio), band_by_definition(mask, dilation_ratio))


@pytest.mark.parametrize("share", [0.0005, 0.5, 0.9995])
def test_band_of_noise_at_full_size(share: float) -> None:
    mask = np.random.default_rng(0).random((427, 640)) < share
    np.testing.assert_array_equal(band(mask), band_by_definition(mask, 0.02))


@given(pairs())
@settings(deadline=None, max_examples=100)
def test_against_pycocotools(pair: tuple[Mask, Mask]) -> None:
    truth, prediction = pair
    theirs = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in pair]
    expected = coco_mask.iou([theirs[1]], [theirs[0]], [0])[0, 0]
    ours = iou(Region(truth), Region(prediction))
    # Of two empty masks pycocotools says 0 or NaN.
    assert ours == (expected if truth.any() or prediction.any() else 1.0)


@given(pairs())
@settings(deadline=None, max_examples=100)
def test_metrics_are_ratios_of_counts_and_symmetric(pair: tuple[Mask, Mask]) -> None:
    one, other = (Region(mask) for mask in pair)
    assert iou(one, other) == iou(other, one) == ratio(*pair)
    bands = [band_by_definition(mask, 0.02) for mask in pair]
    assert boundary_iou(one, other) == boundary_iou(other, one) == ratio(*bands)


@given(SIZES.flatmap(lambda size: st.tuples(masks(size), masks(size), masks(size))))
@settings(deadline=None, max_examples=100)
def test_ignored_pixels_do_not_count_but_make_no_boundary(drawn: tuple[Mask, Mask, Mask]) -> None:
    *pair, ignore = drawn
    truth, prediction = (Region(mask, ignore) for mask in pair)
    assert truth.area == np.count_nonzero(pair[0] & ~ignore)
    assert iou(truth, prediction) == ratio(*(mask & ~ignore for mask in pair))
    bands = [band_by_definition(mask, 0.05) & ~ignore for mask in pair]
    np.testing.assert_array_equal(band(pair[0], 0.05, ignore), bands[0])
    assert truth.boundary_intersection(prediction, 0.05) == np.count_nonzero(bands[0] & bands[1])
    assert truth.boundary_union(prediction, 0.05) == np.count_nonzero(bands[0] | bands[1])


def test_ignore_counted_by_hand() -> None:
    ignore = rectangle(0, 0, 14, 32)
    truth, prediction = Region(rectangle(10, 5, 20, 15), ignore), Region(rectangle(12, 5, 20, 15), ignore)
    assert iou(truth, prediction) == 1.0
    # The top and bottom rows of six and the eight pixels between them on the right; no band along x = 14.
    assert truth.boundary_area() == 6 + 6 + 8
    everything = Region(np.ones(SIZE, bool), np.ones(SIZE, bool))
    assert everything.area == 0 and everything.box == (0, 0, 48, 32)
    assert iou(everything, everything) == 1.0


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
