"""Mask <-> COCO's compressed run lengths, the `counts` of its result files.

The runs go down the columns, from left to right, and start with background. The bytes are equal to those of
https://github.com/cocodataset/cocoapi (common/maskApi.c), which defines the format. A mask of 3 x 4 pixels:

    . # # .
    . . # .     down the columns:  . . . # . # # # # . . .
    . # # .     runs:              3     1 1 4       3        3 of background, 1 of the mask, 1 of background, ...
                differences:       3     1 1 3       2        from the fourth run on: less the last run but one
                string:            "31132"

A number below 16 is one character, "0" plus its value. Larger numbers take several characters with five bits each, the
lowest first; all but the last have 32 added, which means that more follow. 100 is 3 * 32 + 4: "T3", for "T" is "0" + 32
+ 4. A negative difference is a two's complement: the fifth bit of the last character is the sign.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Int64
from pycocotools import mask as coco_mask

from harness.cropping import Box, bounding_box
from harness.structures import Mask

Runs = Int64[np.ndarray, " runs"]
"""Lengths in pixels, of background and mask by turns."""

_MOST_GROUPS = 7
"""Characters of one number, 34 bits and a sign: no image has so many pixels, and no sum of such numbers overflows."""


def encode(mask: Mask, box: Box | None = None) -> bytes:
    """The run lengths of a mask, as `pycocotools.mask.encode` writes them.

    Args:
        mask: May be empty.
        box: The mask's, where it is known (`Region.box`): looking for it is half of the work.
    """
    height, width = mask.shape
    runs = np.diff(_run_ends(mask, box or bounding_box(mask)))
    rle = coco_mask.frPyObjects({"counts": runs, "size": [height, width]}, height, width)
    return bytes(rle["counts"])


def decode(counts: bytes, size: tuple[int, int]) -> Mask:
    """The mask of `encode`'s run lengths, C-contiguous; `size` is its (h, w)."""
    return filled(unpacked(counts), size)


def unpacked(counts: bytes) -> Runs:
    """The run lengths in COCO's string (see the top of this file).

    Source: rleToString in common/maskApi.c of https://github.com/cocodataset/cocoapi.

    Raises:
        ValueError: It is no such string. The numbers of a well-formed string may still be no run lengths (if some are
            negative), or those of an image of another size.
    """
    groups = np.frombuffer(counts, np.uint8) - np.uint8(ord("0"))
    if (foreign := groups > 63).any():
        raise ValueError(f"found {chr(counts[int(foreign.argmax())])!r} in the counts; wanted '0' to 'o'")
    ends = np.flatnonzero(groups < 32) + 1  # after each of the others more groups follow
    if ends[-1:].sum() != len(groups):
        raise ValueError("found counts that end within a number")
    starts = np.concatenate([ends[:0], [0], ends])[:-1]
    lengths = ends - starts
    if (lengths > _MOST_GROUPS).any():
        raise ValueError(f"found a number of {lengths.max()} characters in the counts; wanted {_MOST_GROUPS} at most")
    # The bits by which each character's five bits are shifted left: its place within its number, times five. "T3" gives
    # 0 and 5: 36 & 31 = 4, and 3 << 5 = 96, together 100.
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((groups & 31) << shifts, starts) if len(ends) else ends
    runs -= (groups[ends - 1] >> 4) << 5 * lengths  # the sign, in the last group
    # From the fourth number on, each is the difference from the last but one: runs 1, 3, 5, ... are sums along the
    # odd places, runs 2, 4, ... along the even ones, and run 0 stands by itself. In the example 3 1 1 3 2:
    #
    #    places 1, 3    1  3    -> 1  4
    #    places 2, 4    1  2    -> 1  3          runs 3 1 1 4 3
    for every_other in (runs[1::2], runs[2::2]):
        np.cumsum(every_other, out=every_other)
    return runs


def filled(runs: Runs, size: tuple[int, int]) -> Mask:
    """The mask of (h, w) with these run lengths; C-contiguous. They must not be negative, and sum to h x w."""
    height, mask = size[0], np.zeros(size, np.bool_)
    ends = np.cumsum(runs)
    inside = len(runs) // 2 * 2  # up to the last run of the mask
    # Runs go down columns, but the mask is stored in rows: so columns are made and transposed, with OpenCV, which is
    # faster at that than NumPy. Only the columns from the mask's first pixel, x0, to its last are made.
    x0, x1 = (int(ends[0]) // height, -(-int(ends[inside - 1]) // height)) if inside else (0, 0)
    if x0 < x1:
        lengths = np.append(runs[:inside], x1 * height - ends[inside - 1])
        # The written columns begin at x0, so the first run, background, loses the x0 columns before them; after the
        # mask's last run the rest of its column is background again.
        lengths[0] -= x0 * height
        columns = np.repeat(np.arange(inside + 1) % 2 == 1, lengths).reshape(x1 - x0, height)
        mask[:, x0:x1] = cv2.transpose(columns.view(np.uint8)).view(np.bool_)
    return mask


def _run_ends(mask: Mask, box: Box) -> Int64[np.ndarray, " runs_plus_1"]:
    """0 and the end of each run, counted down the columns; the first run is background and may be empty."""
    height, width = mask.shape
    x0, _, x1, _ = box
    if x0 == x1:
        return np.array([0, mask.size])
    # Only the box's columns can hold a change; OpenCV transposes bytes several times faster than NumPy.
    pixels = cv2.transpose(mask[:, x0:x1].view(np.uint8)).reshape(-1)
    # A run ends where a pixel differs from the next one. The box cuts off two such places: if its first pixel is mask,
    # the change lies just before the box; if its last pixel is mask, just after it, unless the image ends there.
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + (x0 * height + 1)
    before = [0, x0 * height] if pixels[0] else [0]
    after = [x1 * height, mask.size] if pixels[-1] and x1 < width else [mask.size]
    return np.concatenate([before, changes, after])
