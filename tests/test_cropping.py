"""An instance keeps its mask as what lies in its box."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness import Instance
from harness.cropping import Cropped, KeptCropped
from harness.masks.region import Region

SIZE = (1500, 2000)


def drawn(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    mask[(top + bottom) // 2, (left + right) // 2] = False
    return mask


@pytest.mark.parametrize("box", [(0, 1500, 0, 2000), (3, 40, 1990, 2000), (700, 703, 5, 8), (0, 0, 0, 0)])
def test_a_mask_comes_back_as_it_was(box: tuple[int, int, int, int]) -> None:
    mask = drawn(*box) if any(box) else np.zeros(SIZE, bool)
    instance = Instance("a", mask, "thing")
    for one in (instance, replace(instance, seen=True), pickle.loads(pickle.dumps(instance))):
        assert one.mask.dtype == bool and one.mask.flags.c_contiguous
        np.testing.assert_array_equal(one.mask, mask)
        kept = one.cropped
        assert kept is not None and kept.size == SIZE
        from_crop, from_mask = Region(kept), Region(mask)
        assert (from_crop.box, from_crop.area) == (from_mask.box, from_mask.area)


def test_a_thousand_small_objects_take_what_their_boxes_hold() -> None:
    instances = [Instance(str(one), drawn(one, one + 9, one, one + 11), "thing") for one in range(100)]
    held = [one.cropped for one in instances]
    assert sum(one.crop.nbytes for one in held if one) == 100 * 9 * 11
    assert all(one.crop.base is None or one.crop.base.nbytes == 9 * 11 for one in held if one)


def test_what_is_written_on_the_array_afterwards_changes_no_instance() -> None:
    mask = drawn(3, 40, 5, 50)
    instance, before = Instance("a", mask, "thing"), mask.copy()
    mask[:] = True  # A data set may draw all its objects into one array.
    instance.mask[:] = True
    np.testing.assert_array_equal(instance.mask, before)


@pytest.mark.parametrize("mask", [np.zeros((3, 4), np.uint8), np.zeros((1, 3, 4), bool), [[True]]])
def test_what_is_no_mask_is_kept_for_whoever_checks_it(mask: Any) -> None:
    class Holder:
        mask = KeptCropped()

    holder = Holder()
    holder.mask = mask
    assert holder.mask is mask


def test_a_mask_must_be_given() -> None:
    with pytest.raises(TypeError, match="mask"):
        Instance("a", category="thing")  # type: ignore[call-arg]


def test_an_empty_mask_has_an_empty_box() -> None:
    assert Cropped.of(np.zeros((3, 4), bool)).box == (0, 0, 0, 0)
