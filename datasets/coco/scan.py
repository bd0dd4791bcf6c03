"""Reads COCO's instances JSON in one pass into tables of annotations, categories and images, without segmentations.

Parsed as a whole, the 450 MB of train2017 take 2.4 GB of memory, nearly all for coordinates. So the text is read one
annotation at a time, and of each only its position in the file and a few numbers are kept. Whoever needs a
segmentation seeks to that position and parses that one annotation again.

    {"images": [...], "annotations": [{...}, {...}, ...], "categories": [...]}
                                      start^   ^stop

What stands around the annotations is small. It is cut together (`"annotations": []`) and parsed in the usual way.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

from ..shared.images import within
from .masks import short

Rows = Shaped[np.ndarray, " rows"]
"""Annotations, with the fields below."""

FIELDS = np.dtype(
    [
        ("id", "S32"),  # The second, third, ... with the same id gets "#2", "#3", ...
        ("image", np.int32),  # Position in `image_ids`.
        ("category_id", np.int64),
        ("area", np.float64),  # In pixels, from the JSON; NaN if it has none.
        ("crowd", np.bool_),
        ("repeated", np.bool_),  # Whether an earlier instance has the id.
        ("start", np.int64),  # Where its text begins in the file, in bytes.
        ("stop", np.int64),
    ]
)
COLUMNS = [name for name, *_ in FIELDS.descr]
_NO_CATEGORY = np.iinfo(np.int64).min


class Picture(NamedTuple):
    """The JSON's entry for an image."""

    file_name: str
    height: int
    width: int


def scanned(path: Path) -> tuple[pa.Table, pa.Table]:
    """The annotations and the images of a file.

    Returns:
        The annotations, image by image, and within an image in the file's order, with the columns FIELDS. "image" is a
        dictionary of the images' ids in their order. The metadata "categories" is a JSON list of ids and names in the
        order of the ids.
        The images, with "id" and the fields of `Picture`.

    Raises:
        ValueError, OverflowError, RecursionError: It is not a whole COCO instances file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # Latin-1 has one character for each byte, so that positions in the text are positions in the file.
        scan = _Scan(str(content, "latin-1"))
        rows = np.fromiter(scan.rows(), dtype=FIELDS)
    return _annotation_table(rows, scan), _picture_table(scan)


def _annotation_table(rows: Rows, scan: _Scan) -> pa.Table:
    categories = _by_id(scan.rest, "categories", "name")
    names = [(key, str(categories[key]["name"])) for key in sorted(categories, key=_ascending)]
    image_ids = sorted(scan.images, key=_ascending)
    # `images` numbers the images as they first occur; `rank` turns such a number into the place among the sorted ids. A
    # stable sort by it brings an image's annotations together and leaves their order as in the file.
    rank = np.argsort([scan.images[image_id] for image_id in image_ids])
    rows["image"] = rank[rows["image"]]
    rows = rows[np.argsort(rows["image"], kind="stable")]
    columns = {field: pa.array(rows[field].tolist() if field == "id" else rows[field]) for field in COLUMNS}
    columns["image"] = pa.DictionaryArray.from_arrays(columns["image"], pa.array(image_ids, pa.string()))
    return pa.table(columns, metadata={"categories": json.dumps(names)})


def _picture_table(scan: _Scan) -> pa.Table:
    pictures = _by_id(scan.rest, "images", "file_name", "height", "width").items()
    rows = [(str(key), within(str(v["file_name"])), int(v["height"]), int(v["width"])) for key, v in pictures]
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=["id", *Picture._fields])


class _Scan:
    """One pass over the JSON's text.

    Attributes:
        images: Image id -> number, in the order in which the annotations name them.
        rest: The JSON without its annotations, after `rows` has ended.
    """

    _opening = re.compile(r'"annotations"\s*:\s*\[\s*')
    _gap = re.compile(r"\s*(?:,\s*|(?=\]))")

    def __init__(self, text: str) -> None:
        self.images: dict[str, int] = {}
        self.rest: dict[str, Any] = {}
        self._text = text
        self._uses: dict[str, int] = {}

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The `FIELDS` of each annotation, in the file's order."""
        decoder = json.JSONDecoder(parse_float=str)  # Coordinates are not used here; text halves the time.
        # The decoder is placed at the first annotation, parses one object, and says where that ended; then comes a
        # comma and the next one, or the list's end.
        opening = self._opening.search(self._text)
        if opening is None:
            raise ValueError("no list of `annotations`")
        at = opening.end()
        while self._text[at : at + 1] != "]":
            annotation, stop = decoder.raw_decode(self._text, at)
            yield self._row(annotation, at, stop)
            gap = self._gap.match(self._text, stop)
            if gap is None:
                raise ValueError(f"no ',' or ']' at byte {stop}")
            at = gap.end()
        self.rest = json.loads((self._text[: opening.end()] + self._text[at:]).encode("latin-1"))

    def _row(self, annotation: Any, start: int, stop: int) -> tuple[Any, ...]:
        if not isinstance(annotation, dict) or "image_id" not in annotation:
            raise ValueError(f"the annotation at byte {start} names no image_id")
        image = self.images.setdefault(str(annotation["image_id"]), len(self.images))
        category_id = annotation.get("category_id")
        known = isinstance(category_id, int) and abs(category_id) < 2**63
        crowd = _number(annotation.get("iscrowd")) == 1
        name, repeated = self._name(annotation, crowd)
        return (
            name,
            image,
            category_id if known else _NO_CATEGORY,
            _number(annotation.get("area")),
            crowd,
            repeated,
            start,
            stop,
        )

    def _name(self, annotation: Mapping[str, Any], crowd: bool) -> tuple[bytes, bool]:
        name = str(annotation.get("id"))
        # Crowds are no instances, so an instance may share an id with one.
        uses = self._uses[name] = self._uses.get(name, 0) + (not crowd)
        unique = (f"{name}#{uses}" if uses > 1 and not crowd else name).encode()
        if len(unique) > FIELDS["id"].itemsize:
            raise ValueError(f"an annotation has the id {short(name)}, longer than {FIELDS['id'].itemsize} bytes")
        return unique, uses > 1 and not crowd


def _by_id(rest: Any, key: str, *fields: str) -> dict[Any, dict[str, Any]]:
    entries = rest.get(key) if isinstance(rest, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"no list of `{key}`")
    found: dict[Any, dict[str, Any]] = {}
    for position, entry in enumerate(entries):
        for field in ("id", *fields):
            if not isinstance(entry, dict) or not isinstance(entry.get(field), int | str):
                raise ValueError(f"{key}[{position}] has no {field}")
        if found.setdefault(entry["id"], entry) is not entry:
            raise ValueError(f"{key}[{position}] has an id that an earlier one has, {entry['id']}")
    return found


def _ascending(key: Any) -> tuple[int, str]:
    """A key that sorts numbers by value, and words too."""
    return len(str(key)), str(key)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")
