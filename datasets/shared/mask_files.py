"""Reads people's own mask files exactly as they were drawn, and refuses formats or transparency that change values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from harness.images.opening import NO_DAMAGE, opened, orientation
from harness.structures import Image

MASKS = (".png", ".bmp", ".tif", ".tiff")
"""Suffixes of mask files, in small letters: lossless formats."""

Values = UInt8[np.ndarray, "h w"]

_LOSSLESS = ("PNG", "BMP", "TIFF")
_MOST_GREYS = 11
"""Black, and one grey for each of the ten objects of DAVIS's fullest frame."""


def read_picture(path: Path) -> PIL.Image.Image:
    """A mask file of PIL's mode 1, L, P or RGB, without alpha.

    Raises:
        OSError: It is missing or damaged.
        ValueError: Its format changes values, or it has several pages, transparent pixels, an orientation by which
            viewers turn it, or more than 8 bits.
    """
    image = _decoded(path)
    if image.has_transparency_data:
        image = _without_alpha(path, image)
    if image.mode not in ("1", "L", "P", "RGB"):
        raise refused(path, f"PIL mode {image.mode}", "8 bits or fewer, grey or a palette")
    return image


def read_colours(path: Path) -> Image:
    """The colours of a mask file; with a palette, the palette's colours.

    Raises:
        OSError, ValueError: As in `read_picture`; or it has greys, as of a soft edge.
    """
    colours = np.array(read_picture(path).convert("RGB"))
    _check_edge(path, colours)
    return colours


def read_grey(path: Path) -> Values:
    """The grey values of a mask file; with a palette, the palette's greys.

    Raises:
        OSError, ValueError: As `read_colours`, or there are colours.
    """
    return one_channel(path, read_colours(path))


def one_channel(path: Path, colours: Image) -> Values:
    """The one channel of a grey image.

    Raises:
        ValueError: The channels differ.
    """
    if (colours != colours[:, :, :1]).any():
        raise refused(path, "colours", "grey or a palette, with one number per pixel")
    return colours[:, :, 0].copy()


def refused(path: Path, found: str, wanted: str) -> ValueError:
    """The error of a mask that could be meant in two ways."""
    return ValueError(f"{path}: found {found}; wanted {wanted}. Save the mask again in this form.")


def _check_edge(path: Path, colours: Image) -> None:
    """Refuse a mask with many greys: it was a JPEG once, or was resized, and which pixels are inside is not clear."""
    if (colours == colours[:, :, :1]).all() and (found := len(np.unique(colours))) > _MOST_GREYS:
        raise refused(path, f"{found} greys", f"{_MOST_GREYS} at most: no soft edge, and no noise of a JPEG")


def _decoded(path: Path) -> PIL.Image.Image:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; wanted a mask.")
    try:
        with opened(path) as image:
            kind, pages = image.format, getattr(image, "n_frames", 1)
        with opened(path) as image:
            image.verify()  # decoding alone lets flipped bits pass; it leaves the image closed
        with opened(path) as image:
            turn = orientation(image)  # before PIL turns a TIFF by it
            image.load()
    except NO_DAMAGE:
        raise
    except Exception as error:  # PIL raises whatever the damage leads to
        raise OSError(
            f"{path}: found {path.stat().st_size} bytes that do not decode ({error}); wanted a whole image."
        ) from error
    if kind not in _LOSSLESS:
        raise refused(path, f"a {kind}", "a PNG: other formats change values along every edge")
    if pages > 1:
        raise refused(path, f"{pages} pages", "one image per file")
    if turn != 1:
        raise refused(path, f"EXIF orientation {turn}, by which viewers turn it", "the mask as it is stored")
    return image


def _without_alpha(path: Path, image: PIL.Image.Image) -> PIL.Image.Image:
    """The image without its alpha channel; a palette stays a palette."""
    if np.asarray(image.convert("RGBA").getchannel("A")).min() < 255:
        raise refused(path, "transparent pixels", "none: the mask in the colours")
    return image.convert(image.mode.removesuffix("A")) if image.mode in ("LA", "PA", "RGBA") else image
