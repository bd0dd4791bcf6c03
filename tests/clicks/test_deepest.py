"""The deepest point against every pixel tried: distances, ties, clicked pixels, bounds."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.clicks.deepest import Deepest, deepest
from harness.structures import Click, Mask

FEW = settings(max_examples=50, derandomize=True)


def brute(mask: Mask, barred: Sequence[Click] = ()) -> Deepest | None:
    """Every pixel's distance to every pixel off the mask; a rim around the image is off it."""
    padded = np.pad(mask, 1)
    off, on = np.argwhere(~padded), np.argwhere(padded)
    clicked = {(click.y + 1, click.x + 1) for click in barred}
    best = None
    for y, x in on:  # row by row, so that the first of equals stays
        squared = int(((off - (y, x)) ** 2).sum(axis=1).min())
        if (y, x) not in clicked and (best is None or squared > best.squared):
            best = Deepest(squared, int(x) - 1, int(y) - 1)
    return best


def some_mask(seed: int) -> Mask:
    """Noise, blobs or overlaid boxes, from one pixel to 23 x 31."""
    rng = np.random.default_rng(seed)
    h, w = int(rng.integers(1, 24)), int(rng.integers(1, 32))
    kind = seed % 3
    if kind == 0:
        return rng.random((h, w)) < rng.choice([0.05, 0.5, 0.9, 0.98, 1.0])
    if kind == 1:
        noise = rng.standard_normal((4, 6)).astype(np.float32)
        return cv2.resize(noise, (w, h), interpolation=cv2.INTER_CUBIC) > rng.uniform(-1, 1)
    mask = np.zeros((h, w), bool)
    for _ in range(3):
        y, x = rng.integers(h), rng.integers(w)
        mask[y : y + rng.integers(1, h + 1), x : x + rng.integers(1, w + 1)] ^= True
    return mask


@pytest.mark.slow
@FEW
@given(st.integers(0, 10**6), st.integers(0, 5), st.integers(1, 60))
def test_as_by_trying_them_all(seed: int, clicks: int, least: int) -> None:
    mask = some_mask(seed)
    barred: list[Click] = []
    for _ in range(clicks):
        found = brute(mask, barred)
        assert deepest(mask, barred) == found
        if found is None:
            return
        barred.append(Click(found.x, found.y))
    found = brute(mask, barred)
    assert deepest(mask, barred, least) == (found if found and found.squared >= least else None)


def transformed(mask: Mask) -> Deepest:
    """By OpenCV's transform of the whole image, rounded to the integers it stands for."""
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    squared = np.rint(np.square(depth, dtype=np.float64)).astype(int)
    y, x = divmod(int(squared.argmax()), mask.shape[1])
    return Deepest(int(squared.max()), x, y)


H, W = 240, 320
Y, X = np.indices((H, W))
LARGE = {
    "full": np.ones((H, W), bool),
    "disc": np.hypot(Y - 118.5, X - 160) < 110,
    "ring": np.abs(np.hypot(Y - 120, X - 160) - 80) < 25,
    "stripes": (Y // 17) % 2 == 0,
    "tilted band": np.abs(Y - 120 - 0.41 * (X - 160)) < 21,
    "wedge": np.abs(Y - 120) < 0.3 * X,
    "checkered": (Y // 9 + X // 9) % 2 == 0,
    "noise": np.random.default_rng(0).random((H, W)) < 0.8,
    "pinholes": np.random.default_rng(0).random((H, W)) < 0.9995,
    "far corners": ((Y < 9) & (X < 9)) | ((Y >= H - 10) & (X >= W - 10)),
    "a column": X == 7,
    "a corner pixel": (Y == H - 1) & (X == W - 1),
}


@pytest.mark.parametrize("mask", LARGE.values(), ids=list(LARGE))
def test_large_shapes_and_their_mirror_images(mask: Mask) -> None:
    for turned in (mask, mask[::-1], mask[:, ::-1], mask.T):
        region = np.ascontiguousarray(turned)
        assert deepest(region) == transformed(region)


def test_of_equally_deep_pixels_the_topmost_then_the_leftmost() -> None:
    mask = np.zeros((20, 40), bool)
    mask[8:13, 3:8] = mask[2:7, 30:35] = mask[2:7, 20:25] = True
    assert deepest(mask) == Deepest(9, 22, 4)
    assert deepest(mask, [Click(22, 4)]) == Deepest(9, 32, 4)
    assert deepest(mask, [Click(22, 4), Click(32, 4)]) == Deepest(9, 5, 10)


def test_a_click_beside_the_region_bars_no_pixel_of_it() -> None:
    mask = np.zeros((20, 40), bool)
    mask[8:13, 20:27] = True
    # The region's box with its rim is 9 wide and 7 high: each click is one such box away from the deepest pixel.
    for click in (Click(13, 10), Click(31, 10), Click(22, 3), Click(22, 17)):
        assert deepest(mask, [click]) == Deepest(9, 22, 10)


def test_a_depth_between_two_whole_numbers() -> None:
    y, x = np.indices((20, 40))
    for squared in (2, 5, 8, 10, 13, 41, 85):  # sums of two squares
        disc = (y - 9) ** 2 + (x - 22) ** 2 < squared
        assert deepest(disc) == Deepest(squared, 22, 9)


def test_the_image_s_edge_is_outside() -> None:
    mask = np.zeros((20, 40), bool)
    mask[0:7, 0:9] = True
    assert deepest(mask) == Deepest(16, 3, 3)


def test_nothing_to_find() -> None:
    mask = np.zeros((5, 7), bool)
    assert deepest(mask) is None
    mask[2, 3] = True
    assert deepest(mask) == Deepest(1, 3, 2)
    assert deepest(mask, least=2) is None
    assert deepest(mask, [Click(3, 2)]) is None
    assert mask.sum() == 1
