"""How far the pixels of a mask are from its outside, for every pixel of it.

The integer behind OpenCV's distance is taken, for the distance itself is not one number: the last bit of its square
root differs with the alignment of the arrays, with the place of an object in the image and with the number of threads
(OpenCV 5.0 with Intel's IPP), and a click that goes to "the deepest pixel" would differ with it.
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
    """How far the pixels in a box of an image are from something; exact to a distance of 1000 pixels.

    Attributes:
        raw: OpenCV's distances, of which only the nearest integer of their squares is to be trusted.
        left: Of the box in the image.
        top: Of the box in the image.
    """

    raw: Raw
    left: int
    top: int

    @property
    def squared(self) -> SquaredDepth:
        """The integers behind the distances."""
        return squared(self.raw)

    @cached_property
    def most(self) -> np.float32:
        """The largest distance."""
        return np.float32(math.sqrt(round(float(self.raw.max()) ** 2)))

    def at_least(self, distance: float) -> Mask:
        """Which pixels are so far, or farther, more than 0 at any rate."""
        return self.raw > _short_of(_first_square(distance))

    def at_most(self, distance: int) -> Mask:
        """Which pixels are so far, or nearer, but not at 0."""
        return (self.raw > 0) & (self.raw < _short_of(distance**2 + 1))


def inside(region: Region) -> Distances:
    """Of the pixels in a mask's box to the nearest pixel outside the mask, which the image's edge is, too.

    Computed on the box alone, which is exact and cheaper than on the image.
    """
    padded = cv2.copyMakeBorder(region.crop, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return Distances(to_nearest_zero(padded)[1:-1, 1:-1], *region.box[:2])


def eroded(region: Region, margin: float) -> Mask:
    """The pixels in a mask's box at least `margin` deep, more than 0 at any rate: those of `inside`, without distances.

    A pixel is so deep if all of a disc around it lies in the mask; small discs take a fraction of a transform's time.
    """
    square = _first_square(margin)
    reach = math.isqrt(square - 1)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = (y * y + x * x < square).view(np.uint8)
    return cv2.erode(region.crop, disc, borderType=cv2.BORDER_CONSTANT, borderValue=(0,)).view(np.bool_)


def outside(mask: Mask, region: Region, reach: int) -> Distances:
    """To the mask's nearest pixel, within its box grown by `reach` pixels.

    Args:
        mask: Of the whole image.
        region: The same mask's.
        reach: In pixels.
    """
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
    """OpenCV's distance of every pixel to the nearest that is 0, of which there must be one."""
    return cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def squared(raw: Float32[np.ndarray, "*size"]) -> Int32[np.ndarray, "*size"]:
    """The integers behind OpenCV's distances."""
    return np.rint(raw * raw).astype(np.int32)


def _first_square(distance: float) -> int:
    """The least positive integer whose root, in single precision, is at least this."""
    wanted = np.float32(distance)
    square = max(1, int(float(wanted) ** 2) - 1)
    while np.float32(math.sqrt(square)) < wanted:
        square += 1
    return square


def _short_of(square: int) -> float:
    """Between the root of an integer and that of the one before, where no distance lies, however rounded."""
    return math.sqrt(square - 0.5)
