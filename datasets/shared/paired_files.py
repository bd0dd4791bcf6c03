"""Reads images and masks from two folders, paired by name: a base for data sets with one object an image."""

from __future__ import annotations

import hashlib
import unicodedata
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from harness.images.reading import read_rgb
from harness.plugins.interfaces import Dataset
from harness.structures import Image, Instance, Listed, Mask, Sample, UserError

from .ids import plain
from .mask_files import MASKS

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Suffixes of images, in small letters."""

_LITTER = ("thumbs.db", "desktop.ini")
"""Files that Windows leaves in folders. The ones that macOS leaves begin with a dot."""


class PairedFiles(Dataset):
    """A data set with one object an image and no classes: the category is empty, so a prompt has no text.

    The id of a sample and of its instance is the file's name without suffix. An image without a mask and a mask without
    an image are listed too; loading them fails.

    Args:
        root: The folder that holds the two folders.
    """

    image_folder: ClassVar[str]
    mask_folder: ClassVar[str]
    download: ClassVar[str]
    classes = ()

    def __init__(self, root: Path) -> None:
        self.root = root
        check_folders(self.name, root, (self.image_folder, self.mask_folder), self.download)

    @abstractmethod
    def read_mask(self, path: Path) -> tuple[Mask, Mask | None]:
        """The object's pixels, and the pixels that no metric counts, from the mask file.

        Raises:
            OSError: The file is missing or damaged.
            ValueError: It is not clear which its pixels are.
        """

    @cached_property
    def _images(self) -> Mapping[str, Path]:
        return by_stem(self.name, list_files(self.root / self.image_folder), IMAGES)

    @cached_property
    def _masks(self) -> Mapping[str, Path]:
        return by_stem(self.name, list_files(self.root / self.mask_folder), MASKS)

    def sample_ids(self) -> list[str]:
        """The names, sorted."""
        ids = sorted({*self._images, *self._masks})
        if not ids:
            raise UserError(f"datasets/{self.name}.py: no image in {self.root / self.image_folder}. {self.download}")
        return ids

    def list_instances(self, sample_id: str) -> list[Listed]:
        """The one object; no file is opened."""
        return [Listed(plain(sample_id))]

    def load(self, sample_id: str) -> Sample:
        """An image and its object.

        Raises:
            OSError: The image or the mask is missing or damaged.
            ValueError: They differ in size, or the mask has no pixel of the object or could be meant in two ways.
        """
        image = read_rgb(self._path(self._images, self.image_folder, sample_id))
        path = self._path(self._masks, self.mask_folder, sample_id)
        mask, ignore = self.read_mask(path)
        if mask.shape != image.shape[:2]:
            raise ValueError(another_size(path, mask, image))
        if not mask.any():
            raise ValueError(f"{path}: found no pixel of the object; wanted one at least. Fetch the file again.")
        return Sample(sample_id, image, (Instance(plain(sample_id), mask, ""),), ignore=ignore)

    def files(self, sample_id: str) -> Sequence[Path]:
        """The image and the mask, as far as they were listed."""
        return [paths[sample_id] for paths in (self._images, self._masks) if sample_id in paths]

    def fingerprint(self) -> Mapping[str, Any]:
        """The number of samples and a digest of the files."""
        return {"samples": len(self.sample_ids()), "sha256": self._digest}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}  # Workers list the files themselves.

    @cached_property
    def _digest(self) -> str:
        return digest(self._images.values(), self._masks.values())

    def _path(self, paths: Mapping[str, Path], folder: str, sample_id: str) -> Path:
        if sample_id not in paths:
            raise FileNotFoundError(f"{self.root / folder}: no file {sample_id}.*; wanted one. {self.download}")
        return paths[sample_id]


def check_folders(dataset: str, root: Path, folders: Sequence[str], advice: str) -> None:
    """Refuse a root in which one of the folders is missing.

    Raises:
        UserError: A folder is missing; the message ends with the advice.
    """
    for folder in folders:
        if not (root / folder).is_dir():
            raise UserError(
                f"datasets/{dataset}.py: no folder {root / folder}; wanted {' and '.join(folders)} in root={root}. "
                f"{advice} A root under data/ counts from HARNESS_DATA where that is set."
            )


def list_files(folder: Path) -> list[Path]:
    """The files of a folder, sorted, without those that operating systems leave there."""
    kept = (path for path in folder.iterdir() if path.name[0] != "." and path.name.lower() not in _LITTER)
    return sorted(kept, key=lambda path: path.name)


def by_stem(dataset: str, paths: Iterable[Path], suffixes: Sequence[str]) -> dict[str, Path]:
    """Name without suffix -> file.

    Names are in Unicode's composed form: macOS stores "é" as "e" and an accent, other systems as one character, and
    both must pair.

    Raises:
        UserError: A file has another suffix or a name that is not UTF-8, or two files share a name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        where = f"datasets/{dataset}.py: found {str(path)!r}"
        if path.suffix.lower() not in suffixes or path.is_dir():
            raise UserError(
                f"{where}; wanted only files {', '.join(suffixes)} in {path.parent}. Convert it or move it elsewhere."
            )
        stem = unicodedata.normalize("NFC", path.stem)
        if stem.encode(errors="replace").decode() != stem:
            raise UserError(f"{where}; wanted a name in UTF-8. Rename it.")
        if found.setdefault(stem, path) is not path:
            raise UserError(
                f"{where} and {found[stem].name!r}; wanted one file per name, whatever its suffix. Rename one of them."
            )
    return found


def another_size(path: Path, mask: Mask, image: Image) -> str:
    """The message for a mask whose (h, w) differs from its image's."""
    (h, w), (height, width) = mask.shape, image.shape[:2]
    return f"{path}: found {h} x {w} (h x w); wanted {height} x {width}, the image's without EXIF rotation."


def digest(images: Iterable[Path], masks: Iterable[Path]) -> str:
    """SHA-256 of the files' names, the images' sizes in bytes and the masks' content; an unreadable mask is empty."""
    hashed = hashlib.sha256()
    for path in images:
        hashed.update(f"{path.name}\0{path.stat().st_size if path.exists() else 0}\0".encode())
    # Masks are small and decide the scores, so their content is hashed; of the large images only the sizes are. Each
    # content has its length before it: otherwise moving bytes from the end of one file to the start of the next would
    # not change the hash.
    for path in masks:
        content = _content(path)
        hashed.update(f"{path.parent.name}\0{path.name}\0{len(content)}\0".encode() + content)
    return hashed.hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # Loading the sample reports the reason.
        return b""
