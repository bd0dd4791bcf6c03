"""Computes for every pixel of a mask how far it is from the outside.

A distance between pixels is the root of an integer, dx * dx + dy * dy. OpenCV computes the root in single precision,
and its last bit differs with the alignment of the arrays, with the place of an object in the image and with the number
of threads (OpenCV 5.0 with Intel's IPP). A click that goes to "the deepest pixel" would differ with it. So only the
integer is trusted, and distances are compared half-way between the roots of two integers, where none ever lies:

    integer    0        1          2          3          4          5
    root       0        1          1.414      1.732      2          2.236
    bound        0.707    1.225      1.581      1.871      2.121          `_short_of(1)` to `_short_of(5)`

"At least 2 pixels" is thus "above 1.871", and a distance that came out as 1.9999999 is not lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from harness.masks.region import Region
from harness.structures import Mask

Raw = Float32[np.ndarray, "box_h box_w"]
SquaredDepth = Int32[np.ndarray, "box_h box_w"]


@dataclass(frozen=True, eq=False)
class Distances:
    """The distances of the pixels in a box of an image; exact to a distance of 1000 pixels.

    Attributes:
        raw: OpenCV's distances. Only the nearest integer of their squares is exact.
        left: The column of the image at which the box begins.
        top: The row of the image at which the box begins.
    """

    raw: Raw
    left: int
    top: int

    @property
    def squared(self) -> SquaredDepth:
        """The exact squares of the distances, as integers."""
        return squared(self.raw)

    @cached_property
    def most(self) -> np.float32:
        """The largest distance."""
        return np.float32(math.sqrt(round(float(self.raw.max()) ** 2)))

    def at_least(self, distance: float) -> Mask:
        """The pixels that are at least this far away, without those at distance 0."""
        return self.raw > _short_of(_first_square(distance))

    def at_most(self, distance: int) -> Mask:
        """The pixels that are at most this far away, without those at distance 0."""
        return (self.raw > 0) & (self.raw < _short_of(distance**2 + 1))


def inside(region: Region) -> Distances:
    """The distances from the pixels in a mask's box to the nearest pixel outside the mask; beyond the image is outside.

    Computed on the box alone, which is exact and cheaper than on the image.
    """
    # OpenCV does not count the area beyond an array's edge as outside. A rim of zeros makes it count; it is cut off
    # again below.
    padded = cv2.copyMakeBorder(region.crop, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return Distances(to_nearest_zero(padded)[1:-1, 1:-1], *region.box[:2])


def eroded(region: Region, margin: float) -> Mask:
    """The pixels of a mask that are at least `margin` deep: those of `inside(region).at_least(margin)`.

    A pixel is that deep exactly if a disc around it lies in the mask, so an erosion by the disc finds these pixels. For
    the small margins of click rules that takes a fraction of a distance transform's time. The disc for a margin of 2.2
    pixels:

        . . # . .
        . # # # .     5 is the least integer whose root is at least 2.2,
        # # # # #     so the disc has the offsets with x * x + y * y < 5
        . # # # .
        . . # . .
    """
    square = _first_square(margin)
    reach = math.isqrt(square - 1)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = (y * y + x * x < square).view(np.uint8)
    return cv2.erode(region.crop, disc, borderType=cv2.BORDER_CONSTANT, borderValue=(0,)).view(np.bool_)


def outside(mask: Mask, region: Region, reach: int) -> Distances:
    """The distances to the mask's nearest pixel, within its box grown by `reach` pixels.

    Args:
        mask: bool (h, w), at the image's size.
        region: The region of the same mask.
        reach: In pixels.
    """
    # No pixel outside this window can be within `reach` of the mask. The slice ends by itself at the image's far edges;
    # at the near ones a negative start would count from the end, hence `max`.
    x0, y0, x1, y1 = region.box
    left, top = max(0, x0 - reach), max(0, y0 - reach)
    around = mask[top : y1 + reach, left : x1 + reach]
    return Distances(to_nearest_zero(np.logical_not(around).view(np.uint8)), left, top)


def interior_depth(mask: Mask) -> tuple[Raw, int, int]:
    """Euclidean distance in pixels from each pixel of the mask to the nearest one outside; the image's edge is outside.

    Returns:
        The depths within the box (0 off the mask), and the box's left and top in the image.
    """
    squares, left, top = squared_depth(mask)
    return np.sqrt(squares).astype(np.float32), left, top


def squared_depth(mask: Mask) -> tuple[SquaredDepth, int, int]:
    """The square of `interior_depth`, which is an integer; exact to a depth of 1000 pixels."""
    found = inside(Region(mask))
    return found.squared, found.left, found.top


def to_nearest_zero(region: UInt8[np.ndarray, "h w"]) -> Raw:
    """OpenCV's distance of every pixel to the nearest pixel with the value 0; there must be at least one."""
    return cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def squared(raw: Float32[np.ndarray, "*size"]) -> Int32[np.ndarray, "*size"]:
    """The integers behind OpenCV's distances."""
    return np.rint(raw * raw).astype(np.int32)


def _first_square(distance: float) -> int:
    """The least positive integer whose root, in single precision, is at least this."""
    wanted = np.float32(distance)
    # Rounding may have put the square on either side of the true one. So the search starts one below it, and goes up to
    # the first integer that suffices: two or three steps.
    square = max(1, int(float(wanted) ** 2) - 1)
    while np.float32(math.sqrt(square)) < wanted:
        square += 1
    return square


def _short_of(square: int) -> float:
    """A bound between the root of an integer and that of the one before: no distance lies there, however rounded."""
    return math.sqrt(square - 0.5)
