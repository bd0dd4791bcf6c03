"""Polygons as pycocotools draws them on the whole image, wherever they lie and whatever their coordinates."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

import real_data
from harness.masks.segmentations import decode
from harness.structures import Mask

MOST_REAL = 2000
"""Segmentations of each split, of the 860,000 of the whole one."""


def whole(polygons: list[list[float]], height: int, width: int) -> Mask:
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return np.asarray(coco_mask.decode(merged) > 0)


def check(polygons: list[list[float]], height: int, width: int) -> None:
    wanted = whole(polygons, height, width)
    numbers = [number for polygon in polygons for number in polygon]
    if min(numbers) >= 0 and max(numbers) <= 1 and any(number % 1 for number in numbers):
        with pytest.raises(ValueError, match="between 0 and 1; wanted pixels"):
            decode(polygons, height, width)
    elif wanted.any():
        found = decode(polygons, height, width)
        assert found.dtype == bool and found.flags.c_contiguous
        np.testing.assert_array_equal(found, wanted)
    else:
        with pytest.raises(ValueError, match="covers no pixel"):
            decode(polygons, height, width)


HALVES = st.integers(-40, 100).map(lambda twice: twice / 2)
TENTHS = st.integers(-240, 700).map(lambda ten: ten / 10)
COORDINATE = st.one_of(HALVES, TENTHS, st.floats(-24, 70, allow_nan=False))
POLYGON = st.lists(COORDINATE, min_size=6, max_size=24).map(lambda points: points[: len(points) // 2 * 2])


@pytest.mark.slow
@given(st.lists(POLYGON, min_size=1, max_size=3), st.integers(36, 48), st.integers(36, 48))
@settings(max_examples=400)
def test_polygons_inside_and_beyond_the_border(polygons: list[list[float]], height: int, width: int) -> None:
    check(polygons, height, width)


def test_a_sliver_in_the_corner_beside_another_polygon_is_no_share_of_the_sides() -> None:
    sliver, square = [0.0, 0.0, 1.0, 0.0, 0.5, 1.0], [4.0, 4.0, 9.0, 4.0, 9.0, 9.0]
    check([sliver, square], 36, 48)
    check([sliver], 36, 48)


@pytest.mark.parametrize(
    "x0,y0,x1,y1", [(-9, -9, 60, 50), (0, 0, 48, 32), (5, -9, 9, 50), (-9, 5, 60, 9), (47, 31, 48, 32)]
)
def test_boxes_to_the_border_and_beyond(x0: int, y0: int, x1: int, y1: int) -> None:
    check([[x0, y0, x1, y0, x1, y1, x0, y1]], 32, 48)


def segmentations() -> list[tuple[Any, int, int]]:
    found = []
    for split in ("train2017", "val2017"):
        content = json.loads((real_data.COCO / "annotations" / f"instances_{split}.json").read_text())
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        found += [(one["segmentation"], *sizes[one["image_id"]]) for one in content["annotations"][:MOST_REAL]]
    return found


def test_a_list_of_points_is_a_polygon_and_points_of_three_numbers_are_none() -> None:
    wanted = np.zeros((6, 8), bool)
    wanted[1:3, 1:4] = True
    np.testing.assert_array_equal(decode([[[1, 1], [4, 1], [4, 3], [1, 3]]], 6, 8), wanted)
    with pytest.raises(ValueError, match="of 12 numbers; wanted x, y of three points"):
        decode([[[1, 1, 0], [4, 1, 0], [4, 3, 0], [1, 3, 0]]], 6, 8)


def test_a_small_polygon_in_the_corner_is_no_share_of_the_sides() -> None:
    np.testing.assert_array_equal(np.argwhere(decode([[0, 0, 1, 0, 1, 1, 0, 1]], 6, 8)), [[0, 0]])
    np.testing.assert_array_equal(np.argwhere(decode([[0, 0, 1.9, 0, 1.9, 1, 0, 1]], 6, 8)), [[0, 0], [0, 1]])


def test_points_may_lie_as_far_outside_as_the_longer_side() -> None:
    assert decode([[-8, -8, 16, -8, 16, 16, -8, 16]], 6, 8).all()
    for far in (-8.01, 16.01):
        with pytest.raises(ValueError, match="wanted it on the 6 x 8 image"):
            decode([[far, 0, 4, 0, 4, 4]], 6, 8)


@pytest.mark.slow
@real_data.needs("coco")
def test_all_real_segmentations() -> None:
    real = segmentations()
    assert real
    for segmentation, height, width in real:
        if isinstance(segmentation, list):
            check(segmentation, height, width)
        else:
            encoded = coco_mask.frPyObjects(segmentation, height, width)
            np.testing.assert_array_equal(decode(segmentation, height, width), coco_mask.decode(encoded) > 0)
            as_string = {"size": [height, width], "counts": encoded["counts"].decode()}
            np.testing.assert_array_equal(decode(as_string, height, width), coco_mask.decode(encoded) > 0)
