"""Trains the networks of Text+Click and click-only: one instance, one set of clicks, one text an example.

Paper: Warner et al., BMVC 2023, section 4, whose loss is the default; the schedule is the recipe's matter. Its random
crops are not here: an image is resized to a square.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int
from torch import Tensor

from harness.clicks import STRATEGIES, Situation, click_rng
from harness.interfaces import Learner, Saliency
from harness.registry import register_learner, suggest
from harness.structures import Image, Instance, Sample, UserError
from methods.learners.augmentation import jittered
from methods.prompt_channels import Channels, click_channels, image_channels, saliency_channel
from methods.prompted_deeplab import Architecture

KEPT_IMAGES = 2048
"""Images whose saliency features stay in memory; those of the embedded benchmark all do."""


@register_learner("prompted_deeplab")
class PromptedDeepLabLearner(Learner):
    """DeepLabV3+ over RGB, saliency if any, and clicks.

    Args:
        saliency: Turns the category's name into a channel; None trains click-only.
        encoder: An encoder of segmentation-models-pytorch.
        decoder_channels: Of the ASPP and the decoder.
        output_stride: Of the encoder, 8 or 16.
        initialisation: "scratch" (the paper's text) or "imagenet" (the paper's code).
        size: Images are resized to a square of so many pixels.
        click_range: What a click's distance map spans.
        saliency_range: What the saliency map spans.
        strategy: The click simulator.
        click_options: The simulator's own.
        clicks: "fixed": an instance has the same clicks in every epoch (the paper's code); "fresh": new ones.
        loss: "ce": cross-entropy of the two classes (the paper); "ce_dice": plus the object's soft dice.
        flip: Mirror half of the examples.
        jitter: Strength of the colour jitter; 0 for none, as in the paper.
    """

    def __init__(
        self,
        saliency: Saliency | None = None,
        encoder: str = "resnet50",
        decoder_channels: int = 512,
        output_stride: Literal[8, 16] = 8,
        initialisation: Literal["scratch", "imagenet"] = "scratch",
        size: int = 512,
        click_range: tuple[float, float] = (0.0, 1.0),
        saliency_range: tuple[float, float] = (-1.0, 1.0),
        strategy: str = "paper/v1",
        click_options: Mapping[str, Any] | None = None,
        clicks: Literal["fixed", "fresh"] = "fixed",
        loss: Literal["ce", "ce_dice"] = "ce",
        flip: bool = True,
        jitter: float = 0.0,
    ) -> None:
        channels = Channels(
            saliency=saliency is not None,
            size_rule="square",
            size=size,
            click_range=(click_range[0], click_range[1]),
            saliency_range=(saliency_range[0], saliency_range[1]),
        )
        self.architecture = Architecture(channels, encoder, decoder_channels, output_stride)
        self.network = self.architecture.network("imagenet" if initialisation == "imagenet" else None)
        self.saliency = saliency
        if strategy not in STRATEGIES:
            raise UserError(
                f"methods/learners/prompted_deeplab.py: found strategy={strategy!r}. {suggest(strategy, STRATEGIES)}"
            )
        self.strategy, self.click_options = STRATEGIES[strategy], dict(click_options or {})
        self.fixed, self.dice, self.flip, self.jitter = clicks == "fixed", loss == "ce_dice", flip, jitter
        self.features: dict[tuple[tuple[int, ...], bytes], Any] = {}

    def example(
        self, sample: Sample, instance: Instance, vocabulary: tuple[str, ...], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Image, saliency, clicks (in pixels of the full image) and target, mirrored together or not at all."""
        image, mask = sample.image, instance.mask
        clicks = self._clicks(sample, instance, rng)
        saliency = self._saliency(sample, instance.category, vocabulary)
        if self.flip and rng.random() < 0.5:
            image, mask, saliency = image[:, ::-1], mask[:, ::-1], saliency[:, ::-1]
            clicks = clicks * [-1, 1] + [sample.size[1] - 1, 0]
        if self.jitter:
            image = jittered(image, rng, self.jitter)
        size = (self.architecture.channels.size,) * 2
        return {
            "pixels": image_channels(image, size).numpy(),
            "saliency": self._saliency_channel(saliency, size),
            "clicks": clicks.astype(np.float32),
            "image_size": np.array(sample.size),
            "target": cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5,
        }

    def _saliency_channel(
        self, saliency: Float32[np.ndarray, "h w"], size: tuple[int, int]
    ) -> Float32[np.ndarray, "s s"]:
        maps = torch.from_numpy(np.ascontiguousarray(saliency))[None]
        return saliency_channel(maps, size, self.architecture.channels.saliency_range)[0].numpy()

    def _clicks(self, sample: Sample, instance: Instance, rng: np.random.Generator) -> Int[np.ndarray, "c 2"]:
        if self.fixed:
            rng = click_rng(0, "training", sample.id, instance.id, 1)
        made = self.strategy(Situation(sample, instance, (), None, rng), **self.click_options)
        return np.array([(click.x, click.y) for click in self.architecture.channels.arranged(made)])

    def _saliency(self, sample: Sample, text: str, vocabulary: tuple[str, ...]) -> Float32[np.ndarray, "h w"]:
        """The text's map of the image as it is stored, not mirrored or jittered."""
        if self.saliency is None:
            return np.zeros(sample.size, np.float32)
        return self.saliency.maps(self._features(self.saliency, sample.image), [text], vocabulary)[0]

    def _features(self, saliency: Saliency, image: Image) -> Any:
        """Computed once an image, found again by its pixels: two data sets may use the same ids."""
        key = (image.shape, hashlib.blake2b(image.tobytes(), digest_size=16).digest())
        if key not in self.features:
            if len(self.features) >= KEPT_IMAGES:
                del self.features[next(iter(self.features))]
            (self.features[key],) = saliency.features([image])
        return self.features[key]

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the two classes over all pixels, and the object's dice if asked for.

        Raises:
            UserError: A batch of one, of which batch normalisation knows no variance.
        """
        if len(batch["pixels"]) < 2 and self.network.training:
            raise UserError("learners/prompted_deeplab.py: found batches of 1; wanted 2 or more. Raise `batch`.")
        logits = self.network(self._inputs(batch))
        target = batch["target"]
        cross_entropy = F.cross_entropy(logits, target.long())
        return cross_entropy + soft_dice(logits, target) if self.dice else cross_entropy

    def _inputs(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "n c s s"]:
        channels = self.architecture.channels
        sizes = batch["image_size"].tolist()
        size = (channels.size, channels.size)
        clicks = [
            click_channels(one[None], (height, width), size, channels.click_range)
            for one, (height, width) in zip(batch["clicks"], sizes, strict=True)
        ]
        side = [torch.cat(clicks)]
        if self.saliency is not None:
            side.insert(0, batch["saliency"][:, None])
        return torch.cat([batch["pixels"], *side], dim=1)

    def metadata(self) -> dict[str, str]:
        """The architecture, as JSON."""
        return {"architecture": json.dumps(asdict(self.architecture))}


def soft_dice(logits: Float[Tensor, "n 2 h w"], target: Tensor) -> Tensor:
    """1 - dice of the object's probability against its mask, mean over examples, smoothed by one pixel."""
    probability = logits.softmax(1)[:, 1].flatten(1)
    truth = target.flatten(1).to(probability.dtype)
    overlap = (probability * truth).sum(1)
    return (1 - (2 * overlap + 1) / (probability.sum(1) + truth.sum(1) + 1)).mean()
