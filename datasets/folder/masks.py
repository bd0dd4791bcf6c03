"""Mask files that users draw, one object a file; whatever could be meant in two ways raises.

Registers no data set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image

from harness.structures import Mask

from ..shared.mask_files import Values, one_channel, read_picture, refused


def read_binary(path: Path, ignore: int | None) -> tuple[Mask, Mask]:
    """The pixels of the file's one object, and the pixels of value `ignore`.

    Raises:
        OSError: The file is missing or damaged.
        ValueError: It holds no object or several, or it is not clear which pixels are the object.
    """
    values = _values(path)
    ignored = equal(values, ignore)
    found = [int(value) for value in np.unique(values) if value not in (0, ignore)]
    if len(found) > 1:
        raise ValueError(
            f"{path}: found the values {_some(found)} besides 0; wanted one, the object's. If each is an instance, "
            "set `masks: index`; if one is to be ignored, set `ignore`; if they are a soft edge, threshold the mask."
        )
    return checked(path, (values != 0) & ~ignored), ignored


def equal(values: Values, value: int | None) -> Mask:
    """The pixels that have the value; none for None."""
    return np.zeros(values.shape, bool) if value is None else values == value


def checked(path: Path, mask: Mask) -> Mask:
    """The mask.

    Raises:
        ValueError: It is empty.
    """
    if not mask.any():
        raise ValueError(f"{path}: found no pixel of an object; wanted one at least. Draw it, or delete the file.")
    return mask


def _values(path: Path) -> Values:
    """The values of a mask file: the numbers of a palette, or one channel if several channels hold the same grey."""
    mask = read_picture(path)
    if mask.mode == "RGB":
        return one_channel(path, np.asarray(mask))
    if mask.mode == "P":
        _check_palette(path, mask)
    return np.array(mask, dtype=np.uint8)


def _check_palette(path: Path, image: PIL.Image.Image) -> None:
    # A palette's numbers only refer to colours, and some programs reorder the palette when they save: black may be
    # number 3, and 0 the object. Here a pixel counts by its number, so 0 must be black and nothing else may be.
    is_black = ~np.asarray(image.convert("RGB")).any(axis=2)
    if (is_black != (np.asarray(image) == 0)).any():
        raise refused(path, "a palette in which 0 is not black, or not the only black", "black, 0, around the object")


def _some(values: list[int]) -> str:
    return ", ".join(map(str, values[:4])) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
