"""Trains a small CLIP from scratch on masks: for MaskCLIP's saliency and for ranking crops.

CLIP itself was trained on millions of captions, for which a data set of 20 drawn classes is no substitute. Here the
patches that MaskCLIP reads are trained with ground-truth masks, and the image embedding with crops of single instances.
So the model knows every class of its data set, and is no zero-shot model.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor

from harness.plugins.interfaces import Learner
from harness.plugins.registry import register_learner
from harness.structures import Image, Instance, Said, Sample, UserError

from ..saliency.maskclip import dense_features
from ..shared.channels import IMAGENET_MEAN, IMAGENET_STD
from ..shared.clip_texts import sentences
from ..shared.open_clip_model import load_clip
from .shared.augmentation import jittered

GREY = 127
"""The grey value around an instance in a masked crop."""


@register_learner("clip")
class ClipLearner(Learner):
    """A small CLIP: patches learn each class's mask, crops their class, and texts that a name's templates agree.

    It trains on the names of classes, in the words of the recipe's `text:`, not on words of single objects.

    Args:
        model: An open_clip config.
        checkpoint: Weights to start from; None starts from random ones.
        scale: The factor of the patch-text cosine in the sigmoid.
        offset: The number subtracted from the scaled cosine: a cosine of offset / scale means a probability of one
            half.
        patch_weight: The weight of the patches' loss; 0 trains for ranking crops alone.
        crop_weight: The weight of the crops' cross-entropy; 0 trains for saliency alone.
        image_weight: The weight of a loss by which the whole image's embedding predicts the classes in it. Saliencies
            that explain this embedding need it.
        name_weight: The weight of the loss that tells names apart by their texts alone. Without it the small text tower
            maps all names to one direction, which is cheapest for the patches at first, and takes long to change that.
        jitter: The strength of the colour jitter.
    """

    def __init__(
        self,
        model: str,
        checkpoint: Path | None = None,
        scale: float = 10.0,
        offset: float = 4.0,
        patch_weight: float = 1.0,
        crop_weight: float = 0.5,
        image_weight: float = 0.0,
        name_weight: float = 0.5,
        jitter: float = 0.3,
    ) -> None:
        self.clip = load_clip(model, checkpoint, device="cpu", allow_random=True)
        self.network: Any = self.clip.module
        self.scale, self.offset, self.jitter = scale, offset, jitter
        self.patch_weight, self.crop_weight, self.name_weight = patch_weight, crop_weight, name_weight
        self.image_weight = image_weight
        self.learns_all = patch_weight > 0 or image_weight > 0
        self.side = self.clip.image_size[0]

    def example(
        self, sample: Sample, instance: Instance, said: Said, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """The whole image with each class's coverage of each patch, and a crop of the drawn instance."""
        if strange := [one for one in sample.instances if one.category not in said.classes]:
            found = strange[0].category or "nothing"
            raise UserError(
                f"learners/clip.py: instance {strange[0].id} of sample {sample.id}: found {found} for its class; "
                "wanted one of the data set's classes, since it learns their names. Name its class, or leave it out of "
                "the data set."
            )
        category = said.classes.index(instance.category)
        if said.text != said.vocabulary[category]:
            raise UserError(
                f"learners/clip.py: instance {instance.id}: found the words {said.text!r}; wanted the class name, "
                f"'{said.vocabulary[category]}'. Set `text: class_name` in the recipe."
            )
        mirror = -1 if rng.random() < 0.5 else 1
        image = jittered(sample.image[:, ::mirror], rng, self.jitter)
        crop = self._crop(image, instance.mask[:, ::mirror], rng)
        # Two normalisations in one example, since the two uses differ: MaskCLIP's code normalises images by ImageNet's
        # mean and deviation, and ranking normalises crops by CLIP's own.
        rows, columns = self.network.visual.grid_size
        return {
            "pixels": _pixels(_resized(image, self.side), IMAGENET_MEAN, IMAGENET_STD),
            "coverage": coverage(sample.instances, said.classes, (rows, columns), mirror),
            "crop": _pixels(_resized(crop, self.side), self.clip.image_mean, self.clip.image_std),
            "category": np.array(category),
            "names": np.stack([self._tokens(said.vocabulary, rng) for _ in range(2)]),
            "vocabulary": np.array(zlib.crc32(repr(said.vocabulary).encode())),
        }

    def _crop(self, image: Image, mask: np.ndarray, rng: np.random.Generator) -> Image:
        """The instance's box with a random margin, its surroundings greyed out in half of the crops."""
        rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
        # In a ranking the box is that of a candidate, which is rarely exact, and its surroundings are grey or not
        # (`Crop` in ranking.py). Both are imitated here.
        margin = rng.uniform(0, 0.2) * max(np.ptp(rows), np.ptp(columns))
        top, left = (max(0, int(edges[0] - margin)) for edges in (rows, columns))
        bottom, right = (int(edges[-1] + margin) + 1 for edges in (rows, columns))
        if rng.random() < 0.5:
            image = np.where(mask[..., None], image, np.uint8(GREY))
        return image[top:bottom, left:right]

    def _tokens(self, vocabulary: tuple[str, ...], rng: np.random.Generator) -> Int[np.ndarray, "c length"]:
        templates = sentences("published")
        template = int(rng.integers(len(templates)))
        return self.clip.tokenizer([templates[template].format(name) for name in vocabulary]).numpy()

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The weighted losses; the two templates of the batch's first example serve all.

        Raises:
            UserError: The examples are of data sets with different classes, so that those names do not serve all.
        """
        if (batch["vocabulary"] != batch["vocabulary"][0]).any():
            raise UserError(
                "learners/clip.py: found examples of data sets with different classes in a batch; wanted the same "
                "names in the same order in all `datasets`. Train on one of them."
            )
        names, others = (F.normalize(self.network.encode_text(tokens), dim=-1) for tokens in batch["names"][0])
        # Two templates of every name, (c d) each: "a photo of a cup." must be nearer to "a drawing of a cup." than to
        # any other name's text. In the (c c) matrix of cosines, the right answer for row i is column i.
        similarity = self.network.logit_scale.exp() * names @ others.T
        loss = self.name_weight * F.cross_entropy(similarity, torch.arange(len(names), device=names.device))
        if self.patch_weight:
            loss = loss + self.patch_weight * self._patch_loss(batch, names)
        if self.crop_weight:
            loss = loss + self.crop_weight * self._crop_loss(batch, names)
        if self.image_weight:
            loss = loss + self.image_weight * self._image_loss(batch, names)
        return loss

    def _patch_loss(self, batch: Mapping[str, Tensor], names: Float[Tensor, "c d"]) -> Tensor:
        # A sigmoid for each class by itself, not a softmax: a patch of the tie is shirt and person, too. With scale 10
        # and offset 4 a cosine of 0.4 has the logit 0; 0.7 has 3, a probability of 95 %, and 0.1 has -3.
        dense = dense_features(self.network.visual, batch["pixels"])
        logits = self.scale * torch.einsum("ndhw,cd->nchw", dense, names) - self.offset
        return patch_loss(logits, batch["coverage"])

    def _crop_loss(self, batch: Mapping[str, Tensor], names: Float[Tensor, "c d"]) -> Tensor:
        crops = F.normalize(self.network.encode_image(batch["crop"]), dim=-1)
        return F.cross_entropy(self.network.logit_scale.exp() * crops @ names.T, batch["category"])

    def _image_loss(self, batch: Mapping[str, Tensor], names: Float[Tensor, "c d"]) -> Tensor:
        images = F.normalize(self.network.encode_image(batch["pixels"]), dim=-1)
        present = (batch["coverage"] > 0).any(-1).any(-1).float()
        return F.binary_cross_entropy_with_logits(self.scale * images @ names.T - self.offset, present)


def patch_loss(logits: Float[Tensor, "n c gh gw"], covered: Float[Tensor, "n c gh gw"]) -> Tensor:
    """Binary cross-entropy of each patch and class; the covered part of a rare class weighs more.

    The weight of a class's covered part is 6 * sqrt(0.05 / its coverage in the batch), at most 30.
    """
    share = covered.mean((0, 2, 3), keepdim=True).clamp(min=0.002)
    # A class that covers 5 % of the batch has the weight 6; one of 0.2 % or less has 30. Without weights the answer
    # "nowhere" would be nearly right for every rare class, and cheap to learn.
    weight = 6 * torch.sqrt(0.05 / share)
    return F.binary_cross_entropy_with_logits(logits, covered, pos_weight=weight)


def coverage(
    instances: Sequence[Instance], classes: Sequence[str], grid: tuple[int, int], mirror: int
) -> Float32[np.ndarray, "c gh gw"]:
    """The share of each patch that each class covers, 0 to 1: a tie's patches belong to tie, shirt and person."""
    covered = np.zeros((len(classes), *grid), np.float32)
    for category in {instance.category for instance in instances}:
        union = np.any([instance.mask for instance in instances if instance.category == category], axis=0)
        union = np.ascontiguousarray(union[:, ::mirror], dtype=np.float32)
        # INTER_AREA averages the pixels under each cell, so that zeros and ones become a share. OpenCV wants (width,
        # height).
        covered[classes.index(category)] = cv2.resize(union, grid[::-1], interpolation=cv2.INTER_AREA)
    return covered


def _resized(image: Image, side: int) -> UInt8[np.ndarray, "side side 3"]:
    rule = cv2.INTER_AREA if min(image.shape[:2]) > side else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), (side, side), interpolation=rule)


def _pixels(
    image: Image, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Float32[np.ndarray, "3 h w"]:
    values = (image.astype(np.float32) / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))
