"""Reads PNG files whose pixels are numbers, of objects or of classes, and not colours."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from harness.images.opening import NO_DAMAGE, opened, orientation

Indices = UInt8[np.ndarray, "h w"]

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""The exceptions that PIL raises on damaged files, depending on the place of the damage."""

_SCALED_GREY = ("L;2", "L;4")
"""PIL's raw modes of grey with few bits. PIL scales them up to 255, so the numbers would be lost."""


def read_indices(path: Path) -> Indices:
    """The numbers in the file's stored orientation, uint8 (h, w): indices of a palette, or grey values.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is empty, cut off, has a wrong checksum or is no image.
        ValueError: Its pixels are not indices: it is no PNG, or has colours, alpha, another depth of grey
            or an EXIF orientation.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; wanted an index mask. Fetch it again or correct the root.")
    try:
        with opened(path) as image:
            found = f"{image.format} {image.mode}"
            raw_mode = image.tile[0].args if found == "PNG L" and image.tile else None
            image.verify()  # Checks checksums, which decoding does not; the image is closed then.
        with opened(path) as image:
            indices, turn = np.array(image), orientation(image)
    except NO_DAMAGE:
        raise
    except _DAMAGE as error:
        raise OSError(
            f"{path}: found {path.stat().st_size} bytes that do not decode ({error}); "
            "wanted a whole PNG. Fetch the file again."
        ) from error
    if found not in ("PNG P", "PNG L") or raw_mode in _SCALED_GREY:
        raise ValueError(
            f"{path}: found {found}{f' ({raw_mode})' if raw_mode else ''}, not an index mask; "
            "wanted a PNG with a palette or 8-bit grey, whose values are numbers. Fetch the original file."
        )
    if turn != 1:
        raise ValueError(
            f"{path}: found EXIF orientation {turn}; wanted none. Save the mask without orientation, turned as its "
            "picture is."
        )
    return indices
