"""Pascal VOC's pictures with numbered objects: the common part of VOC's own masks and SBD's.

Registers no data set.
"""

from __future__ import annotations

import hashlib
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8

from harness.images.reading import read_rgb, sizes_digest
from harness.plugins.class_splits import marked, seen_names, split_of
from harness.plugins.interfaces import Dataset
from harness.structures import Instance, Listed, Mask, Sample, UserError

from ..shared.index_cache import cached

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""The classes in VOC's order; the first has the number 1 in masks."""

_SCHEMA = pa.schema(
    {
        "image": pa.string(),
        "object": pa.int32(),  # 0 marks an image whose ground truth cannot be read
        "category": pa.string(),  # empty where the object's is not known
        "area": pa.int32(),  # pixels
        "crc32": pa.uint32(),  # of the image's whole map of objects
    }
)


@dataclass(frozen=True, eq=False)
class Annotation:
    """The ground truth of one picture.

    Attributes:
        objects: The number of the object at each pixel. A number that is in neither `categories` nor `broken` is no
            object.
        categories: Object -> its class, in the order of the numbers.
        broken: Object -> the reason why its class is not known.
        void: Pixels that the annotators left open; None if there are none.
    """

    objects: UInt8[np.ndarray, "h w"]
    categories: Mapping[int, str]
    broken: Mapping[int, str] = field(default_factory=dict)
    void: Mask | None = None


def ids_in(path: Path) -> tuple[str, ...]:
    """The image ids of a split's list, one a line; blank lines are skipped.

    Raises:
        UserError: The file is not such a list, is empty, or names a picture twice.
    """
    try:
        ids = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: found no list that can be read ({error}); wanted image ids, one per line.") from error
    if not ids:
        raise UserError(f"{path}: found no image id; wanted one per line. Fetch the file again.")
    seen: set[str] = set()
    for image_id in ids:
        if set(image_id) & set("/\\~\0"):
            raise UserError(f"{path}: found '{image_id[:60]}'; wanted image ids such as 2007_000033, one per line.")
        if image_id in seen:
            raise UserError(f"{path}: found {image_id} twice; wanted every image once. Delete the second line.")
        seen.add(image_id)
    return ids


class VocObjects(Dataset):
    """The base of `voc` and `sbd`: an instance's id is "<image>/<number of the object>".

    Masks and pixels are in the files' stored orientation; the pictures' EXIF orientation is not applied.

    Args:
        seen: The seen categories: a file of harness/plugins/splits/ without ".txt", or their names; None for no split.
    """

    classes = CLASSES

    def __init__(self, seen: str | Sequence[str] | None) -> None:
        names = None if seen is None else seen_names(seen)
        self._seen = marked(names, CLASSES, f"datasets/{self.name}.py")

    @abstractmethod
    def _picture(self, sample_id: str) -> Path:
        """The picture's file."""

    @abstractmethod
    def _truth_files(self, sample_id: str) -> tuple[Path, ...]:
        """All files that `_annotation` reads."""

    @abstractmethod
    def _annotation(self, sample_id: str) -> Annotation:
        """The picture's ground truth.

        Raises:
            OSError: It is missing or damaged.
            ValueError: It does not have the data set's form.
        """

    def list_instances(self, sample_id: str) -> list[Listed]:
        """The picture's objects by their numbers, from the index.

        Raises:
            OSError: The ground truth is missing or damaged.
            ValueError: It does not have the data set's form.
        """
        # Object 0 in the index marks ground truth that could not be read. Reading it again raises the reason.
        rows = self._index.get(sample_id, [])
        if rows and rows[0][0] == 0:
            rows = list(_named(self._annotation(sample_id)))
        return [Listed(f"{sample_id}/{number}", name, self._seen.get(name)) for number, name in rows]

    def load(self, sample_id: str) -> Sample:
        """One picture and its objects.

        Raises:
            OSError: The picture or its ground truth is missing or damaged.
            ValueError: The ground truth is of another size, or does not have the data set's form.
        """
        image, annotation = read_rgb(self._picture(sample_id), turned=True), self._annotation(sample_id)
        if annotation.objects.shape != image.shape[:2]:
            (h, w), (mask_h, mask_w) = image.shape[:2], annotation.objects.shape
            raise ValueError(
                f"{self._truth_files(sample_id)[0]}: found {mask_h} x {mask_w} (h x w); wanted {h} x {w}, "
                f"as {self._picture(sample_id)}. Fetch both again, at their original size."
            )
        broken = {f"{sample_id}/{number}": reason for number, reason in annotation.broken.items()}
        return Sample(sample_id, image, tuple(self._instances(sample_id, annotation)), broken, annotation.void)

    def _instances(self, sample_id: str, annotation: Annotation) -> Iterator[Instance]:
        names = list(annotation.categories.values())
        for number, name in annotation.categories.items():
            mask = annotation.objects == number
            yield Instance(f"{sample_id}/{number}", mask, name, self._seen.get(name), names.count(name))

    def image_key(self, sample_id: str) -> str:
        """VOC's and SBD's pictures are the same, and so are their ids."""
        return f"voc/{sample_id}"

    def files(self, sample_id: str) -> Sequence[Path]:
        """The picture and its ground truth."""
        return [self._picture(sample_id), *self._truth_files(sample_id)]

    def fingerprint(self) -> Mapping[str, Any]:
        """Counts, a sha256 of every object's number, class and area and of the maps of objects, the pictures' sizes."""
        content = repr(self._table.to_pydict()).encode()
        instances = sum(number > 0 for number in self._table["object"].to_pylist())
        own = {"instances": instances, "split": split_of(self._seen), "sha256": hashlib.sha256(content).hexdigest()}
        pictures = sizes_digest(self._picture(sample_id) for sample_id in self.sample_ids())
        return {**super().fingerprint(), **own, "pictures": pictures}

    @cached_property
    def _table(self) -> pa.Table:
        files = [path for sample_id in self.sample_ids() for path in self._truth_files(sample_id)]
        return cached(f"{self.name} 1", files, self._listing)

    def _listing(self) -> pa.Table:
        rows = [row for sample_id in self.sample_ids() for row in self._rows(sample_id)]
        return pa.Table.from_pylist(rows, schema=_SCHEMA)

    def _rows(self, sample_id: str) -> Iterator[dict[str, Any]]:
        try:
            annotation = self._annotation(sample_id)
        except (OSError, ValueError):
            yield {"image": sample_id, "object": 0, "category": "", "area": 0, "crc32": 0}
            return
        # An object that was moved keeps its area; the checksum of the whole map changes.
        areas, crc32 = np.bincount(annotation.objects.ravel()), zlib.crc32(annotation.objects.tobytes())
        for number, name in _named(annotation):
            yield {"image": sample_id, "object": number, "category": name, "area": areas[number], "crc32": crc32}

    @cached_property
    def _index(self) -> Mapping[str, list[tuple[int, str]]]:
        index: dict[str, list[tuple[int, str]]] = {}
        for row in self._table.select(["image", "object", "category"]).to_pylist():
            index.setdefault(row["image"], []).append((row["object"], row["category"]))
        return index

    def __getstate__(self) -> dict[str, Any]:
        """The attributes without cached properties, so that a pickled data set stays small."""
        return {
            key: value
            for key, value in vars(self).items()
            if not isinstance(getattr(type(self), key, None), cached_property)
        }


def _named(annotation: Annotation) -> Iterator[tuple[int, str]]:
    """Every object with its class, or with "" for an unknown class, by its number."""
    for number in sorted({*annotation.categories, *annotation.broken}):
        yield number, annotation.categories.get(number, "")
