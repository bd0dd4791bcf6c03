"""A mask cropped to its box, with its area and its boundary band.

    the image's mask                    the region
    . . . . . . . . . . . . . .
    . . . . . # # . . . . . . .         box   (4, 1, 8, 4): x0, y0, x1, y1
    . . . . # # # # . . . . . .   ->    crop  the bytes in the box, which are all that is worked on from then on
    . . . . . # # # . . . . . .         area  and boundary band, computed when they are first asked for, and kept
    . . . . . . . . . . . . . .

Most objects cover a small part of their image, so that looking for the box is the only step that reads all of it. The
ground truth's region is built once an instance and compared with every prediction.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from harness.cropping import Box, Crop, Cropped, cut
from harness.structures import Mask


class _Pixels(NamedTuple):
    """The pixels of a region, or of its band, that count."""

    box: Box
    crop: Crop
    area: int

    def shared_with(self, other: _Pixels) -> int:
        """How many pixels lie in both."""
        x0, y0 = max(self.box[0], other.box[0]), max(self.box[1], other.box[1])
        x1, y1 = min(self.box[2], other.box[2]), min(self.box[3], other.box[3])
        if x0 >= x1 or y0 >= y1:
            return 0
        # The common part of both boxes, as each crop sees it: outside of it one of the two has no pixel.
        mine, theirs = (p.crop[y0 - p.box[1] : y1 - p.box[1], x0 - p.box[0] : x1 - p.box[0]] for p in (self, other))
        return cv2.countNonZero(cv2.bitwise_and(mine, theirs))


class Region:
    """A mask with its box, its area and its boundary band. It keeps no reference to the array it is made of.

    Args:
        mask: The mask, whole or cropped already; it may be empty.
        ignore: Pixels that do not count: neither in areas, intersections and unions nor in boundary bands. The outline
            is still that of the whole mask, so no band runs along ignored pixels. Only regions of the same image with
            the same `ignore` can be compared.

    Attributes:
        size: (h, w) of the full image.
        box: The box around the whole mask, ignored pixels included.
        crop: The whole mask inside its box.
    """

    def __init__(self, mask: Mask | Cropped, ignore: Mask | None = None) -> None:
        own = mask if isinstance(mask, Cropped) else Cropped.of(mask)
        assert ignore is None or ignore.shape == own.size
        self.size, self.box, self.crop = own.size, own.box, own.crop
        self._ignored = None if ignore is None else cut(ignore, self.box)
        self._bands: dict[float, _Pixels] = {}
        self._last: tuple[Region, int] | None = None

    @property
    def area(self) -> int:
        """How many pixels count."""
        return self._whole.area

    @cached_property
    def mask(self) -> Mask:
        """The pixels that count, at the image's size; not to be written on."""
        mask = np.zeros(self.size, bool)
        x0, y0, x1, y1 = self.box
        mask[y0:y1, x0:x1] = self._whole.crop
        mask.flags.writeable = False
        return mask

    def forget(self) -> None:
        """Free the memory of `mask`, a byte for each pixel of the image. The next read of `mask` computes it again."""
        vars(self).pop("mask", None)

    def boundary(self, dilation_ratio: float = 0.02) -> Crop:
        """The band just inside the outline, where it counts, in the region's box.

        It holds the mask's pixels that have a pixel outside the mask, or beyond the image's border, within d rows
        and d columns, where d is `dilation_ratio` times the image's diagonal, rounded, and at least 1. With d = 1:

            # # # # #         # # # # #
            # # # # #         # . . . #     the core that is left out: around each of its pixels
            # # # # #   ->    # . . . #     a square of 2 d + 1 pixels fits into the mask
            # # # # #         # # # # #

        Source: Cheng et al., "Boundary IoU", CVPR 2021, https://arxiv.org/abs/2103.16562; pixel for pixel the band of
        `mask_to_boundary` in https://github.com/bowenc0221/boundary-iou-api at 37d2558.
        """
        return self._band(dilation_ratio).crop

    def boundary_area(self, dilation_ratio: float = 0.02) -> int:
        """How many pixels the boundary band has."""
        return self._band(dilation_ratio).area

    def intersection(self, other: Region) -> int:
        """How many counted pixels lie in both masks."""
        assert self.size == other.size
        # IoU, the pixel columns and `Objects.hit` all need the intersection of the same pair, one after the other:
        # remembering the last pair is enough.
        if self._last is None or self._last[0] is not other:
            self._last = other, self._whole.shared_with(other._whole)
        return self._last[1]

    def union(self, other: Region) -> int:
        """How many counted pixels lie in either mask."""
        return self.area + other.area - self.intersection(other)

    def boundary_intersection(self, other: Region, dilation_ratio: float = 0.02) -> int:
        """How many counted pixels lie in both boundary bands."""
        assert self.size == other.size
        return self._band(dilation_ratio).shared_with(other._band(dilation_ratio))

    @cached_property
    def _whole(self) -> _Pixels:
        return self._counted(self.crop)

    def _band(self, dilation_ratio: float) -> _Pixels:
        if dilation_ratio not in self._bands:
            distance = max(1, round(dilation_ratio * math.hypot(*self.size)))
            self._bands[dilation_ratio] = self._counted(_inner_band(self.crop, distance))
        return self._bands[dilation_ratio]

    def _counted(self, crop: Crop) -> _Pixels:
        counted = crop if self._ignored is None else crop & ~self._ignored
        return _Pixels(self.box, counted, cv2.countNonZero(counted) if counted.size else 0)


def _inner_band(crop: Crop, distance: int) -> Crop:
    """The pixels of a cropped mask that lie within `distance` of its outside; beyond the crop all is outside."""
    # A square of 2 * distance + 1 pixels does not fit into such a crop: there is no core, and all of the mask is band.
    if min(crop.shape) <= 2 * distance:
        return crop
    # The core is a part of the mask, so XOR sets exactly its pixels to 0. The pixels that are left are the band.
    band = crop.copy()
    band[distance:-distance, distance:-distance] ^= _core(crop, distance)
    return band


def _core(crop: Crop, distance: int) -> UInt8[np.ndarray, "core_h core_w"]:
    """The centres of square windows of 2 * distance + 1 pixels that fit into the mask: 1 there, else 0.

    The crop's margins of `distance` pixels are left out.

    This is an erosion by a square: first by an upright line, then by a level one. A line of n pixels takes about
    log2(n) passes, since the AND of a window with itself, shifted by its length, is a window twice as long:

        pixels             1 1 1 1 0 1 1 1     a window of 1
        & shifted by 1     1 1 1 0 0 1 1       1 where a window of 2 fits, from here on to the right
        & shifted by 2     1 0 0 0 0           1 where a window of 4 fits

    The rows lie end to end in one flat array, so a pass is one operation on contiguous memory. Windows that run over
    the end of a row begin in its last `margin` columns, which the last line below leaves out.
    """
    (height, width), margin = crop.shape, 2 * distance
    pixels = crop.reshape(-1)
    for shift in _doublings(margin + 1):
        pixels = pixels[shift * width :] & pixels[: -shift * width]
    for shift in _doublings(margin + 1):
        pixels = pixels[shift:] & pixels[:-shift]
    # A window that starts at row r and column c stands at r * width + c. The first width - margin columns of each row
    # are windows that fit into the row; reading with the old row length skips the others.
    return np.ndarray((height - margin, width - margin), np.uint8, buffer=pixels, strides=(width, 1))


def _doublings(length: int) -> list[int]:
    """Shifts that grow a window of 1 to `length`, each at most as long as the window so far: 1, 2, 4, ..., rest."""
    shifts, grown = [], 1
    while grown < length:
        shifts.append(min(grown, length - grown))
        grown += shifts[-1]
    return shifts
