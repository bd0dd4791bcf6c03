"""A data set in a folder of your own: images/, masks/ and, for words, texts.csv. The layout: docs/datasets.md."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from harness.images.reading import read_rgb
from harness.plugins.interfaces import Dataset
from harness.plugins.registry import register_dataset
from harness.structures import Image, Instance, Listed, Mask, Sample, UserError

from ..shared.ids import plain
from ..shared.index_cache import cached
from ..shared.index_masks import read_indices
from ..shared.mask_files import MASKS
from ..shared.paired_files import IMAGES, another_size, by_stem, check_folders, digest, list_files
from .masks import checked, equal, read_binary
from .texts import Words, did_you_mean, named, read_texts

_LAYOUT = "docs/datasets.md shows the layout."


@register_dataset("folder")
class Folder(Dataset):
    """Your own images: `images/<image>.*` with `masks/<image>.png`, or with one file an instance in `masks/<image>/`.

    `initial/`, with the layout of `masks/`, may have masks to start from, for some or all instances
    (`Instance.initial`).

    A sample's id is the image's name without suffix. An instance's id is the sample's, or "<sample>/<file>" or
    "<sample>/<value>". Both come in order. Masks and pixels are in the file's stored orientation.

    Args:
        root: The folder.
        masks: "binary": a mask file is one instance, its pixels other than 0 (black). "index": a file has several
            instances, one for each value other than 0.
        ignore: Pixels of this value, 1 to 255, count in no metric, for no instance of the image; with None all count.
    """

    def __init__(self, root: Path, masks: Literal["binary", "index"] = "binary", ignore: int | None = None) -> None:
        self.root, self.masks, self.ignore = root, masks, ignore
        check_folders("folder/folder", root, ("images", "masks"), _LAYOUT)
        _check_names(root)
        if ignore is not None and not 0 < ignore < 256:
            raise UserError(
                f"datasets/folder/folder.py: found ignore={ignore}; wanted a mask's value, 1 to 255, or none."
            )
        if masks == "index" and (root / "initial").exists():
            raise UserError(
                f"datasets/folder/folder.py: found {root / 'initial'} and masks='index'; wanted one mask file per "
                "instance, masks='binary', if instances start from masks. Split the index masks, or remove "
                f"`initial`. {_LAYOUT}"
            )

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # nothing is read before it is asked for
        """The categories in texts.csv, in the order of their first rows."""
        rows = (words for texts in self._texts.values() for words in texts.values())
        return tuple(dict.fromkeys(words.category for words in rows if words.category))

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        images = by_stem("folder/folder", list_files(self.root / "images"), IMAGES)
        if not images:
            raise UserError(f"datasets/folder/folder.py: no image in {self.root / 'images'}. {_LAYOUT}")
        return images

    @cached_property
    def _masks(self) -> Mapping[str, Mapping[str, Path]]:
        """Image -> name -> file; the name is "" for the file `masks/<image>.png`."""
        masks = self._read_layout("masks")
        self._check_pairs(masks)
        return {stem: masks[stem] for stem in self._images}

    @cached_property
    def _initial(self) -> Mapping[str, Mapping[str, Path]]:
        """Image -> name -> file, of `initial/`; empty without that folder."""
        found = self._read_layout("initial") if (self.root / "initial").exists() else {}
        for stem, files in found.items():
            for name in files.keys() - self._masks.get(stem, {}).keys():
                raise UserError(
                    f"datasets/folder/folder.py: found {files[name]} and no mask of that name in masks/. Rename or "
                    f"remove it. {_LAYOUT}"
                )
        return found

    def _read_layout(self, folder_name: str) -> dict[str, Mapping[str, Path]]:
        """Image -> name -> file, of a folder of masks."""
        paths = list_files(self.root / folder_name)
        suffixes = MASKS if self.masks == "binary" else (".png",)
        files = by_stem("folder/folder", [path for path in paths if not path.is_dir()], suffixes)
        masks: dict[str, Mapping[str, Path]] = {stem: {"": path} for stem, path in files.items()}
        for folder in (path for path in paths if path.is_dir()):
            name = unicodedata.normalize("NFC", folder.name)
            if name in files or self.masks == "index":
                wanted = "either" if name in files else "one file per image, since masks is 'index'"
                raise UserError(
                    f"datasets/folder/folder.py: found {folder} and {folder_name}/{name}.*; wanted {wanted}."
                )
            masks[name] = by_stem("folder/folder", list_files(folder), suffixes)
        return masks

    @cached_property
    def _values(self) -> Mapping[str, Sequence[int]]:
        """Image -> the instances' values in its index mask; empty if it cannot be read."""
        paths = [files[""] for files in self._masks.values()]
        table = cached("folder index 1", paths, lambda: _listed_values(paths))
        held = zip(self._masks, table["values"].to_pylist(), strict=True)
        return {stem: [value for value in values if value not in (0, self.ignore)] for stem, values in held}

    @cached_property
    def _texts(self) -> Mapping[str, Mapping[str, Words]]:
        """Image -> instance -> its words in texts.csv."""
        # A row may name an image with or without its suffix: "cat" and "cat.jpg" are both keys, and both lead to "cat".
        stems = {stem: stem for stem in self._images}
        stems |= {stem + path.suffix: stem for stem, path in self._images.items()}
        texts = read_texts(self.root / "texts.csv", stems)
        # If an index mask cannot be read, its instances are unknown, and rows about them cannot be checked. Loading the
        # sample reports the mask.
        return {stem: named(texts[stem], keys, stem) for stem in texts if (keys := self._keys(stem))}

    def sample_ids(self) -> list[str]:
        """The images' names, sorted.

        Raises:
            UserError: Images and masks do not pair, or texts.csv names an image or instance that is not there.
        """
        self._texts, self._initial  # noqa: B018 - a mistake there ends the run before it starts
        return list(self._masks)

    def list_instances(self, sample_id: str) -> list[Listed]:
        """The image's instances; an index mask that cannot be read, or has no instance, is listed as one."""
        return [listed for _, listed in self._listed(sample_id)]

    def load(self, sample_id: str) -> Sample:
        """One image and its instances.

        Raises:
            OSError: The image, or its index mask, is missing or damaged.
            ValueError: It is not clear how the masks are drawn, the index mask is not valid, or a mask cannot be read
                whose ignored pixels would also matter for the other instances.
        """
        image = read_rgb(self._images[sample_id])
        read = self._reader(sample_id, image)
        listed = self._listed(sample_id)
        same = Counter(one.category for _, one in listed)
        instances, broken = [], {}
        ignore = np.zeros(image.shape[:2], bool)
        for key, one in listed:
            try:
                mask, ignored = read(key)
                start = self._start(sample_id, key, image)
            except (OSError, ValueError) as error:
                broken[one.id] = str(error)
                continue
            ignore |= ignored
            instances.append(Instance(one.id, mask, one.category, one.seen, same[one.category], one.text, start))
        # Ignored pixels count for no instance of the image, and every mask file may have some. If one file cannot be
        # read, those of the whole image are unknown, and the scores of the other instances would be wrong without a
        # sign.
        if broken and instances and self.ignore is not None:
            raise ValueError(f"{next(iter(broken.values()))} Which pixels it ignores is not known.")
        return Sample(sample_id, image, tuple(instances), broken, ignore if ignore.any() else None)

    def image_key(self, sample_id: str) -> str:
        """The folder and the name, since it is unknown whether it is a published picture."""
        return f"folder/{self.root.as_posix()}/{sample_id}"

    def files(self, sample_id: str) -> Sequence[Path]:
        """The image and its masks."""
        starts = self._initial.get(sample_id, {}).values()
        return [self._images[sample_id], *self._masks[sample_id].values(), *starts]

    def fingerprint(self) -> Mapping[str, Any]:
        """The number of samples and a digest of the files."""
        return {"samples": len(self.sample_ids()), "sha256": self._digest}

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("root", "masks", "ignore")}  # without the listings

    @cached_property
    def _digest(self) -> str:
        texts = [path] if (path := self.root / "texts.csv").exists() else []
        masks = [path for files in self._masks.values() for path in files.values()]
        starts = [path for files in self._initial.values() for path in files.values()]
        return digest(self._images.values(), masks + starts + texts)

    def _check_pairs(self, masks: Mapping[str, Mapping[str, Path]]) -> None:
        for name in sorted(masks.keys() - self._images.keys()):
            raise UserError(
                f"datasets/folder/folder.py: found {self.root / 'masks' / name} and no image of that name in images/. "
                f"Rename the mask or add the image.{did_you_mean(name, self._images)}"
            )
        without = [stem for stem in self._images if not masks.get(stem)]
        if without:
            raise UserError(
                f"datasets/folder/folder.py: found no mask of {len(without)} of {len(self._images)} images, the first "
                f"{self._images[without[0]]}; wanted {self.root / 'masks' / without[0]}.png, or a folder of that "
                f"name with one file an instance. Add them or move the images elsewhere.{_more(without)}"
            )

    def _keys(self, sample_id: str) -> list[str]:
        """The keys of the image's instances: names of files, or values."""
        return [*map(str, self._values[sample_id])] if self.masks == "index" else [*self._masks[sample_id]]

    def _listed(self, sample_id: str) -> list[tuple[str, Listed]]:
        texts = self._texts.get(sample_id, {})
        # An index mask without any value has no key; "" then stands for the whole image, so that it is listed and its
        # fault shows.
        said = ((key, texts.get(key, Words())) for key in self._keys(sample_id) or [""])
        return [(key, Listed(_id(sample_id, key), words.category, words.seen, words.text)) for key, words in said]

    def _start(self, sample_id: str, key: str, image: Image) -> Mask | None:
        """The mask that an instance starts from, if there is one."""
        path = self._initial.get(sample_id, {}).get(key)
        return _fitting(path, image, *read_binary(path, None))[0] if path else None

    def _reader(self, sample_id: str, image: Image) -> Callable[[str], tuple[Mask, Mask]]:
        """A function from an instance's key to its mask and the ignored pixels."""
        paths = self._masks[sample_id]
        if self.masks == "binary":
            return lambda key: _fitting(paths[key], image, *read_binary(paths[key], self.ignore))
        # An index mask is decoded once, and the function below picks an instance out of it by its value.
        values = read_indices(paths[""])
        ignored = equal(values, self.ignore)
        _fitting(paths[""], image, checked(paths[""], (values != 0) & ~ignored), ignored)
        return lambda key: (checked(paths[""], values == int(key)), ignored)


def _check_names(root: Path) -> None:
    """Refuse `Texts.csv`, `texts.csv.txt` or `Initial/`: under another name it would be passed over without a word."""
    called = {"texts.csv": ("text", "texts"), "initial": ("initial", "initials")}
    for path in list_files(root):
        for name, similar in called.items():
            if path.name.lower().partition(".")[0] in similar and not (root / name).exists():
                raise UserError(
                    f"datasets/folder/folder.py: found {path} and no {name}; wanted {name}, letter by letter. Rename "
                    f"it, or move it elsewhere. {_LAYOUT}"
                )


def _fitting(path: Path, image: Image, mask: Mask, ignored: Mask) -> tuple[Mask, Mask]:
    if mask.shape != image.shape[:2]:
        raise ValueError(another_size(path, mask, image))
    return mask, ignored


def _id(sample_id: str, key: str) -> str:
    """An instance's id."""
    return plain(f"{sample_id}/{key}" if key else sample_id)


def _listed_values(paths: Sequence[Path]) -> pa.Table:
    """The values in each mask; an empty list for one that cannot be read."""
    with ThreadPoolExecutor() as pool:
        return pa.table({"values": pa.array(list(pool.map(_values_in, paths)), pa.list_(pa.uint8()))})


def _values_in(path: Path) -> list[int]:
    try:
        values = read_indices(path)
    except (OSError, ValueError):
        return []
    # A flag for each of the 256 possible values, set through the pixels themselves: one pass, without sorting them.
    is_there = np.zeros(256, bool)
    is_there[values] = True
    return np.flatnonzero(is_there).tolist()


def _more(names: Sequence[str]) -> str:
    return f" Without a mask: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}."
