"""Lists COCO's instances JSON in one pass. Segmentations stay in the file and are read image by image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from harness.structures import UserError

from ..shared.index_cache import cached
from .scan import COLUMNS, Picture, fields, scanned
from .scan import Rows as Rows

_PUBLISHED = ("train2014", "val2014", "train2017", "val2017")
"""COCO's own splits with masks; a file of any other name is somebody's own."""
_ROOT = "correct `root`; a root under data/ counts from HARNESS_DATA where that is set."
_DOWNLOAD = (
    "Download it from https://cocodataset.org/#download (annotations_trainval2017.zip, val2017.zip) and unzip both "
    f"in one folder, or {_ROOT}"
)

_EXPORT = "Mend it, or export it again from the tool that made it."

_KEPT_FROM_BYTES = 8_000_000
"""Listings of larger files are kept from one run to the next; those of smaller ones take only about 0.3 s."""


@dataclass(frozen=True, eq=False)
class Listing:
    """A JSON without its segmentations, which are read from the file one image at a time.

    The annotations of an image are neighbours in `rows`, so two entries of `bounds` find them:

        image_ids    "9"    "25"   "30"
        bounds       0      3      3     5          rows[3:5] are those of the third image, "30"; "25" has none

    Attributes:
        path: The JSON.
        version: The file's size and time of change (ns) when it was read.
        categories: Category id -> name, in the order of the ids.
        pictures: Image id -> the JSON's entry for the image.
        image_ids: The ids of the images with annotations, in order.
        bounds: The first row of each image, and the number of rows at the end.
        rows: The annotations, image by image, and within an image in the file's order.
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
        """The annotations of an image."""
        position = self._positions[image_id]
        return self.rows[self.bounds[position] : self.bounds[position + 1]]

    def annotations(self, rows: Rows) -> Iterator[tuple[np.void, Mapping[str, Any]]]:
        """Each row with its annotation from the JSON."""
        # The positions are those in the file when it was listed. If it has changed since, they would be wrong.
        with self.path.open("rb") as file:
            if version_of(os.fstat(file.fileno())) != self.version:
                raise ValueError(f"{self.path}: changed since it was listed; wanted one state. Start the run again.")
            for row in rows:
                file.seek(row["start"])
                yield row, self._parsed(file.read(row["stop"] - row["start"]), int(row["start"]))

    def _parsed(self, text: bytes, start: int) -> Mapping[str, Any]:
        try:
            return cast(Mapping[str, Any], json.loads(text))
        except UnicodeDecodeError as error:  # Listing it decoded no more than its ids.
            raise ValueError(
                f"{self.path}: the annotation at byte {start} is not UTF-8 ({error}); save the file in that encoding"
            ) from error


def check_layout(json_path: Path, image_folder: Path) -> None:
    """Refuse a root that does not have COCO's layout.

    Raises:
        UserError: A file or folder is missing; the message names the download, or the splits that are there.
    """
    if not json_path.is_file():
        there = sorted(path.stem.removeprefix("instances_") for path in json_path.parent.glob("instances_*.json"))
        splits = f" There are the splits: {', '.join(there)}." if there else _elsewhere(json_path, image_folder)
        todo = _advice(json_path, f"Put it there, correct `split`, or {_ROOT}")
        raise UserError(f"datasets/coco/coco.py: no file {json_path}; wanted COCO's annotations.{splits} {todo}")
    if not image_folder.is_dir():
        todo = _advice(json_path, f"Put them there, or {_ROOT}")
        raise UserError(f"datasets/coco/coco.py: no folder {image_folder}; wanted the split's pictures in it. {todo}")


def _elsewhere(json_path: Path, image_folder: Path) -> str:
    """A hint if a JSON is where other tools put it: beside the pictures, or in the root."""
    root = json_path.parent.parent
    found = [str(path.relative_to(root)) for folder in (root, image_folder) for path in sorted(folder.glob("*.json"))]
    return f" There is {', '.join(found[:3])}: if that is it, move it there." if found else ""


def _advice(json_path: Path, own: str) -> str:
    """Advice: where to download COCO's own files or, for somebody's own file, `own`."""
    return _DOWNLOAD if json_path.stem.removeprefix("instances_") in _PUBLISHED else own


def version_of(stat: os.stat_result) -> tuple[int, int]:
    """A file's size and time of change (ns)."""
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4)
def parsed(path: Path, version: tuple[int, int]) -> Listing:
    """The listing of the file in its state `version`; kept in memory and, for a large file, on disk.

    Raises:
        UserError: It is not a whole COCO instances file.
    """
    # Two tables are kept on disk, and one pass over the JSON makes both. `cache` runs that pass at most once, and not
    # at all if both tables are found on disk.
    scan = cache(lambda: scanned(path))
    try:
        if version[0] < _KEPT_FROM_BYTES:
            return _listing(path, version, *scan())
        annotations = cached("coco annotations 3", [path], lambda: scan()[0])
        return _listing(path, version, annotations, cached("coco pictures 3", [path], lambda: scan()[1]))
    except (ValueError, OverflowError, RecursionError) as error:
        raise UserError(
            f"datasets/coco/coco.py: {path} ({version[0]} bytes) is not a whole COCO instances file: {error}; "
            f"wanted a JSON object with images, annotations and categories. {_advice(path, _EXPORT)}"
        ) from error


def _listing(path: Path, version: tuple[int, int], annotations: pa.Table, pictures: pa.Table) -> Listing:
    image = annotations["image"].unify_dictionaries().combine_chunks()
    longest = pc.max(pc.binary_length(annotations["id"])).as_py()
    rows = np.empty(len(annotations), fields(longest or 0))
    for field in COLUMNS:
        rows[field] = image.indices if field == "image" else annotations[field].to_numpy()
    image_ids = image.dictionary.to_pylist()
    columns = (pictures[field].to_pylist() for field in Picture._fields)
    return Listing(
        path,
        version,
        dict(json.loads(annotations.schema.metadata[b"categories"])),
        dict(zip(pictures["id"].to_pylist(), map(Picture, *columns), strict=True)),
        image_ids,
        # Rows are sorted by image. For the images 0 0 0 2 2, of three, this gives the bounds 0 3 3 5.
        np.searchsorted(rows["image"], np.arange(len(image_ids) + 1)),
        rows,
    )
