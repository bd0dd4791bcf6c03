"""Masks for tests: rectangles, noise and what is cut out of both; and the boundary band by its definition."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.masks.region import Region
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
