"""Mask files that users draw, one object a file; whatever could be meant in two ways raises.

Registers no data set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from harness.structures import Image, Mask

MASKS = (".png", ".bmp", ".tif", ".tiff")
"""Suffixes of mask files, in small letters: formats that keep every value."""

Values = UInt8[np.ndarray, "h w"]

_LOSSLESS = ("PNG", "BMP", "TIFF")
_ORIENTATION = 0x0112
"""EXIF's tag; 1 is upright, 2 to 4 keep height and width, 5 to 8 exchange them."""


def read_binary(path: Path, ignore: int | None) -> tuple[Mask, Mask]:
    """The pixels of the file's one object, and those of value `ignore`.

    Raises:
        OSError: The file is missing or damaged.
        ValueError: It holds no object or several, or it is not clear which its pixels are.
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
    """Where the value stands; nowhere for None."""
    return np.zeros(values.shape, bool) if value is None else values == value


def checked(path: Path, mask: Mask) -> Mask:
    """The mask.

    Raises:
        ValueError: It is empty.
    """
    if not mask.any():
        raise ValueError(f"{path}: found no pixel of an object; wanted one at least. Draw it, or delete the file.")
    return mask


def check_orientation(path: Path, image: Image) -> None:
    """Refuse a picture that viewers turn to another one of the same size: its masks may be drawn on either.

    Raises:
        ValueError: Saying what to do.
    """
    with PIL.Image.open(path) as opened:
        orientation = opened.getexif().get(_ORIENTATION, 1)
    if orientation in (2, 3, 4) or (orientation in (5, 6, 7, 8) and image.shape[0] == image.shape[1]):
        raise ValueError(
            f"{path}: found EXIF orientation {orientation}, by which viewers turn it; no one can tell which way its "
            "masks are drawn. Save it the way the masks are, without orientation."
        )


def _values(path: Path) -> Values:
    """The values of a mask file: of a palette its numbers, of grey in several channels that of one."""
    mask = _decoded(path)
    if mask.mode in ("LA", "RGBA"):
        mask = _without_alpha(path, mask)
    if mask.mode == "RGB":
        return _one_channel(path, np.asarray(mask))
    if mask.mode not in ("1", "L", "P"):
        raise _refused(path, f"PIL mode {mask.mode}", "8 bits or fewer, grey or a palette")
    if mask.mode == "P":
        _check_palette(path, mask)
    return np.array(mask, dtype=np.uint8)


def _decoded(path: Path) -> PIL.Image.Image:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; wanted a mask.")
    try:
        with PIL.Image.open(path) as image:
            kind, pages = image.format, getattr(image, "n_frames", 1)
        with PIL.Image.open(path) as image:
            image.verify()  # decoding alone lets flipped bits pass; it leaves the image closed
        with PIL.Image.open(path) as image:
            image.load()
    except Exception as error:  # PIL raises whatever the damage leads to
        raise OSError(
            f"{path}: found {path.stat().st_size} bytes that do not decode ({error}); wanted a whole image."
        ) from error
    if kind not in _LOSSLESS:
        raise _refused(path, f"a {kind}", "a PNG: other formats change values along every edge")
    if pages > 1:
        raise _refused(path, f"{pages} pages", "one image a file")
    return image


def _without_alpha(path: Path, image: PIL.Image.Image) -> PIL.Image.Image:
    if np.asarray(image.getchannel("A")).min() < 255:
        raise _refused(path, "transparent pixels", "none: the mask in the colours")
    return image.convert(image.mode.removesuffix("A"))


def _one_channel(path: Path, colours: Image) -> Values:
    if (colours != colours[:, :, :1]).any():
        raise _refused(path, "colours", "grey, or a palette: a number a pixel")
    return colours[:, :, 0].copy()


def _check_palette(path: Path, image: PIL.Image.Image) -> None:
    is_black = ~np.asarray(image.convert("RGB")).any(axis=2)
    if (is_black != (np.asarray(image) == 0)).any():
        raise _refused(path, "a palette in which 0 is not black, or not the only black", "black, 0, around the object")


def _refused(path: Path, found: str, wanted: str) -> ValueError:
    return ValueError(f"{path}: found {found}; wanted {wanted}. Save the mask anew.")


def _some(values: list[int]) -> str:
    return ", ".join(map(str, values[:4])) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
