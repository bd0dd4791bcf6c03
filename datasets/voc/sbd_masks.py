"""Reads SBD's `inst/*.mat`: MATLAB files whose struct GTinst has the map of objects and their classes.

A file is a header of 128 bytes and then elements, each with a tag (type, number of bytes) and data. A matrix is an
element whose data are elements, and a packed element's data unpack to one element:

    packed > matrix GTinst, a struct: flags, shape, name, length of a field's name, the fields' names, then one a field
        matrix Segmentation: flags, shape, name, numbers
        matrix Boundaries: the outlines, most of the file; skipped without a look at their content
        matrix Categories: flags, shape, name, numbers

scipy.io.loadmat also decodes the outlines, and trusts them. A damaged file within our size limit can then end the
process (cells nested 5,000 deep overflow the stack), take 17 s and 4 GB (2^32 letters in no bytes) or demand 32 GiB
(65,536 x 65,536 empty cells), and a packed file may unpack to a thousand times its size. Here outlines are skipped, and
a damaged map only fails its own sample.

Format: "MAT-File Format", MathWorks, level 5, https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
Registers no data set.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from .objects import CLASSES, Annotation

_LARGEST_BYTES = 16 * 2**20
"""The most that is read, packed or not: room for 500 x 500 pixels as float64 and the outlines of a hundred objects."""

_HEADER_BYTES = 128
_LEVEL_5 = b"\x00\x01IM"
"""The end of the header: the version, and the order of the bytes (little-endian)."""

_MATRIX, _COMPRESSED = 14, 15
_STRUCT = 2
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
"""The type of an element -> NumPy's type of its numbers."""


def read_annotation(path: Path) -> Annotation:
    """The objects of `GTinst.Segmentation`; number k has the class `GTinst.Categories[k - 1]`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, too large or not SBD's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; wanted SBD's masks. Unpack benchmark.tgz again.")
    size = path.stat().st_size
    try:
        if size > _LARGEST_BYTES:
            raise ValueError("too large")
        fields = _gtinst(memoryview(path.read_bytes()))
        objects, classes = _whole(fields["Segmentation"]), _whole(fields["Categories"]).ravel()
        if objects.ndim != 2 or not objects.size:
            raise ValueError(f"Segmentation of shape {objects.shape}")
    except (ValueError, LookupError, OverflowError, struct.error, zlib.error) as error:
        raise ValueError(
            f"{path}: found {size} bytes that are not SBD's masks ({error}); wanted a MATLAB 5 file whose GTinst "
            "has Segmentation and Categories. Unpack benchmark.tgz again."
        ) from error
    return _annotation(objects, classes.tolist())


def _annotation(objects: np.ndarray, classes: list[int]) -> Annotation:
    categories, broken = {}, {}
    for number in map(int, np.unique(objects[objects > 0])):
        found = classes[number - 1] if number <= len(classes) else None
        if found is not None and 1 <= found <= len(CLASSES):
            categories[number] = CLASSES[found - 1]
        else:
            broken[number] = f"found the class {found} in Categories, of {len(classes)}; wanted one of 1 to 20"
    return Annotation(objects, categories, broken)


def _whole(numbers: np.ndarray) -> np.ndarray:
    """The numbers as uint8; MATLAB stores whole numbers in any type."""
    with np.errstate(invalid="ignore"):  # NaN becomes some number, which then is not equal to NaN
        small = numbers.astype(np.uint8)
    if not np.array_equal(small, numbers):
        raise ValueError("numbers other than 0 to 255")
    return small


def _gtinst(content: memoryview) -> Mapping[str, np.ndarray]:
    """The two fields of the file's variable GTinst."""
    if bytes(content[_HEADER_BYTES - 4 : _HEADER_BYTES]) != _LEVEL_5:
        raise ValueError("no MATLAB 5 header")
    for kind, data in _elements(content[_HEADER_BYTES:]):
        if kind == _COMPRESSED:
            kind, data = next(_elements(_unpacked(data)), (0, data))
        if kind == _MATRIX and _name(data) == "GTinst":
            return {name: _numbers(field) for name, field in _fields(data) if name in ("Segmentation", "Categories")}
    raise ValueError("no variable GTinst")


def _unpacked(data: memoryview) -> memoryview:
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(data, _LARGEST_BYTES)
    if not unpacker.eof:  # the stream's end, where zlib compares its checksum, was not reached
        raise ValueError("packed data that are cut off or too large")
    return memoryview(unpacked)


def _elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The type and the data of each element, one after another."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        # A tag is two numbers of 4 bytes: type and size. Data of up to four bytes are stored within the tag, in place
        # of the size; the size is then in the upper half of the first number:
        #
        #    type 4 bytes | size 4 bytes | data, filled up to a multiple of 8 bytes
        #    type 2 | size 2 | data 4 bytes
        if kind >> 16:
            kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            # 5 bytes of data are followed by -5 % 8 = 3 bytes without meaning. Only packed elements have no such gap.
            after = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(content):
            raise ValueError(f"an element of {size} bytes where {len(content) - start} are left")
        yield kind, content[start : start + size]
        at = after


def _name(matrix: memoryview) -> str:
    _, _, (_, name) = islice(_elements(matrix), 3)
    return bytes(name).decode("latin-1")


def _fields(matrix: memoryview) -> Iterator[tuple[str, memoryview]]:
    """The fields of a struct that is one struct and no array of them."""
    elements = _elements(matrix)
    (_, flags), (_, shape), _, (_, length), (_, names) = islice(elements, 5)
    if flags[0] != _STRUCT or np.prod(np.frombuffer(shape, "<i4").astype(float)) != 1:
        raise ValueError("a GTinst that is not one struct")
    (step,) = struct.unpack("<i", length)
    for at, (_, data) in zip(range(0, len(names), step), elements, strict=True):
        yield bytes(names[at : at + step]).split(b"\0")[0].decode("latin-1"), data


def _numbers(matrix: memoryview) -> np.ndarray:
    _, (_, shape), _, (kind, data) = _elements(matrix)
    dimensions = np.frombuffer(shape, "<i4").tolist()
    if min(dimensions) < 0:
        raise ValueError(f"an array of shape {dimensions}")
    # MATLAB stores a matrix column by column, which NumPy calls order "F".
    return np.frombuffer(data, _NUMBERS[kind]).reshape(dimensions, order="F")
