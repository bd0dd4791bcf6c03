r"""The parts of the image that FocalClick's networks see: a window for the coarse one, a crop of it for the refiner.

Paper: Chen et al., "FocalClick", CVPR 2022, https://arxiv.org/abs/2204.02574, sections 3.1 ("Target Crop", "Focus
Crop") and 3.2 ("Progressive Merge"). Rules and values follow alibaba/ClickSEG at d61a76b.

    +-------------------------------+
    |      +-----------------+      |     window: around the mask so far and the positive clicks, from the second
    |      |   #######       |      |             click on, 1.4 times as large as their box
    |      |  #####+------+  |      |     crop:   around the newest click's change of the coarse mask, 1.4 times as
    |      |  #####|##x   |  |      |             large; on the first click, around the coarse mask
    |      |   ####+------+  |      |
    |      +-----------------+      |     #  mask,  x  the newest click
    +-------------------------------+

The window's rule has the name of RITM's (ZoomIn), but differs: the window is computed anew for each click, may be as
small as ten pixels, and is squeezed to the network's square.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float
from torch import Tensor

from harness.structures import Click, Mask

from ..ritm.hrnet_ocr import resized
from ..ritm.zoom import View, Window, ZoomIn

SEEN_ABOVE = 0.49
"""Pixels with a larger probability are the mask of the round before, for the window and for a click's change."""

CHANGED_ABOVE = 1 / (1 + np.exp(-0.49))
"""Probabilities above it are this round's coarse mask, for the crop. The official code compares logits with 0.49."""

FEW = 10
"""A mask of fewer pixels has the whole image as its box."""

SMALL = 1 / 3
"""A change is small if its box has less than this share of the mask's height or width. Then `AROUND` applies."""

AROUND = 0.2
"""A small change is replaced by a square around the click, with this share of the mask's longer side to each side."""


class Crop(NamedTuple):
    """A part of an image, by its rows from `top` to before `bottom` and its columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.bottom - self.top, self.right - self.left

    def cut(self, maps: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c sh sw"]:
        """Cut the part out of maps of the image, and resize it."""
        return resized(maps[:, :, self.top : self.bottom, self.left : self.right], size)

    def place(self, click: Click, side: int) -> tuple[float, float]:
        """Row and column of a click in the part resized to a square; negative or above `side` if it lies outside."""
        height, width = self.size
        return (click.y - self.top) * side / height, (click.x - self.left) * side / width

    def within(self, window: Window, side: int) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the part in the pixels of a window that is resized to a square."""
        height, width = window.size
        # A window of 128 rows that begins at row 40 is seen at 256: a part from row 72 begins at (72 - 40) * 256 / 128
        # = 64.
        edges = (
            (self.left - window.left) * side / width,
            (self.top - window.top) * side / height,
            (self.right - window.left) * side / width,
            (self.bottom - window.top) * side / height,
        )
        left, top, right, bottom = (min(max(edge, 0.0), float(side)) for edge in edges)
        return left, top, right, bottom


def view(seen: Mask, kept: Window | None, clicks: Sequence[Click], ratio: float) -> View:
    """The window that the coarse network sees, and the one where its answer is pasted.

    Args:
        seen: The mask after the round before; empty before the first answer.
        kept: The window of the round before.
        clicks: All clicks so far.
        ratio: The window's size over that of the box of mask and positive clicks.
    """
    if len(clicks) <= 1:
        return View(None, kept)
    wanted = ZoomIn(expansion_ratio=ratio, min_crop_size=FEW).around(seen, clicks)
    # Without a mask the network sees the whole image. The official code then pastes its answer into the window of the
    # round before, which is kept here, too.
    return View(wanted, wanted) if wanted else View(None, kept)


def focus_crop(found: Mask, before: Mask, click: Click, window: Window, ratio: float) -> Crop:
    """The part of the image that the refiner sees.

    Args:
        found: The coarse mask, in the image.
        before: The mask of the round before.
        click: The newest click.
        window: The part that the coarse network saw; the crop lies within.
        ratio: The crop's size over that of its box.
    """
    box = focus_box(found, before, click)
    top, bottom = _enlarged(box[0], box[1], ratio, found.shape[0], (window.top, window.bottom + 1))
    left, right = _enlarged(box[2], box[3], ratio, found.shape[1], (window.left, window.right + 1))
    return Crop(top, bottom, left, right)


def focus_box(found: Mask, before: Mask, click: Click) -> tuple[float, float, float, float]:
    """First row, last row, first column and last column of the region for the refiner."""
    # First click: there is no mask yet, and the refiner sees all of the coarse mask. Later: XOR of both masks is the
    # change, and its connected part under the click is the change by the click. If that part is tiny, its box would
    # show next to nothing, so a square around the click is shown instead.
    whole = box_of(found)
    if not before.any():
        return whole
    box = box_of(component(found ^ before, click))
    height, width = whole[1] - whole[0], whole[3] - whole[2]
    if box[1] - box[0] < height * SMALL or box[3] - box[2] < width * SMALL:
        reach = AROUND * max(height, width)
        return click.y - reach, click.y + reach, click.x - reach, click.x + reach
    return box


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """First row, last row, first column, last column; (0, h, 0, w) for a mask of fewer than ten pixels."""
    if np.count_nonzero(mask) < FEW:
        return 0, mask.shape[0], 0, mask.shape[1]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def component(mask: Mask, click: Click) -> Mask:
    """The connected part of the mask that holds the click; if the click is off the mask, all pixels off the mask.

    Pixels that touch at a corner are connected.
    """
    if not mask[click.y, click.x]:
        return ~mask
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return labels == labels[click.y, click.x]


def merged(found: Mask, before: Mask, click: Click) -> Mask:
    """Progressive Merge: the mask before, changed only in the region under the newest click.

        before      found       changed     click in the right part     merged
        # # . . .   # # . . #   . . . . +   -> only that part           # # . . #
        # # . . .   . # . . #   + . . . +      is taken over            # # . . #

    If the click lies where nothing changed, the official code merges all pixels that did not change, so the mask
    becomes nearly the whole image or nearly empty. That is kept.
    """
    part = component(found ^ before, click)
    # A click on the mask means that its region is too much, a click beside it that its region is missing. The click's
    # sign is not asked; the official code does not ask it either.
    return before & ~part if before[click.y, click.x] else before | part


def _enlarged(first: float, last: float, ratio: float, length: int, limits: tuple[int, int]) -> tuple[int, int]:
    """A range of rows or columns, `ratio` times as long about its centre, cut at the image's edges and the window's.

    If a change is one pixel high and lies at the edge, as on an image of one row, nothing is left, and the official
    code fails. Here the row or column of its centre is left.
    """
    # Both ends belong to a range: rows 10 to 19 are 10 rows, whose centre is 14.5; 1.4 times as long is 7.5 to 21.5,
    # and int() cuts both to 7 and 21, towards zero as in the official code. (`focus_box` compares last - first, without
    # the 1, since the official code does.)
    centre, half = (first + last) / 2, ratio * (last - first + 1) / 2
    start, end = max(0, limits[0], int(centre - half)), min(length, limits[1], int(centre + half))
    if start < end:
        return start, end
    middle = min(max(int(centre), limits[0]), min(length, limits[1]) - 1)
    return middle, middle + 1
