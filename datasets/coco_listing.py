"""COCO's instances JSON, listed in one pass: everything but the segmentations, which are read image by image."""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from datasets.coco_masks import short
from harness.structures import UserError

_DOWNLOAD = (
    "Download it from https://cocodataset.org/#download (annotations_trainval2017.zip, val2017.zip) and unzip both "
    "in one folder, or correct `root`; a root under data/ counts from HARNESS_DATA where that is set."
)

Rows = Shaped[np.ndarray, " rows"]
"""Annotations, of the fields below."""

_FIELDS = np.dtype(
    [
        ("id", "S32"),  # from the second on that has it with "#2", "#3", ...
        ("image", np.int32),  # position in `image_ids`
        ("category_id", np.int64),
        ("area", np.float64),  # pixels, as the JSON says; NaN where it does not
        ("crowd", np.bool_),
        ("repeated", np.bool_),  # an earlier instance has the id
        ("start", np.int64),  # where its text lies in the file, in bytes
        ("stop", np.int64),
    ]
)
_NO_CATEGORY = np.iinfo(np.int64).min


class Picture(NamedTuple):
    """What the JSON says of an image."""

    file_name: str
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class Listing:
    """What is kept of a JSON: all but the segmentations, which are read from it one image at a time.

    Attributes:
        path: The JSON.
        version: The file's size and time of change (ns) when it was read.
        categories: Category id -> name, in the order of the ids.
        pictures: Image id -> what the JSON says of the image.
        image_ids: Of the images with annotations, in order.
        bounds: Image -> its first row; one more at the end.
        rows: The annotations, image by image, those of one image as in the file.
    """

    path: Path
    version: tuple[int, int]
    categories: Mapping[int, str]
    pictures: Mapping[str, Picture]
    image_ids: Sequence[str]
    bounds: Int[np.ndarray, " images+1"]
    rows: Rows

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {image_id: position for position, image_id in enumerate(self.image_ids)}

    def of_image(self, image_id: str) -> Rows:
        """An image's annotations."""
        position = self._positions[image_id]
        return self.rows[self.bounds[position] : self.bounds[position + 1]]

    def segmentations(self, rows: Rows) -> Iterator[tuple[np.void, Any]]:
        """Each row with its segmentation."""
        with self.path.open("rb") as file:
            if version_of(os.fstat(file.fileno())) != self.version:
                raise ValueError(f"{self.path}: changed since it was listed; wanted one state. Start the run again.")
            for row in rows:
                file.seek(row["start"])
                yield row, json.loads(file.read(row["stop"] - row["start"])).get("segmentation")


class _Scan:
    """A pass over the JSON's text, one annotation at a time.

    Parsed at once, the 450 MB of train2017 take 2.4 GB, and every worker parses them.

    Attributes:
        images: Image id -> number, as the annotations name them.
        rest: The JSON without its annotations, once `rows` is through.
    """

    _opening = re.compile(r'"annotations"\s*:\s*\[\s*')
    _gap = re.compile(r"\s*(?:,\s*|(?=\]))")

    def __init__(self, text: str) -> None:
        self.images: dict[str, int] = {}
        self.rest: dict[str, Any] = {}
        self._text = text
        self._uses: dict[str, int] = {}

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The annotations' `_FIELDS`, as they come."""
        decoder = json.JSONDecoder(parse_float=str)  # nobody reads the coordinates yet: halves the time
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
        uses = self._uses[name] = self._uses.get(name, 0) + (not crowd)
        unique = (f"{name}#{uses}" if uses > 1 and not crowd else name).encode()
        if len(unique) > _FIELDS["id"].itemsize:
            raise ValueError(f"an annotation has the id {short(name)}, longer than {_FIELDS['id'].itemsize} bytes")
        return unique, uses > 1 and not crowd


def check_layout(json_path: Path, image_folder: Path) -> None:
    """Refuse a root that is not laid out as COCO is.

    Raises:
        UserError: Saying what to download, or which splits there are.
    """
    if not json_path.is_file():
        there = sorted(path.stem.removeprefix("instances_") for path in json_path.parent.glob("instances_*.json"))
        splits = f" There are the splits: {', '.join(there)}." if there else ""
        raise UserError(f"datasets/coco.py: no file {json_path}; wanted COCO's annotations.{splits} {_DOWNLOAD}")
    if not image_folder.is_dir():
        raise UserError(f"datasets/coco.py: no folder {image_folder}; wanted the split's pictures in it. {_DOWNLOAD}")


def version_of(stat: os.stat_result) -> tuple[int, int]:
    """A file's size and time of change (ns)."""
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4)
def parsed(path: Path, version: tuple[int, int]) -> Listing:
    """The listing of the file's state `version`, once a process.

    Raises:
        UserError: It is not a whole COCO instances file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # One character a byte, so that positions in the text are positions in the file.
            scan = _Scan(str(content, "latin-1"))
            rows = np.fromiter(scan.rows(), dtype=_FIELDS)
        return _listing(path, version, rows, scan)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"datasets/coco.py: {path} ({version[0]} bytes) is not a whole COCO instances file: {error}; "
            f"wanted a JSON object with images, annotations and categories. {_DOWNLOAD}"
        ) from error


def _listing(path: Path, version: tuple[int, int], rows: Rows, scan: _Scan) -> Listing:
    pictures = _by_id(scan.rest, "images", "file_name", "height", "width")
    categories = _by_id(scan.rest, "categories", "name")
    image_ids = sorted(scan.images, key=_ascending)
    rank = np.argsort([scan.images[image_id] for image_id in image_ids])
    rows["image"] = rank[rows["image"]]
    rows = rows[np.argsort(rows["image"], kind="stable")]
    return Listing(
        path,
        version,
        {key: str(categories[key]["name"]) for key in sorted(categories, key=_ascending)},
        {str(k): Picture(str(v["file_name"]), int(v["height"]), int(v["width"])) for k, v in pictures.items()},
        image_ids,
        np.searchsorted(rows["image"], np.arange(len(image_ids) + 1)),
        rows,
    )


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
    """Sorts numbers as numbers, and words too."""
    return len(str(key)), str(key)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")
