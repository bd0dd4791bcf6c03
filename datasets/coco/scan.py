"""Reads COCO's instances JSON in one pass into tables of annotations, categories and images, without segmentations.

Parsed as a whole, the 450 MB of train2017 take 2.4 GB of memory, nearly all for coordinates. So the text is read one
annotation at a time, and only the annotation's position in the file and a few numbers are kept. When its segmentation
is needed, that part of the file is parsed again.

    {"images": [...], "annotations": [{...}, {...}, ...], "categories": [...]}
                                      start^   ^stop

The rest of the file is small and is kept as it is parsed.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

from harness.images.reading import within
from harness.masks.json_values import id_text, kind_of, whole
from harness.masks.segmentations import short

from ..shared.ids import plain
from .document import Document

Rows = Shaped[np.ndarray, " rows"]
"""Annotations, with the fields of `fields`."""

_FIELDS = [
    ("image", np.int32),  # Position in `image_ids`.
    ("category_id", np.int64),
    ("area", np.float64),  # In pixels, from the JSON; NaN if it has none from 0 on.
    ("crowd", np.bool_),
    ("repeated", np.bool_),  # Whether an earlier instance has the id.
    ("start", np.int64),  # The place where its text begins in the file, in bytes.
    ("stop", np.int64),
]
COLUMNS = ["id", *(name for name, _ in _FIELDS)]
NO_CATEGORY = np.iinfo(np.int64).min
LONGEST_ID = 255
"""The longest id, in bytes. Every row takes the room of the longest one, so a long id would cost memory in all rows."""


_BEGINNING = 4096
_OTHERS = {
    "a pointer of Git LFS, and the file itself is elsewhere (`git lfs pull`)": rb"version https://git-lfs",
    "a web page, not JSON": rb"\s*<",
    "a list, as COCO's results and other tools' own exports are": rb"\s*\[",
    "LabelMe's file of one picture; COCO's format joins all pictures": rb'\s*\{\s*"version"[^\[]*"shapes"\s*:',
}
"""A description of a wrong file -> how such a file begins, as a regular expression."""


def fields(id_bytes: int) -> np.dtype[Any]:
    """The fields of rows whose ids have at most this many bytes."""
    return np.dtype([("id", f"S{max(id_bytes, 1)}"), *_FIELDS])


class Picture(NamedTuple):
    """The JSON's entry for an image."""

    file_name: str
    height: int
    width: int


def scanned(path: Path) -> tuple[pa.Table, pa.Table]:
    """The annotations and the images of a file.

    Returns:
        The annotations, image by image, and within an image in the file's order, with the columns COLUMNS. "image" is a
        dictionary of the images' ids in their order. The metadata "categories" is a JSON list of ids and names in the
        order of the ids.
        The images, with "id" and the fields of `Picture`.

    Raises:
        ValueError, OverflowError, RecursionError: It is not a whole COCO instances file.
    """
    if not path.stat().st_size:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _check_kind(content[:_BEGINNING])
        scan = _Scan(Document(content, "annotations"))
        rows = np.fromiter(scan.rows(), dtype=np.dtype(_FIELDS))
        scan.name_crowds(rows)
    return _annotation_table(rows, scan), _picture_table(scan.rest)


def _check_kind(beginning: bytes) -> None:
    """Recognise files that are often there in place of annotations, by how they begin.

    Raises:
        ValueError: It is one of these.
    """
    for what, begins in _OTHERS.items():
        if re.match(begins, beginning):
            raise ValueError(f"it is {what}")


def _annotation_table(rows: Rows, scan: _Scan) -> pa.Table:
    names = _category_names(scan.rest)
    image_ids = sorted(scan.images, key=_ascending)
    # Images were numbered in the order in which annotations first named them. `rank` turns such a number into the place
    # of the image among the sorted ids. For images that came in the order 25, 9, 30:
    #
    #    number    0    1    2       sorted ids    9    25    30
    #    id        25   9    30      their numbers 1    0     2      argsort: rank of 0 is 1, of 1 is 0, of 2 is 2
    #
    # The stable sort brings an image's annotations together and keeps their order in the file.
    rank = np.argsort([scan.images[image_id] for image_id in image_ids])
    rows["image"] = rank[rows["image"]]
    order = np.argsort(rows["image"], kind="stable")
    rows = rows[order]
    columns = {name: pa.array(rows[name]) for name, _ in _FIELDS}
    columns["image"] = pa.DictionaryArray.from_arrays(columns["image"], pa.array(image_ids, pa.string()))
    columns = {"id": pa.array(scan.ids, pa.binary()).take(pa.array(order)), **columns}
    return pa.table(columns, metadata={"categories": json.dumps(names)})


def _category_names(rest: Mapping[str, Any]) -> list[tuple[int | str, str]]:
    """The categories' ids and names, in the order of the ids."""
    names: dict[int | str, str] = {}
    for position, entry in enumerate(_entries(rest, "categories")):
        where = f"categories[{position}]"
        key, name = _given(entry, "id", where), _given(entry, "name", where)
        if not isinstance(key, str) or whole(key) is not None:
            key = _whole(entry, "id", where)
        if key in names:
            raise ValueError(f"{where} has an id that an earlier one has, {key}")
        names[key] = str(name)
    return sorted(names.items(), key=lambda item: _ascending(item[0]))


def _picture_table(rest: Mapping[str, Any]) -> pa.Table:
    pictures: dict[str, Picture] = {}
    for position, entry in enumerate(_entries(rest, "images")):
        where = f"images[{position}]"
        key = id_text(_given(entry, "id", where))
        if key in pictures:
            raise ValueError(f"{where} has an id that an earlier one has, {key}")
        size = _whole(entry, "height", where), _whole(entry, "width", where)
        pictures[key] = Picture(within(_file_name(entry, where)), *size)
    columns = [list(pictures), *map(list, zip(*pictures.values(), strict=True))]
    return pa.table([pa.array(column) for column in columns], names=["id", *Picture._fields])


def _file_name(entry: Mapping[str, Any], where: str) -> str:
    """The picture's file name. LVIS only has the address of COCO's picture, whose last part is the name."""
    url = entry.get("coco_url")
    if "file_name" not in entry and isinstance(url, str):
        return PurePosixPath(urlsplit(url).path).name
    return str(_given(entry, "file_name", where))


class _Scan:
    """One pass over the JSON.

    Attributes:
        images: Image id -> number, in the order in which the annotations name them.
        ids: The annotations' ids in UTF-8, in the file's order.
    """

    _inexact = re.compile(r"-?\d+[.eE]|.*[^\x00-\x7f]", re.DOTALL)
    """Text that may have been a number, or is not ASCII; `Document.elements` explains why it must be read again."""

    def __init__(self, document: Document) -> None:
        self.images: dict[str, int] = {}
        self.ids: list[bytes] = []
        self._document = document
        self._uses: dict[str, int] = {}

    @property
    def rest(self) -> Mapping[str, Any]:
        """The JSON without its annotations, after `rows` has ended."""
        return self._document.rest

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The fields of each annotation, without its id, in the file's order."""
        for annotation, start, stop in self._document.elements():
            if not isinstance(annotation, dict):
                raise ValueError(f"the annotation at byte {start} is no object")
            if type(annotation.get("image_id")) is not int or type(annotation.get("id")) is not int:  # COCO's are
                for field in ("image_id", "id"):
                    _given(annotation, field, f"the annotation at byte {start}")
            yield self._row(self._exact(annotation, start, stop), start, stop)

    def name_crowds(self, rows: Rows) -> None:
        """Give a crowd region a number ("7#2") if another annotation has its id.

        This comes after the whole pass, so that if an instance and a crowd region have one id, the instance keeps it,
        whichever comes first in the file.
        """
        for position in np.flatnonzero(rows["crowd"]):
            name = self.ids[position].decode()
            self.ids[position], rows["repeated"][position] = self._unique(name)

    def _exact(self, annotation: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
        said = annotation["image_id"], annotation.get("id"), annotation.get("category_id")
        if set(map(type, said)) == {int}:  # as COCO's are
            return annotation
        if any(isinstance(one, float) or (isinstance(one, str) and self._inexact.match(one)) for one in said):
            return self._document.exact(start, stop)
        return annotation

    def _row(self, annotation: dict[str, Any], start: int, stop: int) -> tuple[Any, ...]:
        image = self.images.setdefault(id_text(annotation["image_id"]), len(self.images))
        category_id = whole(annotation.get("category_id"))
        # A table's column holds 64 bits. An id that does not fit names no category, and becomes `NO_CATEGORY`.
        known = category_id is not None and abs(category_id) < 2**63
        crowd = _number(annotation.get("iscrowd")) == 1
        name = plain(id_text(annotation.get("id")))
        unique, repeated = (name.encode(), False) if crowd else self._unique(name)
        self.ids.append(unique)
        area = _number(annotation.get("area"))
        # An area below 0 says nothing of the size: tools write -1 for "not known", or a sum over the outline whose sign
        # is the direction in which it was drawn.
        area = area if area >= 0 else float("nan")
        return image, category_id if known else NO_CATEGORY, area, crowd, repeated, start, stop

    def _unique(self, name: str) -> tuple[bytes, bool]:
        """The id, with "#2", "#3", ... for the second, third, ... annotation that has it; and whether it repeats."""
        uses = self._uses[name] = self._uses.get(name, 0) + 1
        unique = name
        while uses > 1:
            unique = f"{name}#{uses}"
            if unique not in self._uses:  # A file may have "7#2" as an id of its own.
                self._uses[unique] = 1
                break
            uses += 1
        if len(unique.encode()) > LONGEST_ID:
            raise ValueError(f"an annotation has the id {short(name)}, longer than {LONGEST_ID} bytes")
        return unique.encode(), uses > 1


def _entries(rest: Mapping[str, Any], key: str) -> list[Any]:
    entries = rest.get(key)
    if not isinstance(entries, list):
        raise ValueError(f"no list of `{key}`")
    if not entries:
        raise ValueError(f"the list of `{key}` is empty")
    return entries


def _given(entry: Any, field: str, where: str) -> Any:
    """The entry's text or number."""
    value = entry.get(field) if isinstance(entry, dict) else None
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{where} has no {field}")
    if isinstance(value, bool | list | dict):
        raise ValueError(f"{where} has the {field} {short(value)} ({kind_of(value)}), wanted text or a number")
    return value


def _whole(entry: Any, field: str, where: str) -> int:
    value = _given(entry, field, where)
    number = whole(value)
    if number is None:
        raise ValueError(f"{where} has the {field} {short(value)} ({kind_of(value)}), wanted a whole number")
    return number


def _ascending(key: Any) -> tuple[int, str]:
    """A key that sorts texts of numbers by value, and words by length, then by letters."""
    # "9" before "25": the shorter number is the smaller one, and equally long ones compare digit by digit.
    return len(str(key)), str(key)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")
