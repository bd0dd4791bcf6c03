"""Reads Open Images' mask pictures and resizes them to their image.

Registers no data set.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from harness.images.opening import NO_DAMAGE, opened
from harness.structures import Mask

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""The exceptions that PIL raises for a damaged file, depending on where the damage is."""

_MOST_STRETCHED = 0.02
"""The share by which a mask's proportions may differ from the image's, beyond the effect of rounding."""


def read_mask(path: Path, height: int, width: int) -> Mask:
    """The mask of a PNG, at the image's size: bool (height, width), with one pixel at least.

    Masks were drawn on larger or smaller copies of the images (1600 pixels long for 1024 is common; see
    openimages/dataset#92 on GitHub), so sizes differ while proportions agree, except for rounding. Each pixel of the
    image takes the mask's pixel under its centre. So every value is one that an annotator gave, and nothing is shifted;
    OpenCV's INTER_NEAREST takes the pixel under the corner, which shifts the mask.

    Raises:
        OSError: There is no such file, or it does not decode.
        ValueError: It is no black and white picture, is not in the image's proportions, or covers none of its pixels.
    """
    drawn = _decoded(path)
    _check_proportions(drawn.shape, (height, width))
    mask = drawn[np.ix_(_under_centres(drawn.shape[0], height), _under_centres(drawn.shape[1], width))]
    if not mask.any():
        raise ValueError(
            f"{path.name}: found {np.count_nonzero(drawn)} of {drawn.shape[0]} x {drawn.shape[1]} pixels inside, and "
            f"none at the centre of one of the image's ({height} x {width}); wanted one at least"
        )
    return mask


def _decoded(path: Path) -> Mask:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; wanted the mask. Unpack the split's 16 archives of masks there")
    try:
        with opened(path) as image:
            image.load()
            mode, pixels = image.mode, np.asarray(image if image.mode in ("1", "L") else image.convert("RGB"))
    except NO_DAMAGE:
        raise
    except _DAMAGE as error:
        raise OSError(
            f"{path.name}: found {path.stat().st_size} bytes that do not decode ({error}); wanted a PNG"
        ) from error
    if mode not in ("1", "L", "P", "RGB"):
        raise ValueError(f"{path.name}: found PIL mode {mode}; wanted black and white without transparency")
    return pixels != 0 if pixels.ndim == 2 else (pixels != 0).any(axis=2)


def _check_proportions(mask: tuple[int, ...], image: tuple[int, int]) -> None:
    """Refuse a mask that is turned or cropped: its proportions differ by more than rounding to pixels explains."""
    # A side of n pixels may be off by half a pixel on either side of the rounding, a share of at most 1 / n: small
    # pictures are given more room. A turned one, 4 : 3 against 3 : 4, is off by 0.44 or more.
    zoom = mask[0] / image[0], mask[1] / image[1]
    rounding = max(1 / side for side in (*mask, *image))
    if abs(zoom[0] / zoom[1] - 1) > _MOST_STRETCHED + 2 * rounding:
        raise ValueError(
            f"found a mask of {mask[0]} x {mask[1]} (h x w) for an image of {image[0]} x {image[1]}; "
            "wanted one in the image's proportions. Fetch the image again, as Open Images serves it (not turned)"
        )


def _under_centres(there: int, here: int) -> np.ndarray:
    """For each of `here` pixels along a side, the one of `there` pixels in which its centre lies."""
    # Pixel i has its centre at (i + 1/2) / here of the side, which is pixel floor((i + 1/2) * there / here) of the
    # other. Written in integers, nothing depends on rounding. From 8 to 4 pixels it gives 1 3 5 7, and from 4 to 8 it
    # gives 0 0 1 1 2 2 3 3.
    return (2 * np.arange(here) + 1) * there // (2 * here)
