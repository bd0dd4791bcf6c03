"""Keeps only the pixels in the box of an object's mask, so that many objects on a large picture take little memory.

    the image's mask                    kept
    . . . . . . . . . . . . . .
    . . . . . # # . . . . . . .         size  (5, 14), the image's (h, w)
    . . . . # # # # . . . . . .   ->    box   (4, 1, 8, 4): x0, y0, x1, y1
    . . . . . # # . . . . . . .         crop  the bytes in the box
    . . . . . . . . . . . . . .

A thousand objects on a picture of 3 megapixels are 3 GB as masks of the image's size, and some megabytes as crops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the full image, x1 and y1 excluded; (0, 0, 0, 0) around nothing."""

Crop = UInt8[np.ndarray, "box_h box_w"]
"""The pixels of a mask in a box: 0 or 1, C-contiguous."""


@dataclass(frozen=True, eq=False)
class Cropped:
    """A mask, kept as its box and the pixels in it.

    Attributes:
        size: (h, w) of the image.
        box: The smallest box around the mask's pixels.
        crop: A copy of the mask's pixels in the box.
    """

    size: tuple[int, int]
    box: Box
    crop: Crop

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "h w"]) -> Cropped:
        """Crop a mask, which may be empty."""
        box = bounding_box(mask)
        return cls((mask.shape[0], mask.shape[1]), box, cut(mask, box))

    def whole(self) -> Bool[np.ndarray, "h w"]:
        """The mask at the image's size: a new array each time."""
        mask = np.zeros(self.size, np.bool_)
        x0, y0, x1, y1 = self.box
        mask[y0:y1, x0:x1] = self.crop
        return mask


class KeptCropped:
    """A dataclass attribute for a mask: it stores the crop, and each read gives a new mask of the image's size.

    A value that is no bool array of two dimensions is kept as it is; the owner's own checks refuse it.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __set__(self, owner: Any, mask: Any) -> None:
        fits = isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.ndim == 2
        vars(owner)[self.name] = Cropped.of(mask) if fits else mask

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            raise AttributeError(self.name)  # This error tells a dataclass that the attribute has no default.
        kept = vars(owner)[self.name]
        return kept.whole() if isinstance(kept, Cropped) else kept


def bounding_box(mask: Bool[np.ndarray, "h w"]) -> Box:
    """The smallest box around a mask's pixels."""
    # Eight pixels at a time where they fit: looking for the box is the only step that reads the whole image.
    words = mask.view(np.uint64) if mask.flags.c_contiguous and mask.shape[1] % 8 == 0 else mask
    rows = np.flatnonzero(np.bitwise_or.reduce(words, axis=1))
    if not rows.size:
        return 0, 0, 0, 0
    y0, y1 = int(rows[0]), int(rows[-1]) + 1
    # OR-ing the rows of words leaves one row of words; seen as bytes, it has a byte for each column:
    #
    #    row 1     00 01 01 00 00 00 00 00     one word
    #    row 2     00 00 01 01 00 00 00 00     one word
    #    OR        00 01 01 01 00 00 00 00     columns 1 to 3
    columns = np.flatnonzero(np.bitwise_or.reduce(words[y0:y1], axis=0).view(np.uint8))
    return int(columns[0]), y0, int(columns[-1]) + 1, y1


def cut(mask: Bool[np.ndarray, "h w"], box: Box) -> Crop:
    """A copy of a mask's pixels in a box, 0 or 1."""
    x0, y0, x1, y1 = box
    return mask[y0:y1, x0:x1].copy().view(np.uint8)
