"""How far the pixels of a mask are from its outside, for every pixel of it.

The integer behind OpenCV's distance is taken, for the distance itself is not one number: the last bit of its square
root differs with the alignment of the arrays, with the place of an object in the image and with the number of threads
(OpenCV 5.0 with Intel's IPP), and a click that goes to "the deepest pixel" would differ with it.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from harness.structures import Mask

SquaredDepth = Int32[np.ndarray, "box_h box_w"]


def interior_depth(mask: Mask) -> tuple[Float32[np.ndarray, "box_h box_w"], int, int]:
    """Euclidean distance in pixels from each pixel of the mask to the nearest one outside; the image's edge is outside.

    Computed on the mask's box, which is exact and cheaper than on the image.

    Returns:
        The depths within the box (0 off the mask), and the box's left and top in the image.
    """
    squared, left, top = squared_depth(mask)
    return np.sqrt(squared).astype(np.float32), left, top


def squared_depth(mask: Mask) -> tuple[SquaredDepth, int, int]:
    """The square of `interior_depth`, which is an integer; exact to a depth of 1000 pixels."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    crop = np.ascontiguousarray(mask[top : top + height, left : left + width]).view(np.uint8)
    padded = cv2.copyMakeBorder(crop, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return to_nearest_zero(padded)[1:-1, 1:-1], left, top


def squared_distance(mask: Mask, reach: int) -> tuple[SquaredDepth, int, int]:
    """The squared distance to the mask's nearest pixel, within the mask's box grown by `reach` pixels.

    Returns:
        The distances (0 on the mask), and the grown box's left and top in the image.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    x0, y0 = max(0, left - reach), max(0, top - reach)
    around = mask[y0 : top + height + reach, x0 : left + width + reach]
    return to_nearest_zero(np.logical_not(around).view(np.uint8)), x0, y0


def to_nearest_zero(region: UInt8[np.ndarray, "h w"]) -> SquaredDepth:
    """The squared distance of every pixel to the nearest that is 0, of which there must be one."""
    depth = cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth *= depth
    return np.rint(depth, out=depth).astype(np.int32)
