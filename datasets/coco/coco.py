"""COCO's instance annotations: 80 categories, drawn as polygons and run lengths.

Paper: Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, https://arxiv.org/abs/1405.0312
Source: https://cocodataset.org (2017: 118,287 training and 5,000 validation images, 19 GB). Annotations CC BY 4.0;
the images are Flickr's, each under the licence that the JSON names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from harness import Dataset, Instance, Sample, UserError, register_dataset
from harness.images.reading import read_rgb_of, sizes_digest
from harness.masks.json_values import kind_of
from harness.masks.segmentations import decode, short
from harness.places import sha256
from harness.plugins.class_splits import marked, seen_names, split_of
from harness.structures import Image, Listed, Mask

from .listing import Listing, Rows, check_layout, parsed, version_of

_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)20\d\d_)?(\d{12})\.jpg")
"""The names of COCO's pictures: 000000000139.jpg, since 2014 also COCO_val2014_000000000139.jpg."""


@register_dataset("coco")
class Coco(Dataset):
    """COCO. Every annotation is an instance with the annotation's id; crowd regions are only on request.

    A sample's id is the image's, without leading zeros. Images without an instance are not listed; the others come in
    the order of their ids. Masks and pixels are in the file's stored orientation; EXIF is not applied. An annotation
    that does not decode is listed, and `load` names it as broken. The same holds for an annotation with the id of an
    earlier one, which is listed as "<id>#2".

    Args:
        root: The folder that holds `annotations/instances_<split>.json` and the images, `<split>/*.jpg`.
        split: "val2017", "train2017" or another split that the folder holds.
        seen: The seen categories: a file of harness/plugins/splits/ without ".txt", or their names; None for no split.
        crowd: "drop" leaves crowd regions out. With "ignore", no metric counts a crowd's pixels, except those that an
            instance covers. With "keep", they are instances like all others: some annotation tools mark brush masks as
            crowds.
        min_area: Instances whose `area` in the JSON is smaller, in pixels, are left out. They still count in the number
            of instances of their class in the image. An instance without an area, or with one below 0, is kept.
    """

    def __init__(
        self,
        root: Path,
        split: str = "val2017",
        seen: str | Sequence[str] | None = "coco_20",
        crowd: Literal["drop", "ignore", "keep"] = "drop",
        min_area: float = 0,
    ) -> None:
        self.json_path = root / "annotations" / f"instances_{split}.json"
        self.image_folder = root / split
        self.crowd = crowd
        self.min_area = min_area
        self._seen_names = None if seen is None else seen_names(seen)
        check_layout(self.json_path, self.image_folder)
        self._version = version_of(self.json_path.stat())

    @property
    def _listing(self) -> Listing:
        # `parsed` keeps it for the whole process, so a pickled data set stays small, and the file is parsed once.
        return parsed(self.json_path, self._version)

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # nothing is read before it is asked for
        """The category names in the order of their ids."""
        return tuple(dict.fromkeys(self._listing.categories.values()))  # Two ids may have one name.

    @cached_property
    def _seen(self) -> Mapping[str, bool]:
        """Category -> whether it is seen; empty without a split."""
        return marked(self._seen_names, self.classes, f"datasets/coco/coco.py, {self.json_path}")

    def sample_ids(self) -> list[str]:
        """The ids of the images with an instance, in order.

        Raises:
            UserError: The file holds annotations, and all of them are left out.
        """
        listing = self._listing
        kept = self._kept(listing.rows)
        if len(listing.rows) and not len(kept):
            left_out = ", ".join(f"{count} {what}" for what, count in self.left_out().items())
            raise UserError(
                f"datasets/coco/coco.py: {self.json_path}: nothing is left of {len(listing.rows)} annotations; "
                f"left out are {left_out}."
            )
        return [listing.image_ids[image] for image in np.unique(kept["image"])]

    def left_out(self) -> Mapping[str, int]:
        """Crowd regions, where they are no instances, and instances below `min_area`."""
        crowds = np.count_nonzero(self._listing.rows["crowd"] & ~self._candidates(self._listing.rows))
        small = len(self._listing.rows) - crowds - len(self._kept(self._listing.rows))
        counts = {
            "crowd regions (iscrowd: 1; `crowd: keep` evaluates them)": int(crowds),
            f"instances smaller than min_area={self.min_area:g}": int(small),
        }
        return {what: count for what, count in counts.items() if count}

    def list_instances(self, sample_id: str) -> list[Listed]:
        """The image's instances, in the file's order."""
        categories = self._listing.categories
        listed = []
        for row in self._kept(self._listing.of_image(sample_id)):
            category = categories.get(int(row["category_id"]), "")
            listed.append(Listed(row["id"].decode(), category, self._seen.get(category)))
        return listed

    def load(self, sample_id: str) -> Sample:
        """An image and its instances.

        Raises:
            OSError: The image is missing or damaged.
            ValueError: The JSON does not describe the image or has another size, the JSON has changed since it was
                listed, or a crowd region that is to be ignored does not decode.
        """
        rows = self._listing.of_image(sample_id)
        image = self._image(sample_id)
        instances, broken = [], {}
        counts = self._counts(rows)
        for row, annotation in self._listing.annotations(self._kept(rows)):
            try:
                instances.append(self._instance(row, annotation, counts, image))
            except ValueError as error:
                broken[row["id"].decode()] = str(error)
        ignore = self._ignored(rows[rows["crowd"]], instances, image) if self.crowd == "ignore" else None
        return Sample(sample_id, image, tuple(instances), broken, ignore)

    def image_key(self, sample_id: str) -> str:
        """COCO's picture by the number in its name, "coco/139"; any other by its folder and name.

        Other files number their images from 1 again, so that equal ids in two of them are no equal pictures.
        """
        picture = self._listing.pictures.get(sample_id)
        if picture is None:
            return super().image_key(sample_id)
        known = _COCO_NAME.fullmatch(PurePosixPath(picture.file_name).name)
        return f"coco/{int(known[1])}" if known else f"coco/{(self.image_folder / picture.file_name).as_posix()}"

    def files(self, sample_id: str) -> Sequence[Path]:
        """The picture; the JSON is looked at by `load`."""
        picture = self._listing.pictures.get(sample_id)
        return [self.image_folder / picture.file_name] if picture else []

    def fingerprint(self) -> Mapping[str, Any]:
        """Counts, the size and the SHA-256 of the JSON, and a digest of the pictures' sizes."""
        return {
            "samples": len(self.sample_ids()),
            "split": split_of(self._seen),
            "instances": len(self._kept(self._listing.rows)),
            "json_bytes": self._version[0],
            "json_sha256": sha256(self.json_path),
            "pictures": self._pictures,
        }

    @cached_property
    def _pictures(self) -> str:
        return sizes_digest(path for one in self.sample_ids() for path in self.files(one))

    def _kept(self, rows: Rows) -> Rows:
        """The annotations that are instances here, including those without an area of 0 or more."""
        # Not `area >= min_area`: a missing area is NaN, with which every comparison is false.
        return rows[self._candidates(rows) & ~(rows["area"] < self.min_area)]

    def _candidates(self, rows: Rows) -> Bool[np.ndarray, " rows"]:
        """Whether each annotation is an instance of its class in the image, whatever its size."""
        return ~rows["crowd"] | (self.crowd == "keep")

    def _image(self, sample_id: str) -> Image:
        picture = self._listing.pictures.get(sample_id)
        if picture is None:
            raise ValueError(
                f"{self.json_path}: found annotations of image {sample_id} and no such image; "
                "wanted its file_name, height and width among `images`. Add it there, or remove the annotations."
            )
        path = self.image_folder / picture.file_name
        return read_rgb_of(path, (picture.height, picture.width), self.json_path)

    def _counts(self, rows: Rows) -> Counter[str]:
        """How many of an image's annotations are of each class; a class is a name, which several ids may have."""
        categories = self._listing.categories
        return Counter(categories.get(int(number), "") for number in rows["category_id"][self._candidates(rows)])

    def _instance(
        self, row: np.void, annotation: Mapping[str, Any], counts: Mapping[str, int], image: Image
    ) -> Instance:
        category = self._listing.categories.get(int(row["category_id"]))
        if row["repeated"]:
            raise ValueError("found the id of an earlier instance; wanted one of its own")
        if category is None:
            found = annotation.get("category_id")
            raise ValueError(
                f"found category_id {short(found)} ({kind_of(found)}); wanted a whole number that `categories` lists"
            )
        mask = decode(annotation.get("segmentation"), image.shape[0], image.shape[1])
        return Instance(row["id"].decode(), mask, category, self._seen.get(category), counts[category])

    def _ignored(self, crowds: Rows, instances: Sequence[Instance], image: Image) -> Mask | None:
        masks = []
        for row, annotation in self._listing.annotations(crowds):
            try:
                masks.append(decode(annotation.get("segmentation"), image.shape[0], image.shape[1]))
            except ValueError as error:
                raise ValueError(
                    f"{self.json_path}, crowd region {row['id'].decode()}: {error}. "
                    "Without it no one knows which pixels to ignore; mend it or set `crowd: drop`."
                ) from error
        if not masks:
            return None
        ignored = np.logical_or.reduce(masks)
        # Crowd regions are drawn coarsely, and some cover an instance. Its pixels must still be scored.
        for instance in instances:
            ignored &= ~instance.mask
        return ignored
