"""Run lengths against pycocotools, byte for byte, and there and back again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import real_data
from harness.masks.region import Region
from harness.masks.rle import decode, encode, filled, unpacked
from harness.structures import Mask


def theirs(mask: Mask) -> bytes:
    return bytes(coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"])


def check(mask: Mask) -> None:
    counts = encode(mask)
    assert type(counts) is bytes
    assert counts == theirs(mask) == encode(mask, Region(mask).box)
    decoded = decode(counts, mask.shape)
    assert decoded.dtype == bool and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, mask)


def mask_of(*pixels: tuple[int, int]) -> Mask:
    mask = np.zeros((32, 48), bool)
    for y, x in pixels:
        mask[y, x] = True
    return mask


def test_written_by_hand() -> None:
    # Runs 2, 1, 3 of a 2 x 3 mask, each the digit at 48 + its length.
    assert encode(np.array([[0, 1, 0], [0, 0, 0]], bool)) == b"213"
    # No background before the first pixel: runs 0, 6.
    assert encode(np.ones((2, 3), bool)) == b"06"
    assert encode(np.zeros((2, 3), bool)) == b"6"


@pytest.mark.parametrize("value", [False, True])
@pytest.mark.parametrize("size", [(32, 48), (1, 7), (7, 1), (1, 1), (480, 640)])
def test_empty_and_full(size: tuple[int, int], value: bool) -> None:
    check(np.full(size, value))


@pytest.mark.parametrize("y", [0, 1, 30, 31])
@pytest.mark.parametrize("x", [0, 1, 46, 47])
def test_one_pixel(x: int, y: int) -> None:
    check(mask_of((y, x)))


def test_runs_that_go_on_in_the_next_column() -> None:
    check(mask_of((31, 4), (0, 5)))
    check(mask_of((31, 4), (0, 6)))
    check(mask_of((31, 47), (0, 0)))
    columns = mask_of()
    columns[:, 5:8] = True
    check(columns)


@pytest.mark.slow
@given(st.tuples(st.integers(1, 12), st.integers(1, 17)).flatmap(lambda size: hnp.arrays(bool, size)))
@settings(max_examples=300)
def test_any_small_mask(mask: Mask) -> None:
    check(mask)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_noise_at_full_size(share: float) -> None:
    check(np.random.default_rng(0).random((427, 640)) < share)


@pytest.mark.parametrize(
    "turn", [lambda m: m.T, lambda m: m[::-1], lambda m: m[:, ::2], lambda m: np.stack([~m, m])[1]]
)
def test_any_memory_layout(turn: Callable[[Mask], Mask]) -> None:
    check(turn(np.random.default_rng(1).random((32, 48)) < 0.3))


@pytest.mark.slow
@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=30))
def test_numbers_of_any_length_are_read_as_they_were_written(runs: list[int]) -> None:
    written = coco_mask.frPyObjects({"counts": runs, "size": [1, sum(runs)]}, 1, sum(runs))["counts"]
    assert unpacked(written).tolist() == runs


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 7))
def test_runs_without_a_pixel(runs: list[int], height: int) -> None:
    runs = [*runs, -sum(runs) % height]
    size = (height, sum(runs) // height)
    if size[1]:
        columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], height)
        np.testing.assert_array_equal(filled(np.array(runs), size), columns.T)


@pytest.mark.parametrize(
    ("counts", "said"),
    [(b"0~", "found '~' in the counts"), (b"0 ", "found ' '"), (b"0T", "end within a number"), (b"PPPPPPP1", "8 char")],
)
def test_strings_that_are_no_run_lengths(counts: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        unpacked(counts)
    assert unpacked(b"").size == 0


@pytest.mark.slow
@real_data.needs("coco")
def test_real_masks() -> None:
    coco = COCO(str(real_data.COCO / "annotations" / "instances_val2017.json"))
    annotations = coco.loadAnns(coco.getAnnIds())[:250]
    assert annotations
    for annotation in annotations:
        check(coco.annToMask(annotation).astype(bool))
