"""Pascal VOC 2012, segmentation: every object of 20 classes, outlined by hand, with a void border.

Paper: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015,
https://doi.org/10.1007/s11263-014-0733-5
Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012 (VOCtrainval_11-May-2012.tar, 2 GB). The pictures are
Flickr's, under its terms of use.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from harness import UserError, register_dataset

from ..shared.index_masks import Indices, read_indices
from .objects import CLASSES, Annotation, VocObjects, ids_in
from .sbd_masks import read_annotation

_VOID = 255
_FOLDERS = ("JPEGImages", "SegmentationObject", "SegmentationClass")
_TRAINAUG = "trainaug"
_OFFICIAL = (1464, 1449, 11355)
"""Images of VOC's train and val and of SBD; by the rule of trainaug they make `_OFFICIAL_TRAINAUG`."""
_OFFICIAL_TRAINAUG = 10582


@register_dataset("voc")
class Voc(VocObjects):
    """Pascal VOC. An object is an index in SegmentationObject; its class has most of its pixels in SegmentationClass.

    Images: train 1,464 (3,507 objects), val 1,449 (3,422, of which 2,801 are of the 15 seen classes), trainval
    2,913, trainaug 10,582. They come in the list's order. An object without one class for more than half of its
    pixels is listed, and `load` names it as broken.

    Args:
        root: VOCdevkit/VOC2012, which holds JPEGImages, SegmentationObject, SegmentationClass and ImageSets.
        split: A list of ImageSets/Segmentation ("train", "val", "trainval"), or "trainaug": VOC's train with VOC's
            masks, then the images of SBD that are not in VOC's train or val, with SBD's masks, which have no void.
        seen: The seen categories: a file of harness/plugins/splits/ without ".txt", or their names; None for no split.
        void: The treatment of void pixels (255): with "ignore" no metric counts them; "background" counts them as
            background, as the code of the text-and-click paper does.
        sbd_root: For trainaug alone: SBD's benchmark_RELEASE/dataset.
    """

    def __init__(
        self,
        root: Path,
        split: str = "val",
        seen: str | Sequence[str] | None = "voc_15",
        void: Literal["ignore", "background"] = "ignore",
        sbd_root: Path | None = None,
    ) -> None:
        super().__init__(seen)
        self.root = root
        self.split = split
        self.void = void
        self.sbd_root = sbd_root
        self._check_layout()

    def sample_ids(self) -> list[str]:
        """The ids in the order of the split's list; trainaug's from SBD come after VOC's."""
        return [*self._own_ids, *self._sbd_ids]

    @cached_property
    def _own_ids(self) -> tuple[str, ...]:
        return ids_in(self._list("train" if self.split == _TRAINAUG else self.split))

    @cached_property
    def _sbd_ids(self) -> dict[str, None]:
        """The images whose masks are SBD's, in the order of SBD's train and val."""
        if self.sbd_root is None or self.split != _TRAINAUG:
            return {}
        val = ids_in(self._list("val"))
        # SBD has a train and a val of its own; the images of both are training images here, except those in VOC's val,
        # on which the model is tested, and those in VOC's train, which come with VOC's own masks. Officially 1464 +
        # 9118 = 10,582 images.
        sbd = dict.fromkeys(ids_in(self.sbd_root / "train.txt") + ids_in(self.sbd_root / "val.txt"))
        added = {image_id: None for image_id in sbd if image_id not in {*self._own_ids, *val}}
        found, total = (len(self._own_ids), len(val), len(sbd)), len(self._own_ids) + len(added)
        if found == _OFFICIAL and total != _OFFICIAL_TRAINAUG:
            raise UserError(
                f"datasets/voc/voc.py: found {total} images in trainaug, made of {self.root} and "
                f"{self.sbd_root}; wanted "
                f"{_OFFICIAL_TRAINAUG}. A list is not the official one: fetch ImageSets and SBD's train.txt, val.txt."
            )
        return added

    def _list(self, split: str) -> Path:
        return self.root / "ImageSets" / "Segmentation" / f"{split}.txt"

    def _picture(self, sample_id: str) -> Path:
        return self.root / "JPEGImages" / f"{sample_id}.jpg"

    def _truth_files(self, sample_id: str) -> tuple[Path, ...]:
        if self.sbd_root is not None and sample_id in self._sbd_ids:
            return (self.sbd_root / "inst" / f"{sample_id}.mat",)
        return tuple(self.root / folder / f"{sample_id}.png" for folder in _FOLDERS[1:])

    def _annotation(self, sample_id: str) -> Annotation:
        files = self._truth_files(sample_id)
        if len(files) == 1:
            return read_annotation(files[0])
        objects, classes = read_indices(files[0]), read_indices(files[1])
        if objects.shape != classes.shape:
            raise ValueError(
                f"{files[1]}: found {classes.shape[0]} x {classes.shape[1]} (h x w); wanted {objects.shape[0]} x "
                f"{objects.shape[1]}, as {files[0]}. Fetch both again."
            )
        categories, broken = _classes_of_objects(objects, classes)
        void = objects == _VOID
        return Annotation(objects, categories, broken, void if self.void == "ignore" and void.any() else None)

    def _check_layout(self) -> None:
        for folder in _FOLDERS:
            if not (self.root / folder).is_dir():
                raise UserError(f"datasets/voc/voc.py: no folder {self.root / folder}. {_advice(self.root)}")
        if self.split == _TRAINAUG and self.sbd_root is None:
            raise UserError(
                "datasets/voc/voc.py: split 'trainaug' without `sbd_root`; wanted SBD's benchmark_RELEASE/dataset, "
                "whose masks it adds. Set sbd_root, or take the split 'train'."
            )
        for path in self._lists():
            if not path.is_file():
                there = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt")))
                raise UserError(f"datasets/voc/voc.py: no file {path}; there are the lists: {there or 'none'}.")
        inst = self.sbd_root / "inst" if self.sbd_root and self.split == _TRAINAUG else None
        if inst is not None and not inst.is_dir():
            raise UserError(f"datasets/voc/voc.py: no folder {inst}; wanted SBD's .mat files in it. Correct sbd_root.")

    def _lists(self) -> tuple[Path, ...]:
        if self.sbd_root is None or self.split != _TRAINAUG:
            return (self._list(self.split),)
        return self._list("train"), self._list("val"), self.sbd_root / "train.txt", self.sbd_root / "val.txt"


def _classes_of_objects(objects: Indices, classes: Indices) -> tuple[dict[int, str], dict[int, str]]:
    """Object -> its class, and object -> why it has none."""
    # How many pixels of each object have each class, in one pass: the pair (object 3, class 12) is the number 3 * 256 +
    # 12 = 780, `bincount` counts all numbers, and as a table of 256 x 256 they have a row an object and a column a
    # class.
    pairs = objects.astype(np.int32) * 256 + classes
    counts = np.bincount(pairs.ravel(), minlength=256 * 256).reshape(256, 256)
    categories, broken = {}, {}
    for number in map(int, np.flatnonzero(counts.any(axis=1))):
        if number in (0, _VOID):
            continue
        # Usually all pixels of an object have one class, since both pictures share their outlines. More than half is
        # enough, so that some pixels that differ along an outline do not cost the object.
        most = int(counts[number].argmax())
        if 2 * counts[number, most] > counts[number].sum() and 1 <= most <= len(CLASSES):
            categories[number] = CLASSES[most - 1]
        else:
            there = ", ".join(f"{value} on {counts[number, value]}" for value in np.flatnonzero(counts[number]))
            broken[number] = (
                f"found in SegmentationClass under its {counts[number].sum()} pixels: {there}; "
                "wanted one of the classes 1 to 20 on more than half"
            )
    return categories, broken


def _advice(root: Path) -> str:
    inner = next((path for path in (root / "VOC2012", root / "VOCdevkit" / "VOC2012") if path.is_dir()), None)
    if inner is not None:
        return f"Did you mean root={inner}?"
    return (
        "Download VOCtrainval_11-May-2012.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2012, unpack it and set "
        "`root` to its VOCdevkit/VOC2012; a root under data/ counts from HARNESS_DATA where that is set."
    )
