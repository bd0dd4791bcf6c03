"""Reads image files as RGB pixels, in one way for all data sets. A file that cannot be shown faithfully raises."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import PIL.Image

from harness.structures import Image

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, PIL.Image.DecompressionBombError)
"""The exceptions that PIL raises on damaged files, depending on the format and on the place of the damage."""


def within(name: str) -> str:
    """A file's name from an annotation file, which may name folders, but none outside the data set's own.

    Annotations come from anybody, and pictures that they name are shown in the page of a run.

    Raises:
        ValueError: It leads out of the folder.
    """
    if PureWindowsPath(name).anchor or PurePosixPath(name).anchor or ".." in re.split(r"[/\\]", name):
        raise ValueError(
            f"found the file name '{name[:200]}', which leads out of the folder of pictures; "
            "wanted one inside it, such as 'a/1.jpg'. Correct the names, or put the pictures there"
        )
    return name


def read_rgb(path: Path) -> Image:
    """The pixels in the file's stored orientation, uint8 (h, w, 3) in RGB order.

    An EXIF orientation is not applied, since the ground truths of the data sets are drawn on the stored pixels.
    Grey is repeated in the three channels, alpha is dropped, and CMYK is converted as PIL does (without colour
    profiles). A channel of 16 bits keeps its upper 8, so that nothing is clipped.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is empty, cut off or not an image.
        ValueError: Its channels have 32 bits or floating-point values, whose range is unknown.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; wanted an image. Fetch it again or correct the data set's root."
        )
    try:
        with PIL.Image.open(path) as image:
            image.load()
            # Modes that begin with I or F hold 16 or 32 bits; PIL's conversion to RGB would clip them.
            kept = image.mode == "RGB" or image.mode[0] in "IF"
            mode, pixels = image.mode, np.array(image if kept else image.convert("RGB"))
    except _DAMAGE as error:
        raise OSError(
            f"{path}: found {path.stat().st_size} bytes that do not decode ({error}); "
            "wanted a whole image. Fetch the file again."
        ) from error
    return _grey_to_rgb(path, mode, pixels) if pixels.ndim == 2 else pixels


def read_rgb_of(path: Path, size: tuple[int, int], stated_in: Path) -> Image:
    """`read_rgb` for an image whose (h, w) is known from an annotation file.

    Raises:
        ValueError: As in `read_rgb`, or the image has another size.
    """
    image = read_rgb(path)
    if image.shape[:2] != size:
        raise ValueError(
            f"{path}: found {image.shape[0]} x {image.shape[1]} (h x w); wanted {size[0]} x {size[1]}, as in "
            f"{stated_in}. Fetch the picture again, at its original size."
        )
    return image


def _grey_to_rgb(path: Path, mode: str, values: np.ndarray) -> Image:
    # PIL's own conversion of 16-bit grey clips at 255, which turns nearly every pixel white.
    if not mode.startswith("I;16"):
        raise ValueError(
            f"{path}: found PIL mode {mode} with values up to {values.max()}, a range that the file does not "
            "state; wanted 8 or 16 bits a channel. Convert the file."
        )
    return np.repeat((values >> 8).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)


def sizes_digest(paths: Iterable[Path]) -> str:
    """SHA-256 of the files' names and sizes in bytes, by which a fingerprint notices pictures that were replaced.

    Reading 100,000 pictures would take minutes, their sizes take a second; another picture of exactly the same size
    goes unseen. Times are left out: each copy of a data set has its own. A file that is not there counts as -1 bytes.
    """
    hashed = hashlib.sha256()
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError:
            size = -1
        hashed.update(f"{path.name}\0{size}\0".encode(errors="surrogateescape"))
    return hashed.hexdigest()
