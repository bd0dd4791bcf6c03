"""Trains the networks of Text+Click and click-only: one instance, one set of clicks, one text an example.

Paper: Warner et al., BMVC 2023, section 4, whose loss is the default; the schedule is the recipe's matter. Code:
nikolaiwarner7/MaskCLIP at 37b9df0, whose random crops are `crop: published`; by default images are resized to squares.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int, UInt8
from pydantic import Field
from torch import Tensor, nn

from harness.clicks import STRATEGIES, Situation, click_rng, clicks_a_round
from harness.interfaces import Learner, Saliency
from harness.registry import register_learner, suggest
from harness.structures import Image, Instance, Mask, Sample, UserError
from methods.encoder_weights import load_encoder
from methods.learners.augmentation import (
    NO_LABEL,
    Window,
    jittered,
    labels_at,
    published_window,
    rescaled,
    resized_to,
    window_with,
)
from methods.prompt_channels import (
    Channels,
    click_channels,
    image_channels,
    normalised_pixels,
    saliency_channel,
    window_click_channels,
)
from methods.prompted_deeplab import Architecture
from methods.saliency_cache import KeptMaskClip

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
        size: Images are resized to a square of so many pixels, or crops have this side.
        click_range: What a click's distance map spans.
        saliency_range: What the saliency map spans.
        strategy: The click simulator.
        click_options: The simulator's own.
        clicks: "fixed": an instance has the same clicks in every epoch (the paper's code); "fresh": new ones.
        loss: "ce": cross-entropy of the two classes (the paper); "ce_dice": plus the object's soft dice.
        flip: Mirror half of the examples.
        jitter: Strength of the colour jitter; 0 for none, as in the paper.
        positive_clicks: Channels for positive clicks, one each; the strategy's options must make so many.
        negative_clicks: Channels for negative ones, after them.
        samples_per_instance: Sets of fixed clicks that an instance has; the paper's Table 5 says 5 for refCOCO.
        crop: "none" shows whole images; "published" a random crop of the rescaled image, in which one label covers
            less than 75 % if ten tries find one, without a look at where the object is; "must_contain_click" any crop
            with the first click in it.
        scale: For crops the image's short side becomes `size` times a number drawn from this range.
        side_channels: Of a crop: "whole" cuts the maps of the whole image as the published code, whose channels pass
            its crop together; "crop" spans distances and saliency anew within the crop.
        ignore: What the loss makes of pixels that the data set ignores: "background", as the published code does with
            VOC's void, or "skip". Padding of a crop is never counted.
        auxiliary: Weight of an FCN head's loss on the encoder's last but one stage; 0.4 in the published code.
        dropout: Of the ASPP; the published code has 0.1, before the last convolution.
        encoder_weights: A file to start the encoder from, in place of `initialisation`.
        first_filters: Of a first convolution that the file has for RGB alone: "random", all of it (the published code),
            or "rgb", what is not RGB.
        features_folder: Where MaskCLIP's dense features of training images are kept on disk; None keeps some in memory.
        features_gib: At most, there.
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
        positive_clicks: Annotated[int, Field(ge=1)] = 1,
        negative_clicks: Annotated[int, Field(ge=0)] = 0,
        samples_per_instance: Annotated[int, Field(ge=1)] = 1,
        crop: Literal["none", "published", "must_contain_click"] = "none",
        scale: tuple[float, float] = (0.5, 2.0),
        side_channels: Literal["whole", "crop"] = "whole",
        ignore: Literal["background", "skip"] = "background",
        auxiliary: Annotated[float, Field(ge=0)] = 0.0,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        encoder_weights: Path | None = None,
        first_filters: Literal["random", "rgb"] = "random",
        features_folder: Path | None = None,
        features_gib: Annotated[float, Field(ge=0)] = 100.0,
    ) -> None:
        channels = Channels(
            saliency=saliency is not None,
            positive_clicks=positive_clicks,
            negative_clicks=negative_clicks,
            size_rule="square" if crop == "none" else "short_side",
            size=size,
            click_range=(click_range[0], click_range[1]),
            saliency_range=(saliency_range[0], saliency_range[1]),
        )
        self.architecture = Architecture(channels, encoder, decoder_channels, output_stride)
        network: Any = self.architecture.network("imagenet" if initialisation == "imagenet" else None)
        for module in network.decoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        if encoder_weights is not None:
            load_encoder(network.encoder, encoder_weights, first_filters)
        if auxiliary:
            network.auxiliary = auxiliary_head(network.encoder.out_channels[-2])
        self.network, self.auxiliary = network, auxiliary
        self.saliency = (
            KeptMaskClip(saliency, features_folder, features_gib) if saliency and features_folder else saliency
        )
        if strategy not in STRATEGIES:
            raise UserError(
                f"methods/learners/prompted_deeplab.py: found strategy={strategy!r}. {suggest(strategy, STRATEGIES)}"
            )
        self.strategy, self.click_options = STRATEGIES[strategy], dict(click_options or {})
        self._check_clicks(strategy)
        self.fixed, self.dice, self.flip, self.jitter = clicks == "fixed", loss == "ce_dice", flip, jitter
        self.samples_per_instance, self.skip_ignored = samples_per_instance, ignore == "skip"
        self.crop, self.scale, self.within_crop = crop, scale, side_channels == "crop"
        self.features: dict[tuple[tuple[int, ...], bytes], Any] = {}
        self.lock = threading.Lock()

    def _check_clicks(self, strategy: str) -> None:
        channels = self.architecture.channels
        wanted = channels.positive_clicks + channels.negative_clicks
        made = clicks_a_round(strategy, self.click_options)
        if made != wanted:
            raise UserError(
                f"methods/learners/prompted_deeplab.py: {strategy} with click_options={self.click_options} makes "
                f"{made} clicks; wanted {wanted}, a channel each. Correct `click_options`, `positive_clicks` or "
                "`negative_clicks`."
            )

    def example(
        self, sample: Sample, instance: Instance, vocabulary: tuple[str, ...], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Image, saliency, clicks (in pixels of the full image) and target, mirrored together or not at all."""
        image, mask = sample.image, instance.mask
        clicks = self._clicks(sample, instance, rng)
        saliency = self._saliency(sample, instance.category, vocabulary)
        mirrored = self.flip and rng.random() < 0.5
        if mirrored:
            image, mask, saliency = image[:, ::-1], mask[:, ::-1], saliency[:, ::-1]
            clicks = clicks * [-1, 1] + [sample.size[1] - 1, 0]
        if self.jitter:
            image = jittered(image, rng, self.jitter)
        ignored = sample.ignore if self.skip_ignored else None
        if mirrored and ignored is not None:
            ignored = ignored[:, ::-1]
        if self.crop != "none":
            return self._cropped(image, labels(mask, ignored), saliency, clicks, rng)
        size = (self.architecture.channels.size,) * 2
        target = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
        return {
            "pixels": image_channels(image, size).numpy(),
            "saliency": self._saliency_channel(saliency, size),
            "clicks": clicks.astype(np.float32),
            "image_size": np.array(sample.size),
            "target": target if not self.skip_ignored else labels(target, _shrunk(ignored, size)),
        }

    def _cropped(
        self,
        image: Image,
        truth: UInt8[np.ndarray, "h w"],
        saliency: Float32[np.ndarray, "h w"],
        clicks: Int[np.ndarray, "c 2"],
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """A crop of the rescaled image; clicks and the whole image's corners in the crop's pixels, for the device."""
        channels, size = self.architecture.channels, (image.shape[0], image.shape[1])
        scaled = rescaled(size, channels.size * rng.uniform(*self.scale))
        target = labels_at(truth, scaled)
        if self.crop == "published":
            window = published_window(target, size, channels.size, rng)
        else:
            window = window_with(clicks[0].astype(float), scaled, size, channels.size, rng)
        corners = window.place(np.array([[0, 0], [size[1] - 1, size[0] - 1]], float)).ravel()
        extent = np.array([0, 0, window.inside[1] - 1, window.inside[0] - 1]) if self.within_crop else corners
        return {
            "rgb": window.cut(resized_to(image, scaled), 0),
            "saliency": self._saliency_of(window, saliency),
            "clicks": window.place(clicks.astype(float)).astype(np.float32),
            "extent": extent.astype(np.float32),
            "inside": np.array(window.inside),
            "target": window.cut(target, NO_LABEL),
        }

    def _saliency_of(self, window: Window, saliency: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "s s"]:
        shown = window.cut(resized_to(saliency, window.scaled), 0)
        if self.within_crop and self.saliency is not None:
            inside = shown[: window.inside[0], : window.inside[1]]
            low, high = inside.min(), inside.max()
            inside[...] = (inside - low) / (high - low) if high > low else 0
        low, high = self.architecture.channels.saliency_range
        return (low + shown * (high - low)).astype(np.float32)

    def _saliency_channel(
        self, saliency: Float32[np.ndarray, "h w"], size: tuple[int, int]
    ) -> Float32[np.ndarray, "s s"]:
        maps = torch.from_numpy(np.ascontiguousarray(saliency))[None]
        return saliency_channel(maps, size, self.architecture.channels.saliency_range)[0].numpy()

    def _clicks(self, sample: Sample, instance: Instance, rng: np.random.Generator) -> Int[np.ndarray, "c 2"]:
        draw = int(rng.integers(self.samples_per_instance)) if self.samples_per_instance > 1 else 0
        if self.fixed:
            rng = click_rng(0, "training", sample.id, instance.id, 1, draw)
        made = self.strategy(Situation(sample, instance, (), None, rng, draw), **self.click_options)
        return np.array([(click.x, click.y) for click in self.architecture.channels.arranged(made)])

    def _saliency(self, sample: Sample, text: str, vocabulary: tuple[str, ...]) -> Float32[np.ndarray, "h w"]:
        """The text's map of the image as it is stored, not mirrored or jittered."""
        if self.saliency is None:
            return np.zeros(sample.size, np.float32)
        return self.saliency.maps(self._features(self.saliency, sample.image), [text], vocabulary)[0]

    def _features(self, saliency: Saliency, image: Image) -> Any:
        """Computed once an image, found again by its pixels: two data sets may use the same ids."""
        if isinstance(saliency, KeptMaskClip):
            return saliency.features([image])[0]
        key = (image.shape, hashlib.blake2b(image.tobytes(), digest_size=16).digest())
        if key not in self.features:
            (found,) = saliency.features([image])
            with self.lock:
                if len(self.features) >= KEPT_IMAGES:
                    del self.features[next(iter(self.features))]
                self.features[key] = found
            return found
        return self.features[key]

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the two classes, the object's dice if asked for, and the auxiliary head's cross-entropy.

        Raises:
            UserError: A batch of one, of which batch normalisation knows no variance.
        """
        target = batch["target"]
        if len(target) < 2 and self._has_statistics():
            raise UserError("learners/prompted_deeplab.py: found batches of 1; wanted 2 or more. Raise `batch`.")
        if not self.auxiliary:
            logits = self.network(self._inputs(batch)).float()
            loss = cross_entropy(logits, target)
            return loss + soft_dice(logits, target) if self.dice else loss
        network: Any = self.network
        features = network.encoder(self._inputs(batch))
        logits = network.segmentation_head(network.decoder(features)).float()
        coarse = network.auxiliary(features[-2]).float()
        further = F.interpolate(coarse, size=target.shape[-2:], mode="bilinear", align_corners=False)
        loss = cross_entropy(logits, target) + self.auxiliary * cross_entropy(further, target)
        return loss + soft_dice(logits, target) if self.dice else loss

    def _has_statistics(self) -> bool:
        """Whether a batch norm would take the statistics of the batch."""
        norms = (module for module in self.network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        return self.network.training and any(norm.training for norm in norms)

    def _inputs(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "n c s s"]:
        channels = self.architecture.channels
        size = (channels.size, channels.size)
        if "rgb" in batch:
            pixels = normalised_pixels(batch["rgb"], batch["inside"])
            clicks = window_click_channels(batch["clicks"], batch["extent"], size, channels.click_range)
        else:
            sizes = batch["image_size"].tolist()
            pixels = batch["pixels"]
            each = [
                click_channels(one[None], (height, width), size, channels.click_range)
                for one, (height, width) in zip(batch["clicks"], sizes, strict=True)
            ]
            clicks = torch.cat(each)
        saliency = [batch["saliency"][:, None]] if self.saliency is not None else []
        return torch.cat([pixels, *saliency, clicks], dim=1)

    def metadata(self) -> dict[str, str]:
        """The architecture, as JSON."""
        return {"architecture": json.dumps(asdict(self.architecture))}


def auxiliary_head(channels: int) -> nn.Sequential:
    """MMSegmentation's FCNHead with one convolution: 3 x 3 to a quarter of the channels, dropout 0.1, two classes."""
    width = max(1, channels // 4)
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout2d(0.1),
        nn.Conv2d(width, 2, 1),
    )


def labels(mask: Mask, ignored: Mask | None) -> UInt8[np.ndarray, "h w"]:
    """1 on the object, 0 off it, NO_LABEL where neither counts."""
    found = mask.astype(np.uint8)
    if ignored is not None:
        found[ignored] = NO_LABEL
    return found


def _shrunk(ignored: Mask | None, size: tuple[int, int]) -> Mask | None:
    return None if ignored is None else labels_at(ignored.astype(np.uint8), size) > 0


def cross_entropy(logits: Float[Tensor, "n 2 h w"], target: Tensor) -> Tensor:
    """Of the two classes, bool or labels. The mean is over all pixels, those without a label adding nothing.

    So MMSegmentation 0.x counts (`avg_non_ignore=False`), and so the mean over equal shares of a batch is the batch's.
    """
    if target.dtype == torch.bool:
        return F.cross_entropy(logits, target.long())
    return F.cross_entropy(logits, target.long(), ignore_index=NO_LABEL, reduction="sum") / target.numel()


def soft_dice(logits: Float[Tensor, "n 2 h w"], target: Tensor) -> Tensor:
    """1 - dice of the object's probability against its mask, mean over examples, smoothed by one pixel."""
    counted = target != NO_LABEL if target.dtype != torch.bool else torch.ones_like(target)
    probability = (logits.softmax(1)[:, 1] * counted).flatten(1)
    truth = (target * counted).flatten(1).to(probability.dtype)
    overlap = (probability * truth).sum(1)
    return (1 - (2 * overlap + 1) / (probability.sum(1) + truth.sum(1) + 1)).mean()
