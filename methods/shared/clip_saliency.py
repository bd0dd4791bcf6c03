"""The common part of the saliencies that find the cells of the image from which a CLIP's score of a text comes.

A subclass defines the features that it keeps of an image, and how a text's evidence in each cell follows from them. The
rest is here: texts become vectors, and evidence becomes maps of the image's size, with or without a contrast to a
vocabulary's names.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from harness.plugins.interfaces import Saliency, TextLimit
from harness.structures import Image

from .channels import IMAGENET_MEAN, IMAGENET_STD
from .clip_maps import Last, alike_together, aside, contrasted, log_sum_exp, min_max, normalised, own_stream
from .clip_texts import LONGEST, Templates, TextVectors, sentences
from .clip_tokens import clip_text_limit
from .open_clip_model import load_clip

Contrast = Literal["none", "softmax"]
Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, eq=False)
class SeenImage:
    """A saliency's features of an image.

    Attributes:
        kept: The image tower's output: a ViT's tokens (t, c) or a ResNet's cells (c, gh, gw).
        size: (h, w) of the image.
    """

    kept: Float32[Tensor, ...]
    size: tuple[int, int]


class ClipSaliency(Saliency):
    """A text's evidence in each cell of a CLIP's image tower, as a map of the image.

    Negative evidence becomes 0; the rest is stretched over the image, and its values to 0 to 1. A map without any
    variation is 0 everywhere. With `contrast: softmax` the map is the text's share among the vocabulary's names and
    itself, as in MaskCLIP. The size of the evidence differs from CLIP to CLIP, so it is then divided by the largest one
    of the vocabulary in that image. In both cases a text's map does not depend on the other texts of a call.

    Attributes:
        device: The model's device, with its number.
        image_encodings: How many images went through the image tower so far.
    """

    def __init__(
        self,
        model: str,
        checkpoint: Path | None,
        templates: Templates,
        contrast: Contrast,
        temperature: float,
        interpolation: Interpolation,
        normalise: Literal["clip", "imagenet"],
        input: Literal["own"] | int,
        device: str,
    ) -> None:
        """Load the model; `Gradcam` and `Chefer` explain the arguments."""
        clip = load_clip(model, checkpoint, device)
        self.device = next(clip.module.parameters()).device
        self.clip = replace(clip, device=self.device)
        self.visual: Any = self.clip.module.visual
        self.templates, self.interpolation = sentences(templates), interpolation
        self.softmax, self.temperature = contrast == "softmax", temperature
        self.mean = IMAGENET_MEAN if normalise == "imagenet" else self.clip.image_mean
        self.std = IMAGENET_STD if normalise == "imagenet" else self.clip.image_std
        self.input = self.clip.image_size if input == "own" else (input, input)
        self.stream = own_stream(self.device)
        self.image_encodings = 0
        self.texts = TextVectors(self.clip, self.templates)
        self._others = Last[tuple[Float32[Tensor, "n 1 1 1"], Float32[Tensor, "n h w"]]]()

    @property
    def text_encodings(self) -> int:
        """How many distinct texts it has vectors of, from the text tower or kept by an earlier process."""
        return len(self.texts.known)

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:
        """CLIP's limit."""
        return (clip_text_limit(params["model"], partial(sentences, params["templates"]), LONGEST),)

    def read_names(self, names: Sequence[str]) -> Iterator[str]:
        """See `Saliency.read_names`; without a contrast the names do not matter."""
        if self.softmax and (work := self.texts.work_of(names)):
            yield work
            with aside(self.stream):
                self.texts.of(names)

    @abstractmethod
    def kept(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n ..."]:
        """The features of images that are normalised and have the network's size: the slow half."""

    @abstractmethod
    def evidence(self, kept: Float[Tensor, "n ..."], texts: Float[Tensor, "k m d"]) -> Float[Tensor, "k n gh gw"]:
        """Each text's evidence in each cell; it may be negative and has no unit.

        Args:
            kept: The result of `kept` for n images.
            texts: Unit vectors, for each image (m = n) or the same for all (m = 1).
        """

    @torch.inference_mode()
    def features(self, images: Sequence[Image]) -> list[SeenImage]:
        """The features of each image that `maps` needs; several images share a forward pass."""

        def seen(size: tuple[int, int], indices: Sequence[int]) -> Iterable[SeenImage]:
            some = [images[index] for index in indices]
            stacked = torch.from_numpy(np.stack([squeezed(image, size) for image in some]))
            kept = self.kept(normalised(stacked.to(self.device), self.mean, self.std)).float()
            return [SeenImage(one, image.shape[:2]) for one, image in zip(kept, some, strict=True)]

        self.image_encodings += len(images)
        with aside(self.stream):
            return alike_together([self.input] * len(images), seen)

    @torch.inference_mode()
    def maps(
        self, features: SeenImage, texts: Sequence[str], vocabulary: Sequence[str]
    ) -> Float32[np.ndarray, "n h w"]:
        """A map for each text, as `Saliency.maps`."""
        if not texts:
            return np.zeros((0, *features.size), np.float32)
        with aside(self.stream):
            return self._maps([features], texts, tuple(vocabulary)).cpu().numpy()

    @torch.inference_mode()
    def maps_of_each(
        self, features: Sequence[SeenImage], texts: Sequence[str], vocabularies: Sequence[Sequence[str]]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """As `Saliency.maps_of_each`; images of one size with one vocabulary are computed together."""
        names = [tuple(own) if self.softmax else () for own in vocabularies]
        alike = [(one.size, own) for one, own in zip(features, names, strict=True)]

        def computed(key: tuple[Any, tuple[str, ...]], some: Sequence[int]) -> Iterable[Tensor]:
            return self._maps([features[index] for index in some], [texts[index] for index in some], key[-1])

        with aside(self.stream):
            return [one.cpu().numpy() for one in alike_together(alike, computed)]

    def _maps(
        self, images: Sequence[SeenImage], texts: Sequence[str], vocabulary: tuple[str, ...]
    ) -> Float32[Tensor, "n h w"]:
        """The maps of several texts on one image, or of one text on each of several images of one size."""
        kept, size = torch.stack([image.kept for image in images]), images[0].size
        vectors = self._vectors(texts)
        # Two questions in one shape (texts, images): several texts of one image are (k, 1), one text for each of
        # several images is (1, n). Either has one map for each text, so flattening gives them in the texts' order.
        own = self.evidence(kept, vectors[None] if len(images) > 1 else vectors[:, None]).flatten(0, 1)
        # Without a contrast, negative evidence is cut off before the enlargement, as in the official codes (Grad-CAM's
        # ReLU). With one it must stay: a cell that speaks against the cup, and more so against the plate, is in favour
        # of the cup.
        if not (self.softmax and vocabulary):
            return min_max(self._stretched(own.clamp(min=0), size))
        names = tuple(dict.fromkeys(vocabulary))
        unit, known = self._others.get((tuple(images), names), lambda: self._normaliser(kept, names, size))
        places = [names.index(text) if text in names else len(names) for text in texts]
        return min_max(contrasted(self._stretched(own / unit[:, 0], size), known, places, len(names)))

    def _normaliser(
        self, kept: Float[Tensor, "n ..."], names: Sequence[str], size: tuple[int, int]
    ) -> tuple[Float32[Tensor, "n 1 1 1"], Float32[Tensor, "n h w"]]:
        """The evidence that counts as 1, and the softmax's normaliser over the names."""
        others = self.evidence(kept, self._vectors(names)[:, None]).transpose(0, 1)
        # Evidence has no unit. One CLIP's may lie between -3 and 3, another's between -0.01 and 0.01; with the same
        # temperature the first softmax would be sharp and the second flat. So the vocabulary's largest evidence in the
        # image counts as 1.
        unit = others.abs().amax((1, 2, 3), keepdim=True) * self.temperature
        unit = torch.where(unit > 0, unit, 1)
        return unit, log_sum_exp(others / unit, size)

    def _stretched(self, evidence: Float32[Tensor, "n gh gw"], size: tuple[int, int]) -> Float32[Tensor, "n h w"]:
        return F.interpolate(evidence[:, None], size, mode=self.interpolation, align_corners=False)[:, 0]

    def _vectors(self, names: Sequence[str]) -> Float32[Tensor, "k d"]:
        return self.texts.of(names)

    @property
    def scale(self) -> Tensor:
        """exp(logit_scale), by which CLIP multiplies cosines."""
        return self.clip.module.logit_scale.exp()


def squeezed(image: Image, size: tuple[int, int]) -> Image:
    """The whole image at (h, w), by the bicubic filter of CLIP's own preprocessing but without its centre crop."""
    if image.shape[:2] == size:
        return image
    return np.asarray(PIL.Image.fromarray(image).resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC))
