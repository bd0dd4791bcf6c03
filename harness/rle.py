"""Mask <-> COCO's compressed run lengths, the `counts` of its result files.

The runs go down the columns, from left to right, and start with background; the format's home is
https://github.com/cocodataset/cocoapi (common/maskApi.c), whose bytes these are.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Int64
from pycocotools import mask as coco_mask

from harness.metrics import Box, bounding_box
from harness.structures import Mask


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
    columns = coco_mask.decode({"counts": counts, "size": list(size)}).T
    return cv2.transpose(columns).view(np.bool_)


def _run_ends(mask: Mask, box: Box) -> Int64[np.ndarray, " runs_plus_1"]:
    """0 and the end of each run, counted down the columns; the first run, of background, may have no pixel."""
    height, width = mask.shape
    x0, _, x1, _ = box
    if x0 == x1:
        return np.array([0, mask.size])
    # Only the box's columns can hold a change; OpenCV transposes bytes several times faster than NumPy.
    pixels = cv2.transpose(mask[:, x0:x1].view(np.uint8)).reshape(-1)
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + (x0 * height + 1)
    before = [0, x0 * height] if pixels[0] else [0]
    after = [x1 * height, mask.size] if pixels[-1] and x1 < width else [mask.size]
    return np.concatenate([before, changes, after])
