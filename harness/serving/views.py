"""Pictures, masks and maps in the form and at the size in which a browser shows them.

A photograph of 12 megapixels with three candidates of eight methods would be 300 megapixels of canvas. So a browser
gets everything at the size of the view, at most 1200 pixels on the longer side. It sends clicks in pixels of the full
picture, and scores are computed from the full masks.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from harness.masks import rle
from harness.structures import Image, Mask

SIDE, THUMB_SIDE = 1200, 160
"""Most pixels of the longer side, of a picture that is clicked on and of one in the list."""

LOSSLESS_PX = 512 * 512
"""A picture of at most so many pixels is sent as PNG, a larger one as JPEG. Methods get the original pixels."""


def view_size(size: tuple[int, int], side: int = SIDE) -> tuple[int, int]:
    """(h, w) of a picture's view: (3000, 4000) becomes (900, 1200), and a small picture keeps its size."""
    # The shorter side of 1 x 5000 pixels would round to 0.
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def picture_file(image: Image, side: int = SIDE) -> tuple[bytes, str]:
    """A picture's view as the bytes of a file, and their media type."""
    height, width = view_size((image.shape[0], image.shape[1]), side)
    small = image
    if (height, width) != image.shape[:2]:
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    if height * width <= LOSSLESS_PX and side == SIDE:
        return _encoded(".png", bgr), "image/png"
    return _encoded(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90]), "image/jpeg"


def mask_counts(mask: Mask) -> str:
    """A mask's view as COCO's run lengths, at `view_size` of its own."""
    height, width = view_size((mask.shape[0], mask.shape[1]))
    if (height, width) != mask.shape:
        # A pixel of the view belongs to the mask if half of the pixels behind it do.
        shares = cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA)
        mask = shares >= 128
    return rle.encode(mask).decode("ascii")


def map_file(salient: Float32[np.ndarray, "h w"]) -> bytes:
    """A map from 0 to 1 as a grey PNG of its view: 0 is black, 1 white."""
    height, width = view_size((salient.shape[0], salient.shape[1]))
    small = cv2.resize(salient, (width, height), interpolation=cv2.INTER_AREA)
    return _encoded(".png", np.clip(np.rint(small * 255), 0, 255).astype(np.uint8))


def _encoded(ending: str, pixels: np.ndarray, options: list[int] | None = None) -> bytes:
    done, file = cv2.imencode(ending, pixels, options or [])
    assert done, "an array of bytes can always be written"
    return file.tobytes()
