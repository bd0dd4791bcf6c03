"""Reads image files as RGB pixels, in one way for all data sets. A file that cannot be shown faithfully raises."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

import numpy as np
import PIL.Image

from harness.images.opening import NO_DAMAGE, opened, orientation
from harness.structures import Image

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""The exceptions that PIL raises on damaged files, depending on the format and on the place of the damage."""

_KEEPS_SIDES, _EXCHANGES_SIDES = (2, 3, 4), (5, 6, 7, 8)
"""Orientations by which a picture is turned or mirrored: with the same height and width, or with exchanged ones."""

_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
"""EXIF's number of an orientation -> the transposition of stored pixels to the orientation that viewers show."""


def within(name: str) -> str:
    """A file's name from an annotation file, which may name folders, but none outside the data set's own.

    Annotations come from anybody, and pictures that they name are shown in the page of a run.

    Raises:
        ValueError: It leads out of the folder, or no file can have it.
    """
    # A colon is no more than a letter here, as in "a:b.png": a drive without a root leads nowhere.
    leads_out = PureWindowsPath(name).root or PurePosixPath(name).root or ".." in re.split(r"[/\\]", name)
    if leads_out or "\0" in name:
        fault = "leads out of the folder of pictures" if leads_out else "no file can have"
        shown = name[:200].replace("\0", "\\x00")
        raise ValueError(
            f"found the file name '{shown}', which {fault}; "
            "wanted one inside it, such as 'a/1.jpg'. Correct the names, or put the pictures there"
        )
    return name


def read_rgb(path: Path, turned: bool = False) -> Image:
    """The pixels in the file's stored orientation, uint8 (h, w, 3) in RGB order.

    An EXIF orientation is not applied, since the ground truths of the data sets are drawn on the stored pixels; the
    exception is TIFF, for which PIL applies it.
    Grey is repeated in the three channels, alpha is dropped, and CMYK is converted as PIL does (without colour
    profiles). A channel of 16 bits keeps its upper 8, so that nothing is clipped.

    Args:
        path: The file.
        turned: Whether to read a picture that viewers turn without changing its size. The size of a mask then does not
            show which way it is drawn, so this is for data sets whose publishers state it.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It is empty, cut off or not an image.
        ValueError: Its channels have 32 bits or floating-point values, whose range is unknown, or 16 bits of which
            only the lower 12 are used; it is turned; it has several pages or frames; or it has too many pixels
            (`opening.TooLargeError`).
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; wanted an image. Correct its path or the data set's root, or fetch it again."
            f"{_hint(path)}"
        )
    try:
        with opened(path) as image:
            has_16_bits = ";16" in str(image.tile)  # PIL reads only the upper 8 bits of three channels of 16 bits.
            # The orientation is read both before and after loading. PIL finds that of some PNGs only after loading,
            # while loading a TIFF turns the pixels and removes the orientation.
            before = orientation(image)
            image.load()
            # Modes that begin with I or F hold 16 or 32 bits; PIL's conversion to RGB would clip them.
            kept = image.mode == "RGB" or image.mode[0] in "IF"
            mode, pixels = image.mode, np.array(image if kept else image.convert("RGB"))
            turn = before if before != 1 else orientation(image)
            count = getattr(image, "n_frames", 1)
    except NO_DAMAGE:
        raise
    except _DAMAGE as error:
        raise OSError(
            f"{path}: found {path.stat().st_size} bytes that do not decode ({error}); "
            "wanted a whole image. Fetch the file again."
        ) from error
    if count > 1:
        _check_frames(path, count)
    if not turned:
        _check_orientation(path, turn, pixels.shape)
    if pixels.ndim == 2:
        return _grey_to_rgb(path, mode, pixels)
    if has_16_bits:
        _check_depth(path, int(pixels.max()) << 8 | 0xFF)
    return pixels


def read_as_viewed(path: Path) -> Image:
    """The pixels as viewers show them, turned by the EXIF orientation: for a picture that no mask is drawn on.

    Raises:
        FileNotFoundError, OSError, ValueError: As `read_rgb`.
    """
    pixels = read_rgb(path, turned=True)
    with opened(path) as image:
        turn = 1 if image.format == "TIFF" else orientation(image)  # PIL turns a TIFF as it loads it.
    return np.ascontiguousarray(PIL.Image.fromarray(pixels).transpose(_TURNS[turn])) if turn in _TURNS else pixels


def read_rgb_of(path: Path, size: tuple[int, int], stated_in: Path) -> Image:
    """`read_rgb` for an image whose (h, w) is known from an annotation file.

    Raises:
        ValueError: As in `read_rgb`, or the image has another size.
    """
    image = read_rgb(path)
    if image.shape[:2] != size:
        todo = "Fetch the picture again, at its original size."
        with opened(path) as picture:
            if image.shape[:2] == size[::-1] and orientation(picture) in _EXCHANGES_SIDES:
                todo = "Its EXIF orientation turns it to that size: save it turned, without orientation."
            elif image.shape[:2] == size[::-1]:
                todo = "Height and width are swapped there, or the picture was turned since."
        raise ValueError(
            f"{path}: found {image.shape[0]} x {image.shape[1]} (h x w); wanted {size[0]} x {size[1]}, as in "
            f"{stated_in}. {todo}"
        )
    return image


def _hint(path: Path) -> str:
    """A hint on the name that may be meant by one that no file has; "" if there is none."""
    if "\\" in str(path) and os.sep == "/":
        return " Its name has backslashes: write '/' between folders."
    stem, suffix = path.stem, path.suffix
    others = [unquote(path.name), *(stem + other for other in (suffix.lower(), suffix.upper()))]
    others += [path.name.lower(), path.name.upper()]
    there = [name for name in others if name != path.name and path.with_name(name).is_file()] if path.name else []
    return f" There is '{there[0]}': the names must be equal, letter by letter." if there else ""


def _check_frames(path: Path, count: int) -> None:
    """Refuse a stack of pages and an animation, of which only the first picture would be read.

    Smaller pictures after the first are previews, as scanners put into a TIFF, and an MPO, as telephones write it, is a
    photograph with what belongs to it.
    """
    with opened(path) as image:
        size, kind = image.size, image.format
        image.seek(1)
        if image.size == size and kind != "MPO":
            raise ValueError(
                f"{path}: found {count} pages or frames; wanted one picture. Save the one that you mean as a file of "
                "its own."
            )


def _check_orientation(path: Path, turn: int, shape: tuple[int, ...]) -> None:
    """Refuse a picture that viewers turn to another one of the same size: its masks may be drawn on either."""
    if turn in _KEEPS_SIDES or (turn in _EXCHANGES_SIDES and shape[0] == shape[1]):
        raise ValueError(
            f"{path}: found EXIF orientation {turn}, by which viewers turn it; so it is not clear which way its "
            "masks are drawn. Save it turned as the masks are, without orientation."
        )


def _grey_to_rgb(path: Path, mode: str, values: np.ndarray) -> Image:
    # PIL's own conversion of 16-bit grey clips at 255, which turns nearly every pixel white.
    if not mode.startswith("I;16"):
        raise ValueError(
            f"{path}: found PIL mode {mode} with values up to {values.max()}, a range that the file does not "
            "state; wanted 8 or 16 bits a channel. Convert the file."
        )
    _check_depth(path, int(values.max()))
    return np.repeat((values >> 8).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)


def _check_depth(path: Path, largest: int) -> None:
    """Refuse what cameras and scanners of 12 bits write into 16: its upper 8 bits are nearly black."""
    if 0 < largest < 1 << 12:
        raise ValueError(
            f"{path}: found 16 bits a channel and no value above {largest}: 12 bits or fewer, which would be shown "
            "nearly black; wanted values up to 65535. Multiply them by 16 (12 bits) or 64 (10) and save the file "
            "again."
        )


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
