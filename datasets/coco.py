"""COCO, instance annotations: 80 categories, polygons and run lengths.

Paper: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, https://arxiv.org/abs/1405.0312
Source: https://cocodataset.org (2017: 118,287 training and 5,000 validation images, 19 GB). Annotations CC BY 4.0;
the images are Flickr's, each under the licence that the JSON names.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pycocotools.mask
from jaxtyping import Int, Shaped

from datasets.images import read_rgb
from harness import Dataset, Instance, Sample, UserError, register_dataset
from harness.registry import suggest
from harness.structures import Image, Listed, Mask

_SPLITS = Path(__file__).parent / "splits"
_DOWNLOAD = (
    "Download it from https://cocodataset.org/#download (annotations_trainval2017.zip, val2017.zip) and unzip both "
    "in one folder, or correct `root`; a root under data/ counts from HARNESS_DATA where that is set."
)


@register_dataset("coco")
class Coco(Dataset):
    """Every annotation that is no crowd is one instance; its id is the annotation's.

    A sample's id is the image's, without leading zeros. Images without an instance are not listed; the others
    come in the order of their ids. Masks and pixels are in the file's stored orientation, whatever its EXIF says.
    An annotation that does not decode is listed, and `load` names it as broken; so is one whose id an
    earlier instance has: it is listed as "<id>#2".

    Args:
        root: Folder that holds `annotations/instances_<split>.json` and the pictures, `<split>/*.jpg`.
        split: "val2017", "train2017" or whatever else the folder holds.
        seen: The seen categories: a file of datasets/splits/ without ".txt", or their names; None without a split.
        crowd: "drop" disregards crowd regions; "ignore" makes pixels that no metric counts of those of
            their pixels that no instance covers.
        min_area: Instances whose `area` in the JSON is smaller, in pixels, are left out. They still count
            among their class's instances in the image.
    """

    def __init__(
        self,
        root: Path,
        split: str = "val2017",
        seen: str | Sequence[str] | None = "coco_20",
        crowd: Literal["drop", "ignore"] = "drop",
        min_area: float = 0,
    ) -> None:
        self.json_path = root / "annotations" / f"instances_{split}.json"
        self.image_folder = root / split
        self.crowd = crowd
        self.min_area = min_area
        self._seen_names = None if seen is None else seen_names(seen)
        _check_layout(self.json_path, self.image_folder)
        self._version = _version(self.json_path.stat())

    @property
    def _listing(self) -> _Listing:
        # Kept by the module, so that a pickled data set stays small and a process parses the file once.
        return _parsed(self.json_path, self._version)

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # nothing is read before it is asked for
        """The category names in the order of their ids."""
        return tuple(self._listing.categories.values())

    @cached_property
    def _seen(self) -> Mapping[str, bool]:
        """Category -> whether it is seen; empty without a split."""
        if self._seen_names is None:
            return {}
        for name in self._seen_names:
            if name not in self.classes:
                raise UserError(
                    f"datasets/coco.py: no category '{name}', which `seen` names, in {self.json_path}. "
                    f"{suggest(name, self.classes)}"
                )
        return {name: name in self._seen_names for name in self.classes}

    def sample_ids(self) -> list[str]:
        """The ids of the images with an instance, in order."""
        listing = self._listing
        return [listing.image_ids[image] for image in np.unique(self._kept(listing.rows)["image"])]

    def list_instances(self, sample_id: str) -> list[Listed]:
        """The image's instances, in the file's order."""
        categories = self._listing.categories
        listed = []
        for row in self._kept(self._listing.of_image(sample_id)):
            category = categories.get(int(row["category_id"]), "")
            listed.append(Listed(row["id"].decode(), category, self._seen.get(category)))
        return listed

    def load(self, sample_id: str) -> Sample:
        """One image and its instances.

        Raises:
            OSError: The picture is missing or damaged.
            ValueError: The JSON does not describe the picture, its size is another one than the JSON's, the JSON
                changed since it was listed, or a crowd region that is to be ignored does not decode.
        """
        rows = self._listing.of_image(sample_id)
        image = self._image(sample_id)
        instances, broken = [], {}
        for row, segmentation in self._listing.segmentations(self._kept(rows)):
            try:
                instances.append(self._instance(row, segmentation, rows, image))
            except ValueError as error:
                broken[row["id"].decode()] = str(error)
        ignore = self._ignored(rows[rows["crowd"]], instances, image) if self.crowd == "ignore" else None
        return Sample(sample_id, image, tuple(instances), broken, ignore)

    def fingerprint(self) -> Mapping[str, Any]:
        """Counts, and the JSON's size and sha256."""
        return {
            "samples": len(self.sample_ids()),
            "instances": len(self._kept(self._listing.rows)),
            "json_bytes": self._version[0],
            "json_sha256": self._sha256,
        }

    @cached_property
    def _sha256(self) -> str:
        with self.json_path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _kept(self, rows: Rows) -> Rows:
        """Those of the annotations that are instances here; one without an area is."""
        return rows[~rows["crowd"] & ~(rows["area"] < self.min_area)]

    def _image(self, sample_id: str) -> Image:
        picture = self._listing.pictures.get(sample_id)
        if picture is None:
            raise ValueError(
                f"{self.json_path}: found annotations of image {sample_id} and no such image; "
                "wanted its file_name, height and width among `images`. Download the file again."
            )
        path = self.image_folder / picture.file_name
        image = read_rgb(path)
        if image.shape[:2] != (picture.height, picture.width):
            raise ValueError(
                f"{path}: found {image.shape[0]} x {image.shape[1]} (h x w); wanted {picture.height} x "
                f"{picture.width}, as in {self.json_path}. Fetch the picture again, at its original size."
            )
        return image

    def _instance(self, row: np.void, segmentation: Any, rows: Rows, image: Image) -> Instance:
        category = self._listing.categories.get(int(row["category_id"]))
        if row["repeated"]:
            raise ValueError("found the id of an earlier instance; wanted one of its own")
        if category is None:
            raise ValueError("found a category_id that `categories` lacks")
        mask = decode(segmentation, image.shape[0], image.shape[1])
        same = np.count_nonzero((rows["category_id"] == row["category_id"]) & ~rows["crowd"])
        return Instance(row["id"].decode(), mask, category, self._seen.get(category), int(same))

    def _ignored(self, crowds: Rows, instances: Sequence[Instance], image: Image) -> Mask | None:
        masks = []
        for row, segmentation in self._listing.segmentations(crowds):
            try:
                masks.append(decode(segmentation, image.shape[0], image.shape[1]))
            except ValueError as error:
                raise ValueError(
                    f"{self.json_path}, crowd region {row['id'].decode()}: {error}. "
                    "Without it no one knows which pixels to ignore; mend it or set `crowd: drop`."
                ) from error
        if not masks:
            return None
        ignored = np.logical_or.reduce(masks)
        for instance in instances:  # crowd regions are coarse: some cover an instance, which must stay scored
            ignored &= ~instance.mask
        return ignored


def seen_names(seen: str | Sequence[str]) -> tuple[str, ...]:
    """The names of a split: those given, or those in datasets/splits/<seen>.txt, one a line, # for comments."""
    if not isinstance(seen, str):
        return tuple(seen)
    path = _SPLITS / f"{seen}.txt"
    if not path.is_file():
        known = (file.stem for file in _SPLITS.glob("*.txt"))
        raise UserError(f"datasets: no split datasets/splits/{seen}.txt. {suggest(seen, known)}")
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def decode(segmentation: Any, height: int, width: int) -> Mask:
    """The mask of a COCO segmentation: polygons, or run lengths, as a list or as COCO's string.

    Everything is checked before pycocotools sees it: that ends the process on NaN and on coordinates far
    off the image, and draws run lengths that are too short from memory that nobody wrote.

    Raises:
        ValueError: It says no mask of that size, or an empty one.
    """
    if isinstance(segmentation, list) and segmentation:
        polygons = [_polygon(polygon, height, width) for polygon in segmentation]
        encoded = pycocotools.mask.merge(pycocotools.mask.frPyObjects(polygons, height, width))
        mask = np.ascontiguousarray(pycocotools.mask.decode(encoded)).astype(np.bool_)
    elif isinstance(segmentation, dict):
        mask = _from_runs(segmentation, height, width)
    else:
        raise ValueError(f"found the segmentation {_short(segmentation)}; wanted polygons or run lengths")
    if not mask.any():
        raise ValueError("found a segmentation that covers no pixel; wanted one at least")
    return mask


def _polygon(points: Any, height: int, width: int) -> list[float]:
    try:
        xy = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"found the polygon {_short(points)}; wanted numbers") from error
    if xy.ndim != 1 or xy.size % 2 or xy.size < 6:
        raise ValueError(f"found the polygon {_short(points)}; wanted x, y of three points at least")
    if not np.isfinite(xy).all():
        raise ValueError("found a polygon with a coordinate that is not finite")
    # Rasterising walks along each edge: far points take gigabytes. A little outside is cut off, as COCO does.
    largest = max(height, width)
    if xy.min() < -largest or xy.max() > 2 * largest:
        raise ValueError(
            f"found a polygon from {xy.min():g} to {xy.max():g}; wanted it on the {height} x {width} image"
        )
    return xy.tolist()


def _from_runs(segmentation: Mapping[str, Any], height: int, width: int) -> Mask:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"found run lengths of size {_short(size)}; wanted {[height, width]}, the image's [h, w]")
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError(f"found the counts {_short(counts)}; wanted lengths of 0 or more")
    if sum(runs) != height * width:
        raise ValueError(f"found run lengths of {sum(runs)} pixels; wanted {height * width} ({height} x {width})")
    # Runs alternate between outside and inside, outside first, down the columns.
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height)
    return np.ascontiguousarray(columns.T)


def _unpacked(counts: str) -> list[int]:
    """The run lengths in COCO's string: groups of 5 bits, lowest first.

    From the fourth run on, the string holds the difference to the last run but one.

    Source: rleToString in common/maskApi.c of https://github.com/cocodataset/cocoapi.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"found {character!r} in the counts; wanted '0' to 'o'")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:  # more groups follow
            continue
        if bits & 16:  # the sign, in the last group
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("found counts that end within a number")
    return runs


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


class _Picture(NamedTuple):
    file_name: str
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class _Listing:
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
    pictures: Mapping[str, _Picture]
    image_ids: Sequence[str]
    bounds: Int[np.ndarray, " images+1"]
    rows: Rows

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {image_id: position for position, image_id in enumerate(self.image_ids)}

    def of_image(self, image_id: str) -> Rows:
        position = self._positions[image_id]
        return self.rows[self.bounds[position] : self.bounds[position + 1]]

    def segmentations(self, rows: Rows) -> Iterator[tuple[np.void, Any]]:
        """Each row with its segmentation."""
        with self.path.open("rb") as file:
            if _version(os.fstat(file.fileno())) != self.version:
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
            raise ValueError(f"an annotation has the id {_short(name)}, longer than {_FIELDS['id'].itemsize} bytes")
        return unique, uses > 1 and not crowd


def _check_layout(json_path: Path, image_folder: Path) -> None:
    if not json_path.is_file():
        there = sorted(path.stem.removeprefix("instances_") for path in json_path.parent.glob("instances_*.json"))
        splits = f" There are the splits: {', '.join(there)}." if there else ""
        raise UserError(f"datasets/coco.py: no file {json_path}; wanted COCO's annotations.{splits} {_DOWNLOAD}")
    if not image_folder.is_dir():
        raise UserError(f"datasets/coco.py: no folder {image_folder}; wanted the split's pictures in it. {_DOWNLOAD}")


def _version(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4)
def _parsed(path: Path, version: tuple[int, int]) -> _Listing:
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


def _listing(path: Path, version: tuple[int, int], rows: Rows, scan: _Scan) -> _Listing:
    pictures = _by_id(scan.rest, "images", "file_name", "height", "width")
    categories = _by_id(scan.rest, "categories", "name")
    image_ids = sorted(scan.images, key=_ascending)
    rank = np.argsort([scan.images[image_id] for image_id in image_ids])
    rows["image"] = rank[rows["image"]]
    rows = rows[np.argsort(rows["image"], kind="stable")]
    return _Listing(
        path,
        version,
        {key: str(categories[key]["name"]) for key in sorted(categories, key=_ascending)},
        {str(k): _Picture(str(v["file_name"]), int(v["height"]), int(v["width"])) for k, v in pictures.items()},
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


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
