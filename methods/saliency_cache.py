"""Dense CLIP features of training images, computed once each and kept on disk."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Float32

from harness.interfaces import Saliency
from harness.structures import Image, UserError
from methods.saliency.maskclip import DenseImage, MaskClip


class KeptMaskClip(Saliency):
    """MaskCLIP whose features of an image come from a folder, where they lie as float16.

    A file is found by the image's pixels and by a hash of the image tower's weights and of what else decides the
    features, so that another model never reads them. Once the folder holds `limit_gib` the features of further images
    are computed whenever they are wanted: training visits images at random, so throwing out old ones would gain
    nothing. Several processes may share the folder. Texts and temperatures are no part of what is kept.

    Args:
        saliency: MaskCLIP.
        folder: Made if need be.
        limit_gib: Of this model's files.
    """

    def __init__(self, saliency: Saliency, folder: Path, limit_gib: float = 100.0) -> None:
        if not isinstance(saliency, MaskClip):
            raise UserError(
                f"methods/saliency_cache.py: found saliency {type(saliency).__name__}; wanted maskclip, the only one "
                "whose features are known to be kept. Leave out `features_folder`."
            )
        self.saliency = saliency
        self.folder = folder / model_hash(saliency)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.limit = limit_gib * 2**30
        self.bytes = sum(file.stat().st_size for file in self.folder.glob("*/*.npy"))
        self.lock = threading.Lock()

    def features(self, images: Sequence[Image]) -> list[DenseImage]:
        """As MaskCLIP's, rounded to float16, whether they were kept or not."""
        return [self._one(image) for image in images]

    def maps(self, features: Any, texts: Sequence[str], vocabulary: Sequence[str]) -> Float32[np.ndarray, "n h w"]:
        """MaskCLIP's."""
        return self.saliency.maps(features, texts, vocabulary)

    def _one(self, image: Image) -> DenseImage:
        size = (image.shape[0], image.shape[1])
        digest = hashlib.blake2b(f"{size}".encode() + image.tobytes(), digest_size=16).hexdigest()
        path = self.folder / digest[:2] / f"{digest}.npy"
        try:
            dense = np.load(path)
        except (OSError, ValueError, EOFError):  # Not there, or the end of a file that a full disk cut.
            dense = self.saliency.features([image])[0].dense.cpu().numpy().astype(np.float16, order="C")
            self._keep(path, dense)
        return DenseImage(torch.from_numpy(dense.astype(np.float32)).to(self.saliency.clip.device), size)

    def _keep(self, path: Path, dense: np.ndarray) -> None:
        with self.lock:
            if self.bytes + dense.nbytes > self.limit:
                return
            self.bytes += dense.nbytes
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f"{uuid4().hex}.tmp")
        with temporary.open("wb") as file:
            np.save(file, dense)
        temporary.replace(path)


def model_hash(saliency: MaskClip) -> str:
    """Of all that decides the dense features of an image."""
    digest = hashlib.blake2b(digest_size=8)
    settings = (saliency.mean, saliency.std, saliency.input, saliency.max_side, saliency.resize_to)
    digest.update(repr((*settings, saliency.residual, saliency.half)).encode())
    for name, value in sorted(saliency.clip.module.visual.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
