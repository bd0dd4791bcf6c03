"""DAVIS-585: 585 objects in DAVIS's frames, each with a rough mask to start from.

Paper: Chen et al., "FocalClick: Towards Practical Interactive Image Segmentation", CVPR 2022,
https://arxiv.org/abs/2204.02574, section 4
Source: the archive to which README of https://github.com/alibaba/ClickSEG at ae9b30a links, read as
isegm/data/datasets/davis585.py there reads it; no licence is stated for it, DAVIS's own terms are on
https://davischallenge.org.

    bear/00009.jpg                       a frame
    bear/object1_00009.png               an object of that frame
    bear/init_stm_object1_00009.png      a mask of it that a video network made
    bear/init_sp_object1_00009.png       a mask of it made of superpixels

Checked on files made in this layout; the archive itself was not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from harness.images.reading import read_rgb
from harness.plugins.interfaces import Dataset
from harness.plugins.registry import register_dataset
from harness.structures import Image, Instance, Listed, Mask, Sample, UserError

from .shared.ids import plain
from .shared.mask_files import read_colours
from .shared.paired_files import another_size, digest, list_files

WHERE = "datasets/davis585.py"
DOWNLOAD = "Fetch it as https://github.com/alibaba/ClickSEG says, or correct `root`."
INITIAL = {"stm": "init_stm_", "sp": "init_sp_"}
"""The parameter `initial` -> the beginning of the names of such masks."""


@register_dataset("davis585")
class Davis585(Dataset):
    """DAVIS-585. A sample is a frame, an instance one of its objects. There are no classes, so prompts have no text.

    The frame's id is "<sequence>/<frame>", the object's "<sequence>/<name of its mask>".

    Args:
        root: The folder with a folder for each sequence.
        initial: The mask from which a prompt starts: "stm", of a video network; "sp", of superpixels; or "none".
    """

    classes = ()

    def __init__(self, root: Path, initial: Literal["none", "stm", "sp"] = "none") -> None:
        self.root, self.initial = root, initial
        if not root.is_dir():
            raise UserError(f"{WHERE}: no folder root={root}. {DOWNLOAD}")

    @cached_property
    def _frames(self) -> Mapping[str, Sequence[Path]]:
        """Frame's id -> the masks of its objects, sorted."""
        found: dict[str, list[Path]] = {}
        for sequence in filter(Path.is_dir, list_files(self.root)):
            for path in list_files(sequence):
                # As in the authors' reader, a mask is any PNG without "init" in its name.
                if path.suffix == ".png" and "init" not in path.name:
                    found.setdefault(f"{sequence.name}/{path.stem.rpartition('_')[2]}", []).append(path)
        if not found:
            raise UserError(f"{WHERE}: no mask in the folders of root={self.root}. {DOWNLOAD}")
        return found

    def sample_ids(self) -> list[str]:
        """The frames, by sequence."""
        return list(self._frames)

    def list_instances(self, sample_id: str) -> list[Listed]:
        """The frame's objects; no file is opened."""
        return [Listed(_id(path)) for path in self._frames[sample_id]]

    def load(self, sample_id: str) -> Sample:
        """A frame and its objects. An object whose files cannot be used is named as broken.

        Raises:
            OSError: The frame is missing or damaged.
        """
        image = read_rgb(self._picture(sample_id))
        instances, broken = [], {}
        for path in self._frames[sample_id]:
            try:
                initial = None if self.initial == "none" else _mask(self._initial(path), image)
                instances.append(Instance(_id(path), _object(path, image), "", initial=initial))
            except (OSError, ValueError) as error:
                broken[_id(path)] = str(error)
        return Sample(sample_id, image, tuple(instances), broken)

    def files(self, sample_id: str) -> Sequence[Path]:
        """The frame, its masks, and those that prompts start from."""
        masks = self._frames[sample_id]
        starts = [] if self.initial == "none" else [self._initial(path) for path in masks]
        return [path for path in (self._picture(sample_id), *masks, *starts) if path.exists()]

    def fingerprint(self) -> Mapping[str, Any]:
        """The number of frames, which masks prompts start from, and a digest of the files."""
        return {"samples": len(self._frames), "initial": self.initial, "sha256": self._digest}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "initial": self.initial}  # Workers list the files themselves.

    @cached_property
    def _digest(self) -> str:
        masks = [path for paths in self._frames.values() for path in paths]
        starts = [] if self.initial == "none" else [self._initial(path) for path in masks]
        return digest(map(self._picture, self._frames), [*masks, *starts])

    def _picture(self, sample_id: str) -> Path:
        return self.root / f"{sample_id}.jpg"

    def _initial(self, mask: Path) -> Path:
        return mask.with_name(INITIAL[self.initial] + mask.name)


def _id(path: Path) -> str:
    return plain(f"{path.parent.name}/{path.stem}")


def _object(path: Path, image: Image) -> Mask:
    mask = _mask(path, image)
    if not mask.any():
        raise ValueError(f"{path}: found no pixel of the object; wanted one at least. Fetch the file again.")
    return mask


def _mask(path: Path, image: Image) -> Mask:
    """The pixels above 128 in the blue channel, which is the first one that the authors' OpenCV reads."""
    mask: Mask = read_colours(path)[:, :, 2] > 128
    if mask.shape != image.shape[:2]:
        raise ValueError(another_size(path, mask, image))
    return mask
