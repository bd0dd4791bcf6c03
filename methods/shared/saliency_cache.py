"""Keeps a saliency's features of training images in memory and on disk, so that each image is computed once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from harness import atomic
from harness.plugins.interfaces import Saliency, checked_maps
from harness.structures import Image, UserError

from ..saliency.maskclip import DenseImage, MaskClip
from .clip_maps import aside

KEPT_IMAGES = 2048
"""How many images' features are kept in memory, enough for all images of the embedded benchmark."""

RECOUNTED_EVERY = 256
"""How many files a process adds before it counts again the files of all processes."""


def remembered(saliency: Saliency, folder: Path | None, limit_gib: float) -> Remembered:
    """A saliency whose features stay in memory and, with a folder, on disk."""
    return Remembered(saliency if folder is None else KeptMaskClip(saliency, folder, limit_gib))


class Remembered(Saliency):
    """Keeps a saliency's features of images in memory. Images are recognised by their pixels, since ids may repeat.

    Several threads may call it. Two threads that need the same new image at once may both compute it.

    Args:
        saliency: The saliency.
        limit: How many images are kept; beyond it the one that came first is dropped.

    Attributes:
        device: The device on which the saliency computes them.
    """

    def __init__(self, saliency: Saliency, limit: int = KEPT_IMAGES) -> None:
        self.saliency, self.limit = saliency, limit
        self.device = torch.device(getattr(saliency, "device", "cpu"))
        self.kept: dict[str, Any] = {}
        self.ready: dict[tuple[str, str, tuple[str, ...]], Float32[np.ndarray, "h w"]] = {}
        self.lock = threading.Lock()

    def prepare(self, images: Sequence[Image], texts: Sequence[str], vocabularies: Sequence[tuple[str, ...]]) -> None:
        """Compute together the maps that `map_of` will return next. They are kept until others are prepared.

        Raises:
            UserError: The saliency returned something other than such maps.
        """
        # An image may occur twice in a step with two texts: maps are found by image, text and vocabulary.
        asked = [pixels_hash(image) for image in images]
        answered = self.maps_of_each(self._features(asked, images), texts, vocabularies)
        maps = [self._checked(np.asarray(one)[None], image) for one, image in zip(answered, images, strict=True)]
        self.ready = dict(zip(zip(asked, texts, vocabularies, strict=True), maps, strict=True))

    def map_of(self, image: Image, text: str, vocabulary: Sequence[str]) -> Float32[np.ndarray, "h w"]:
        """The map of a text, prepared or computed now.

        Raises:
            UserError: The saliency returned something other than such a map.
        """
        asked = pixels_hash(image)
        found = self.ready.get((asked, text, tuple(vocabulary)))
        if found is not None:
            return found
        return self._checked(self.maps(self._features([asked], [image])[0], [text], vocabulary), image)

    def _checked(self, maps: Any, image: Image) -> Float32[np.ndarray, "h w"]:
        """The one map of an image, checked."""
        try:
            return checked_maps(self.saliency, maps, 1, (image.shape[0], image.shape[1]))[0]
        except ValueError as error:
            raise UserError(f"training: {error} Mend that plugin.") from error

    def features(self, images: Sequence[Image]) -> list[Any]:
        """The features of the images; those that are not kept are computed in one call."""
        return self._features([pixels_hash(image) for image in images], images)

    def _features(self, asked: Sequence[str], images: Sequence[Image]) -> list[Any]:
        with self.lock:
            found = {key: self.kept[key] for key in asked if key in self.kept}
        new = {key: image for key, image in zip(asked, images, strict=True) if key not in found}
        if new:
            # Outside of the lock, since computing takes long: other threads can use the kept features in the meantime.
            computed = dict(zip(new, self.saliency.features(list(new.values())), strict=True))
            self._keep(computed)
            found |= computed
        return [found[key] for key in asked]

    def maps(self, features: Any, texts: Sequence[str], vocabulary: Sequence[str]) -> Float32[np.ndarray, "n h w"]:
        """The maps that the saliency makes."""
        return self.saliency.maps(features, texts, vocabulary)

    def maps_of_each(
        self, features: Sequence[Any], texts: Sequence[str], vocabularies: Sequence[Sequence[str]]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """The maps that the saliency makes."""
        return self.saliency.maps_of_each(features, texts, vocabularies)

    def _keep(self, computed: Mapping[str, Any]) -> None:
        with self.lock:
            self.kept |= computed
            # A dict keeps the order of insertion, so its first key is the one kept longest.
            while len(self.kept) > self.limit:
                del self.kept[next(iter(self.kept))]


class KeptMaskClip(Saliency):
    """Keeps MaskCLIP's features of images in a folder, as float16.

    A file's name has a hash of the image's pixels. Its folder's name has a hash of the image tower's weights and of
    everything else that decides the features. So another model never reads them. Texts and temperatures do not matter:
    they are applied to the features later.

    Once the files take `limit_gib`, the features of further images are computed each time they are needed. No file is
    removed: training visits images at random, so an old file is as likely to be needed as a new one. Several processes
    may share the folder; each may exceed the limit by up to `RECOUNTED_EVERY` files.

    Args:
        saliency: MaskCLIP.
        folder: The folder of the files; it is made if it does not exist.
        limit_gib: The most that the files of this model may take, in GiB.
    """

    def __init__(self, saliency: Saliency, folder: Path, limit_gib: float = 100.0) -> None:
        if not isinstance(saliency, MaskClip):
            raise UserError(
                f"methods/shared/saliency_cache.py: found saliency {type(saliency).__name__}; wanted maskclip, the "
                "only one whose features can be kept. Leave out `features_folder`."
            )
        self.saliency, self.device = saliency, saliency.device
        self.folder = folder / model_hash(saliency)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.limit = limit_gib * 2**30
        self.bytes = self.added = 0
        self.lock = threading.Lock()

    def features(self, images: Sequence[Image]) -> list[DenseImage]:
        """MaskCLIP's features, rounded to float16; those that are not in the folder are computed in one call."""
        paths = [self._path(image) for image in images]
        found = [_read(path) for path in paths]
        new = [number for number, dense in enumerate(found) if dense is None]
        computed = self.saliency.features([images[number] for number in new]) if new else []
        for number, one in zip(new, computed, strict=True):
            # Unit vectors of 512 or 1024 numbers: float16 keeps three digits of each, and takes half of the disk. The
            # rounded ones are used in this first pass as well, so that an image's map does not depend on whether it was
            # kept before.
            dense = one.dense.cpu().numpy().astype(np.float16, order="C")
            self._keep(paths[number], dense)
            found[number] = dense
        with aside(self.saliency.stream):
            return [self._dense(dense, image) for dense, image in zip(found, images, strict=True)]

    def maps(self, features: Any, texts: Sequence[str], vocabulary: Sequence[str]) -> Float32[np.ndarray, "n h w"]:
        """The maps that MaskCLIP makes."""
        return self.saliency.maps(features, texts, vocabulary)

    def maps_of_each(
        self, features: Sequence[Any], texts: Sequence[str], vocabularies: Sequence[Sequence[str]]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """The maps that MaskCLIP makes."""
        return self.saliency.maps_of_each(features, texts, vocabularies)

    def _path(self, image: Image) -> Path:
        name = pixels_hash(image)
        return self.folder / name[:2] / f"{name}.npy"

    def _dense(self, dense: np.ndarray | None, image: Image) -> DenseImage:
        assert dense is not None, "what was absent has been computed"
        on_device = torch.from_numpy(dense.astype(np.float32)).to(self.saliency.device)
        return DenseImage(on_device, (image.shape[0], image.shape[1]))

    def _keep(self, path: Path, dense: np.ndarray) -> None:
        with self.lock:
            # Counting the files of a large folder takes seconds. So a process counts now and then, and in between only
            # adds the sizes of its own files; the files of other processes are included at its next count.
            if self.added % RECOUNTED_EVERY == 0:
                self.bytes = _size(self.folder)
            if self.bytes + dense.nbytes > self.limit:
                return
            self.bytes += dense.nbytes
            self.added += 1
        with atomic.replacing(path) as file:
            np.save(file, dense)


def pixels_hash(image: Image) -> str:
    """A hash of an image's size and pixels."""
    size = (image.shape[0], image.shape[1])
    return hashlib.blake2b(f"{size}".encode() + image.tobytes(), digest_size=16).hexdigest()


def _read(path: Path) -> np.ndarray | None:
    try:
        return np.load(path)
    except (OSError, ValueError, EOFError):  # There is no such file, or a full disk cut it off.
        return None


def _size(folder: Path) -> int:
    """The bytes of the files in the folder's folders, with files of other processes."""
    total = 0
    for path in folder.glob("*/*"):
        with suppress(FileNotFoundError):  # Another process has just renamed it.
            total += path.stat().st_size
    return total


def model_hash(saliency: MaskClip) -> str:
    """A hash of all that decides the dense features of an image: settings, the tower's layers and its weights."""
    digest = hashlib.blake2b(digest_size=8)
    visual = saliency.clip.module.visual
    heads = [layer.num_heads for layer in visual.modules() if isinstance(layer, nn.MultiheadAttention)]
    digest.update(f"{visual} {heads}".encode())
    settings = (saliency.mean, saliency.std, saliency.input, saliency.max_side, saliency.resize_to)
    digest.update(repr((*settings, saliency.residual, saliency.half)).encode())
    for name, value in sorted(visual.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
