"""refCOCO, refCOCO+ and refCOCOg: objects of COCO's train2014 images, each with what people call it.

Papers: Yu et al., "Modeling Context in Referring Expressions", ECCV 2016, https://arxiv.org/abs/1608.00272 (refCOCO,
refCOCO+); Mao et al., "Generation and Comprehension of Unambiguous Object Descriptions", CVPR 2016,
https://arxiv.org/abs/1511.02283 (refCOCOg; umd's split of it: Nagaraja et al., ECCV 2016).
Source: https://github.com/lichengunc/refer at e3bbaa3. Masks and categories are COCO's, CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness import Dataset, Instance, Sample, UserError, register_dataset
from harness.images.reading import read_rgb_of, sizes_digest
from harness.masks.segmentations import decode
from harness.places import sha256
from harness.plugins.class_splits import marked, seen_names, split_of
from harness.structures import Image, Listed, Mask

from ..coco.listing import Listing, Rows, parsed, version_of
from .listing import LAYOUT, Ref, check_layout, check_split, refs_by_image


@register_dataset("refcoco")
class RefCoco(Dataset):
    """refCOCO, refCOCO+ and refCOCOg. An instance is one object, or each of the sentences that people wrote about it.

    A sample is an image with its refs of the split; its id is COCO's, without leading zeros. The mask comes from the
    ref's annotation, with all its polygons. A ref is listed, and `load` names it as broken, if no annotation of its
    image and category fits it, or if it has no sentence where one is needed. The same holds for the second of two refs,
    or of two sentences of a ref, with one id, which is listed as "<id>#2".

    Sentences are given as they were typed (`raw`), as LAVT reads them; REFER's `sent` is a cleaned copy.

    Args:
        root: REFER's data folder.
        dataset: "refcoco", "refcoco+" or "refcocog".
        split_by: The authors of the split: "unc", "google" or "umd".
        split: "train", "val", "testA", "testB" or "test".
        text: "class_name": an instance for each ref, without words of its own, as in the paper. "phrase": an instance
            for each ref, with its first sentence. "all_phrases": an instance for each sentence,
            "<ref id>~<sentence id>", as in LAVT's evaluation. A ref has the same clicks in all three.
        seen: The seen categories: a file of harness/plugins/splits/ without ".txt", or their names; None for no split.
    """

    def __init__(
        self,
        root: Path,
        dataset: Literal["refcoco", "refcoco+", "refcocog"] = "refcoco",
        split_by: Literal["unc", "google", "umd"] = "unc",
        split: Literal["train", "val", "testA", "testB", "test"] = "val",
        text: Literal["class_name", "phrase", "all_phrases"] = "class_name",
        seen: str | Sequence[str] | None = "coco_20",
    ) -> None:
        check_split(dataset, split_by, split)
        self.split, self.text = split, text
        self.json_path = root / dataset / "instances.json"
        self.refs_path = root / dataset / f"refs({split_by}).p"
        self.image_folder = root / "images" / "mscoco" / "images" / "train2014"
        self._seen_names = None if seen is None else seen_names(seen)
        check_layout(self.json_path, self.refs_path, self.image_folder)
        self._json_version = version_of(self.json_path.stat())
        self._refs_version = version_of(self.refs_path.stat())

    @property
    def _listing(self) -> Listing:
        try:
            return parsed(self.json_path, self._json_version)
        except UserError as error:
            raise UserError(
                f"datasets/refcoco/refcoco.py: {self.json_path} is no whole COCO instances file: "
                f"{error.__cause__}. {LAYOUT}"
            ) from error

    @property
    def _refs(self) -> Mapping[str, Sequence[Ref]]:
        return refs_by_image(self.refs_path, self._refs_version, self.split)

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # nothing is read before it is asked for
        """COCO's category names in the order of their ids."""
        return tuple(dict.fromkeys(self._listing.categories.values()))

    @cached_property
    def _seen(self) -> Mapping[str, bool]:
        """Category -> whether it is seen; empty without a split."""
        return marked(self._seen_names, self.classes, f"datasets/refcoco/refcoco.py, {self.json_path}")

    def sample_ids(self) -> list[str]:
        """The ids of the images with a ref of the split, in order."""
        return list(self._refs)

    def image_key(self, sample_id: str) -> str:
        """COCO's picture of that id, which has one name in its releases of 2014 and 2017."""
        return f"coco/{sample_id}"

    def list_instances(self, sample_id: str) -> list[Listed]:
        """The image's refs, or their sentences, in the file's order."""
        return [listed for ref in self._refs[sample_id] for listed, _ in self._rows(ref)]

    def load(self, sample_id: str) -> Sample:
        """One image and its refs.

        Raises:
            OSError: The picture is missing or damaged.
            ValueError: instances.json does not describe the picture, or its size is another one.
        """
        image = self._image(sample_id)
        annotations = self._annotations(sample_id)
        instances: list[Instance] = []
        broken: dict[str, str] = {}
        # The mask is decoded once a ref; its sentences are instances that share it. If it cannot be read, all of them
        # are broken.
        for ref in self._refs[sample_id]:
            try:
                mask, same = self._object(ref, annotations, image)
            except ValueError as error:
                broken |= {listed.id: str(error) for listed, _ in self._rows(ref)}
                continue
            for row, problem in self._rows(ref):
                if problem:
                    broken[row.id] = problem
                else:
                    instances.append(Instance(row.id, mask, row.category, row.seen, same, row.text))
        return Sample(sample_id, image, tuple(instances), broken)

    def files(self, sample_id: str) -> Sequence[Path]:
        """The picture; `load` itself checks the JSON, and the refs are read once."""
        picture = self._listing.pictures.get(sample_id)
        return [self.image_folder / picture.file_name] if picture else []

    def fingerprint(self) -> Mapping[str, Any]:
        """Counts, the sha256 of both files, and a digest of the pictures' sizes."""
        return {
            "samples": len(self.sample_ids()),
            "split": split_of(self._seen),
            "instances": sum(len(self.list_instances(sample_id)) for sample_id in self.sample_ids()),
            "json_sha256": sha256(self.json_path),
            "refs_sha256": sha256(self.refs_path),
            "pictures": sizes_digest(path for one in self.sample_ids() for path in self.files(one)),
        }

    def _rows(self, ref: Ref) -> Iterator[tuple[Listed, str]]:
        """A ref's instances, each with the problem of its sentence, or ""."""
        category = self._listing.categories.get(ref.category_id, "")
        seen = self._seen.get(category)
        if self.text == "class_name":
            yield Listed(ref.id, category, seen), ""
        elif not ref.sentences:
            yield Listed(ref.id, category, seen), "found a ref without a sentence; wanted one at least"
        elif self.text == "phrase":
            first = ref.sentences[0]
            yield Listed(ref.id, category, seen, first.text), first.problem
        else:
            # The part before "~" is the object's id (`Instance.object_id`): clicks are drawn by it, so that all
            # sentences about one object get the same clicks, and tables can average over an object's sentences.
            for sentence in ref.sentences:
                yield Listed(f"{ref.id}~{sentence.id}", category, seen, sentence.text), sentence.problem

    def _annotations(self, sample_id: str) -> Rows:
        try:
            return self._listing.of_image(sample_id)
        except KeyError:
            return self._listing.rows[:0]

    def _object(self, ref: Ref, annotations: Rows, image: Image) -> tuple[Mask, int]:
        """The mask of the ref's object, and how many objects of its category the image has."""
        row = self._annotation(ref, annotations)
        ((_, annotation),) = self._listing.annotations(row)
        mask = decode(annotation.get("segmentation"), image.shape[0], image.shape[1])
        categories = self._listing.categories  # A class is a name; several ids may have it.
        same = [number for number, name in categories.items() if name == categories[ref.category_id]]
        return mask, int(np.count_nonzero(np.isin(annotations["category_id"], same) & ~annotations["crowd"]))

    def _annotation(self, ref: Ref, annotations: Rows) -> Rows:
        """The one row of the ref's annotation."""
        if ref.problem:
            raise ValueError(ref.problem)
        # A listing names the second annotation with an id "<id>#2". If both are in the ref's image, it is unclear which
        # one is meant. So the part before "#" is compared, and two hits are refused.
        names = np.array([name.partition(b"#")[0] for name in annotations["id"]], dtype=object)
        own = annotations[names == str(ref.ann_id).encode()] if len(names) else annotations
        if len(own) != 1:
            raise ValueError(
                f"found {len(own)} annotations {ref.ann_id} of the ref's image in {self.json_path}; wanted one"
            )
        if own["crowd"][0]:
            raise ValueError(f"found a crowd region, annotation {ref.ann_id}; wanted one object")
        if own["category_id"][0] != ref.category_id or ref.category_id not in self._listing.categories:
            raise ValueError(
                f"found category_id {ref.category_id} in the ref and {own['category_id'][0]} in its annotation "
                f"{ref.ann_id}; wanted one that `categories` names"
            )
        return own

    def _image(self, sample_id: str) -> Image:
        picture = self._listing.pictures.get(sample_id)
        if picture is None:
            raise ValueError(
                f"{self.refs_path}: found refs of image {sample_id}, of which {self.json_path} says nothing; wanted "
                "it among `images`. Take both files from one download."
            )
        path = self.image_folder / picture.file_name
        return read_rgb_of(path, (picture.height, picture.width), self.json_path)
