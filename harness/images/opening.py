"""Opens picture files up to a number of pixels, since a small file may hold a picture that fills the memory."""

from __future__ import annotations

import os
from pathlib import Path

import PIL.Image
import PIL.ImageFile

from harness.structures import UserError

MOST_MEGAPIXELS = "HARNESS_MAX_MEGAPIXELS"
"""The environment variable that raises the limit. Ray's workers get it from the driver."""

_ORIENTATION = 0x0112
"""EXIF's tag."""

_PIL_WARNS_AT = PIL.Image.MAX_IMAGE_PIXELS or 0


class TooLargeError(ValueError):
    """A picture has more pixels than may be read."""


NO_DAMAGE = (TooLargeError, PermissionError)
"""Errors of reading a picture that say themselves what is wrong; all others say that the file is damaged."""


def opened(path: Path) -> PIL.ImageFile.ImageFile:
    """As `PIL.Image.open`, but with at most 179 million pixels, or as many as HARNESS_MAX_MEGAPIXELS allows.

    Raises:
        TooLargeError: It has more.
        UserError: HARNESS_MAX_MEGAPIXELS is no number above 0.
    """
    # PIL refuses pictures with more than twice this number of pixels.
    PIL.Image.MAX_IMAGE_PIXELS = _most_pixels() // 2
    try:
        return PIL.Image.open(path)
    except PIL.Image.DecompressionBombError as error:
        raise TooLargeError(
            f"{path}: found a picture of more than {_most_pixels() / 1e6:.0f} megapixels, the most that are read, "
            f"since a small file may hold a picture that fills the memory ({error}). Shrink it and its masks, or set "
            f"{MOST_MEGAPIXELS} to the megapixels that memory has room for."
        ) from error


def orientation(image: PIL.Image.Image) -> int:
    """EXIF's orientation: 1 is upright; 2 to 4 keep height and width, 5 to 8 exchange them."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # PIL raises whatever damaged EXIF leads to; viewers pass it over, too.
        return 1


def _most_pixels() -> int:
    said = os.environ.get(MOST_MEGAPIXELS)
    if not said:
        return 2 * _PIL_WARNS_AT
    try:
        most = int(float(said) * 1e6)
    except (ValueError, OverflowError):
        most = 0
    if most < 1:
        raise UserError(f"{MOST_MEGAPIXELS}={said}: wanted a number above 0, such as 500.")
    return most
