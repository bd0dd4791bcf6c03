"""Open Images V7, instance masks: 350 categories, drawn by people who corrected a network's proposals.

Papers: Kuznetsova et al., "The Open Images Dataset V4", IJCV 2020, https://arxiv.org/abs/1811.00982;
Benenson et al., "Large-scale interactive object segmentation with human annotators", CVPR 2019,
https://arxiv.org/abs/1903.10830 (the masks, the same since V5).
Source: https://storage.googleapis.com/openimages/web/download_v7.html (2.8 million masks,
24,730 of them of validation). Annotations CC BY 4.0 (Google); the images are listed as CC BY 2.0.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool

from harness import Dataset, Instance, Sample, UserError, register_dataset
from harness.images.reading import read_rgb, sizes_digest, within
from harness.messages import suggest
from harness.plugins.class_splits import seen_names, split_of
from harness.structures import Image, Listed, Mask

from ..shared.ids import plain
from .index import Index, Row, index_of
from .masks import read_mask
from .tables import DOWNLOAD, Classes, read_classes

_CLASS_LISTS = {
    350: ("oidv7-classes-segmentation.txt", "classes-segmentation.txt"),
    300: ("challenge-2019-classes-description-segmentable.csv",),
}
_DESCRIPTIONS = (
    "oidv7-class-descriptions-boxable.csv",
    "oidv7-class-descriptions.csv",
    "class-descriptions-boxable.csv",
)
_DROPS = ("drop_group_of", "drop_depiction", "drop_inside")
"""The parameters that leave masks out, in the order of `FLAGS`."""
_BEFORE_V7 = {"Ball (Object)": "Ball", "Orange (fruit)": "Orange"}


@register_dataset("openimages")
class OpenImages(Dataset):
    """Open Images. Every mask of a listed class is one instance; its id is the mask's file name without ".png".

    A sample's id is the image's. Images come in the order of their ids; those without an instance are not listed.
    Images and masks are used as stored: `Rotation` in the CSVs of image ids would turn both, and is not applied. A mask
    that is missing or damaged is listed, and `load` names it as broken. The same holds for a mask whose class has no
    name, and for one whose file an earlier row names, which is listed as "<id>#2".

    Args:
        root: The folder with the tables (in it, or in `annotations/`), the images, `<split>/*.jpg`, and the masks,
            `<split>-masks/*.png`. Images and masks may also be in folders named like their archives: `<split>_0`, ...,
            `<split>-masks-0`, ..., in the root or one folder below.
        split: "validation", "test" or "train".
        classes: The number of classes: 350, or the challenge's 300. Masks of other classes are no instances.
        seen: The seen categories: a file of harness/plugins/splits/ without ".txt", or their names; None for no split.
        drop_group_of: Whether to leave out the masks whose box is flagged as a group. They still count in the number of
            instances of their class in the image. A mask is kept if its box has no such flag or is not found.
        drop_depiction: Whether to leave out drawings and other depictions.
        drop_inside: Whether to leave out pictures taken from the inside of the object.
    """

    def __init__(
        self,
        root: Path,
        split: Literal["validation", "test", "train"] = "validation",
        classes: Literal[350, 300] = 350,
        seen: str | Sequence[str] | None = "openimages_64",
        drop_group_of: bool = False,
        drop_depiction: bool = False,
        drop_inside: bool = False,
    ) -> None:
        self.root, self.split = root, split
        # A bit for each flag in the order of `FLAGS`, as in `Index.flags`: dropping groups and pictures from the inside
        # is 1 + 4 = 5, and a mask is dropped if its flags & 5 is not 0.
        self._dropped = sum(drop << bit for bit, drop in enumerate((drop_group_of, drop_depiction, drop_inside)))
        self._seen_names = None if seen is None else seen_names(seen)
        self._class_files = self._file(*_CLASS_LISTS[classes]), self._file(*_DESCRIPTIONS)
        self._mask_csv = self._file(f"{split}-annotations-object-segmentation.csv")
        boxes = (f"oidv6-{split}-annotations-bbox.csv", f"{split}-annotations-bbox.csv")
        self._boxes_csv = self._file(*boxes) if self._dropped else None
        self._image_folders = self._folders(split, f"{split}_")
        self._mask_folders = self._folders(f"{split}-masks", f"{split}-masks-")
        tables = [self._mask_csv, *filter(None, [self._boxes_csv])]
        self._versions = tuple(number for path in tables for number in (path.stat().st_size, path.stat().st_mtime_ns))

    def _file(self, *names: str) -> Path:
        """The first of some files that exists."""
        for name in names:
            for path in (self.root / name, self.root / "annotations" / name):
                if path.is_file():
                    return path
        raise UserError(
            f"datasets/openimages/openimages.py: no file {' or '.join(names)} in {self.root} or in its annotations/; "
            f"wanted Open Images' own. {DOWNLOAD} or correct `root`; one under data/ counts from HARNESS_DATA, if set."
        )

    def _folders(self, name: str, archives: str) -> tuple[str, ...]:
        """The folders that may have the files; {} stands for the first character of the image's id, as in archives."""
        places = (name, f"{archives}{{}}", f"{name}/{archives}{{}}")
        found = tuple(place for place in places if any(self.root.glob(place.format("?"))))
        if not found:
            raise UserError(
                f"datasets/openimages/openimages.py: no folder {name} or {archives}0 in {self.root}. "
                f"{DOWNLOAD} (16 archives "
                "of masks a split; images from CVDF) and unpack it there."
            )
        return found

    def _path(self, folders: Sequence[str], image_id: str, name: str) -> Path:
        """The path of a file; if it is missing, the path where it should be."""
        paths = [self.root / folder.format(image_id[:1].lower()) / within(name) for folder in folders]
        return next((path for path in paths if path.is_file()), paths[0])

    @property
    def _index(self) -> Index:
        # `index_of` keeps it for the whole process, so a pickled data set stays small, and the tables are read once.
        return index_of(self._mask_csv, self._boxes_csv, self._versions)

    @cached_property
    def _classes(self) -> Classes:
        return read_classes(*self._class_files)

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # nothing is read before it is asked for
        """The category names, in the order of the class list."""
        return tuple(dict.fromkeys(self._classes.listed.values()))  # Several labels may have one name.

    @cached_property
    def _categories(self) -> tuple[str | None, ...]:
        """The category of each of the index's labels; "" if nothing names it, None if it is not in the list."""
        listed, names = self._classes
        return tuple(listed.get(label, None if label in names else "") for label in self._index.labels)

    @cached_property
    def _seen(self) -> Mapping[str, bool]:
        """Category -> whether it is seen; empty without a split."""
        if self._seen_names is None:
            return {}
        known = set(self._classes.names.values())
        # V7 calls two classes otherwise than the releases before; a split written for V7 also fits their descriptions.
        seen = {name if name in known else _BEFORE_V7.get(name, name) for name in self._seen_names}
        for name in seen - known:
            raise UserError(
                f"datasets/openimages/openimages.py: no category '{name}', which `seen` names, in "
                f"{self._class_files[1]}. "
                f"{suggest(name, self.classes)}"
            )
        return {name: name in seen for name in self.classes}

    def sample_ids(self) -> list[str]:
        """The ids of the images with an instance, in order."""
        index = self._index
        # `reduceat` joins each image's masks by "or": with bounds 0 3 4 the first image has masks 0 to 2, the second
        # mask 3. An image in the index has at least one mask, so no part is empty, for which `reduceat` would give the
        # next image's first.
        with_instance = np.logical_or.reduceat(self._kept(), index.bounds[:-1])
        return [image_id.decode() for image_id in index.image_ids[with_instance].tolist()]

    def _kept(self) -> Bool[np.ndarray, " masks"]:
        """Whether each of the masks is an instance here."""
        return self._of_list() & ~self._flagged()

    def _of_list(self) -> Bool[np.ndarray, " masks"]:
        """Whether each of the masks is of a class in the list, or of one that nothing names."""
        of_list: Bool[np.ndarray, " masks"] = np.array([category is not None for category in self._categories])
        return of_list[self._index.label]

    def _flagged(self) -> Bool[np.ndarray, " masks"]:
        """Whether a parameter drops each of the masks, by the flags of its box."""
        flagged: Bool[np.ndarray, " masks"] = self._index.flags & self._dropped != 0
        return flagged

    def left_out(self) -> Mapping[str, int]:
        """Masks of classes that the list lacks, and masks that a parameter drops by the flags of their boxes."""
        of_list = self._of_list()
        asked = ", ".join(name for bit, name in enumerate(_DROPS) if self._dropped >> bit & 1)
        counts = {
            f"masks of classes that are not in {self._class_files[0].name}": int(np.count_nonzero(~of_list)),
            f"masks of boxes that are flagged ({asked})": int(np.count_nonzero(of_list & self._flagged())),
        }
        return {what: count for what, count in counts.items() if count}

    def _rows(self, sample_id: str) -> list[tuple[Listed, Row]]:
        """The image's instances, each with its row of the index."""
        categories, seen, rows = self._categories, self._seen, []
        for row in self._index.of_image(sample_id):
            category = categories[row.label]
            if category is not None and not row.flags & self._dropped:
                unique = row.instance_id if row.use == 1 else f"{row.instance_id}#{row.use}"
                rows.append((Listed(plain(unique), category, seen.get(category)), row))
        return rows

    def list_instances(self, sample_id: str) -> list[Listed]:
        """The image's instances, in the table's order."""
        return [listed for listed, _ in self._rows(sample_id)]

    def load(self, sample_id: str) -> Sample:
        """One image and its instances.

        Raises:
            OSError: The picture is missing or damaged.
            ValueError: Its values have no known range.
        """
        rows = self._rows(sample_id)
        image = read_rgb(self._path(self._image_folders, sample_id, f"{sample_id}.jpg"), turned=True)
        # Classes are told apart by their names, since several labels may have one name. Repeated rows are not counted.
        count = Counter(self._categories[row.label] for row in self._index.of_image(sample_id) if row.use == 1)
        instances, broken = [], {}
        for listed, row in rows:
            try:
                mask = self._mask(sample_id, listed, row, image)
                instances.append(Instance(listed.id, mask, listed.category, listed.seen, count[listed.category]))
            except (OSError, ValueError) as error:
                broken[listed.id] = str(error)
        return Sample(sample_id, image, tuple(instances), broken)

    def _mask(self, sample_id: str, listed: Listed, row: Row, image: Image) -> Mask:
        if row.use > 1:
            raise ValueError("found the file name of an earlier row's mask; wanted one of its own")
        if not listed.category:
            label = self._index.labels[row.label]
            raise ValueError(f"found the LabelName {label!r}, which {self._class_files[1]} lacks")
        path = self._path(self._mask_folders, sample_id, f"{row.instance_id}.png")
        return read_mask(path, image.shape[0], image.shape[1])

    def files(self, sample_id: str) -> Sequence[Path]:
        """The picture and its masks."""
        masks = [
            self._path(self._mask_folders, sample_id, f"{row.instance_id}.png") for _, row in self._rows(sample_id)
        ]
        return [self._path(self._image_folders, sample_id, f"{sample_id}.jpg"), *masks]

    def fingerprint(self) -> Mapping[str, Any]:
        """Counts, the SHA-256 of the tables' entries on the instances, and a digest of the files' sizes."""
        index, kept = self._index, self._kept()
        digest = hashlib.sha256(repr((index.labels, self._categories)).encode())
        for part in (kept, index.image_ids, index.bounds, index.label):
            digest.update(part.tobytes())
        digest.update("\n".join(index.instance_ids.to_pylist()).encode())
        return {
            "samples": len(self.sample_ids()),
            "instances": int(np.count_nonzero(kept)),
            "split": split_of(self._seen),
            "listing_sha256": digest.hexdigest(),
            "pictures": sizes_digest(self._files()),
        }

    def _files(self) -> Iterator[Path]:
        """The pictures and the masks of all samples."""
        for sample_id in self.sample_ids():
            yield from self.files(sample_id)
