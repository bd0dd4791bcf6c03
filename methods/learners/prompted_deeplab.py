"""Trains the networks of Text+Click and click-only; an example is one instance with its clicks and its text.

Paper: Warner et al., BMVC 2023, section 4, whose loss is the default; the recipe sets the schedule. Code:
nikolaiwarner7/MaskCLIP at 37b9df0, whose random crops are `crop: published`; by default images are resized to squares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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

from harness.plugins.interfaces import Learner, Saliency
from harness.plugins.registry import register_learner
from harness.structures import Image, Instance, Mask, Said, Sample, UserError

from ..shared.channels import (
    Channels,
    click_channels,
    image_channels,
    normalised_pixels,
    saliency_channel,
    window_click_channels,
)
from ..shared.encoder_weights import load_encoder
from ..shared.prompted_deeplab import Architecture
from ..shared.saliency_cache import remembered
from .shared.augmentation import (
    NO_LABEL,
    Window,
    jittered,
    labels_at,
    published_window,
    rescaled,
    resized_to,
    window_with,
)
from .shared.batch_norms import check_batch
from .shared.clicking import Clicking
from .shared.mask_losses import cross_entropy, soft_dice


@register_learner("prompted_deeplab")
class PromptedDeepLabLearner(Learner):
    """Text+Click or click-only: DeepLabV3+ over RGB, clicks and, if one is named, a saliency.

    Args:
        saliency: The saliency that turns an instance's words, by the recipe's `text:`, into a channel; None trains
            click-only.
        encoder: An encoder of segmentation-models-pytorch.
        decoder_channels: The channels of the ASPP and the decoder.
        output_stride: The encoder's output stride, 8 or 16.
        initialisation: "scratch" (the paper's text) or "imagenet" (the paper's code).
        size: The side of the square that images are resized to, or of crops, in pixels.
        click_range: The least and the largest value of a click's distance map.
        saliency_range: The least and the largest value of the saliency map.
        strategy: The click simulator.
        click_options: The simulator's options.
        clicks: "fixed": an instance has the same clicks in every epoch (the paper's code); "fresh": new ones.
        loss: "ce": cross-entropy of the two classes (the paper); "ce_dice": plus the object's soft dice.
        flip: Whether to mirror half of the examples.
        jitter: The strength of the colour jitter; 0 for none, as in the paper.
        positive_clicks: The number of channels for positive clicks, one for each; the strategy's options must make this
            many.
        negative_clicks: The number of channels for negative clicks, after the positive ones.
        samples_per_instance: How many sets of fixed clicks an instance has; the paper's Table 5 has 5 for refCOCO.
        crop: "none": whole images. "published": a random crop of the rescaled image, wherever the object is; up to ten
            more are tried while one label covers 75 % or more. "must_contain_click": any crop with the first click.
        scale: The range of a random number: for crops the image's short side becomes `size` times this number.
        side_channels: The way in which a crop's saliency and click maps are made. "whole": cut out of the maps of the
            whole image, as in the published code. "crop": distances and saliency span their ranges within the crop.
        ignore: The treatment in the loss of pixels that the data set ignores: "background", as the published code does
            with VOC's void, or "skip". Padding of a crop is never counted.
        auxiliary: The weight of an FCN head's loss on the encoder's last but one stage; 0.4 in the published code.
        dropout: The dropout in the ASPP; the published code has 0.1, before the last convolution.
        encoder_weights: A file with weights to start the encoder from, in place of `initialisation`.
        first_filters: If the file's first convolution is for RGB only: "random" draws all its filters anew (the
            published code), "rgb" keeps those for RGB and draws the others.
        features_folder: The folder for MaskCLIP's dense features of training images; None keeps some in memory.
        features_gib: The most GiB that they may take there.
    """

    incidental = frozenset({"features_gib"})

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
        self.network = self._network(initialisation, dropout, encoder_weights, first_filters, auxiliary)
        self.auxiliary, self.dice = auxiliary, loss == "ce_dice"
        self.saliency = None if saliency is None else remembered(saliency, features_folder, features_gib)
        self.clicking = Clicking(channels, strategy, click_options or {}, clicks == "fixed", samples_per_instance)
        self.crop, self.scale, self.within_crop = crop, scale, side_channels == "crop"
        self.flip, self.jitter, self.skip_ignored = flip, jitter, ignore == "skip"

    def _network(
        self,
        initialisation: Literal["scratch", "imagenet"],
        dropout: float,
        encoder_weights: Path | None,
        first_filters: Literal["random", "rgb"],
        auxiliary: float,
    ) -> nn.Module:
        network: Any = self.architecture.network("imagenet" if initialisation == "imagenet" else None)
        for module in network.decoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        if encoder_weights is not None:
            load_encoder(network.encoder, encoder_weights, first_filters)
        if auxiliary:
            # As a part of the network it is trained, moved and saved with it; `read_checkpoint` leaves its tensors out
            # again.
            network.auxiliary = auxiliary_head(network.encoder.out_channels[-2])
        return network

    def prepare(self, images: Sequence[Image], texts: Sequence[str], vocabularies: Sequence[tuple[str, ...]]) -> None:
        """On a GPU, compute a step's saliency maps together, and the features of images that are not kept yet.

        On a CPU that saves nothing, and would do harm: the last bits of the features depend on which images share a
        forward pass, so a resumed training would no longer end with the same weights as an undisturbed one.
        """
        if self.saliency is not None and self.saliency.device.type == "cuda":
            self.saliency.prepare(images, texts, vocabularies)

    def example(
        self, sample: Sample, instance: Instance, said: Said, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Image, saliency, clicks (in pixels of the full image) and target, mirrored together or not at all."""
        # Clicks and saliency are made from the stored image and mirrored afterwards. So fixed clicks are the same in
        # both, and features that are kept for the stored image serve for its mirror image, too.
        image, mask = sample.image, instance.mask
        clicks = self.clicking.clicks(sample, instance, rng)
        saliency = self._saliency(sample, instance, said)
        mirrored = self._may_mirror(said) and rng.random() < 0.5
        if mirrored:
            # Copies, since torch refuses the negative stride of a mirrored view, which NumPy keeps in one column.
            image, mask, saliency = (np.copy(whole[:, ::-1]) for whole in (image, mask, saliency))
            # Column x becomes w - 1 - x; rows stay.
            clicks = clicks * [-1, 1] + [sample.size[1] - 1, 0]
        if self.jitter:
            image = jittered(image, rng, self.jitter)
        ignored = sample.ignore if self.skip_ignored else None
        if mirrored and ignored is not None:
            ignored = np.copy(ignored[:, ::-1])
        if self.crop != "none":
            return self._cropped(image, labels(mask, ignored), saliency, clicks, rng)
        # A pixel of the square is the object's if the object covers more than half of the patch of the image beneath
        # it.
        size = (self.architecture.channels.size,) * 2
        target = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
        return {
            "pixels": image_channels(image, size).numpy(),
            "saliency": self._saliency_channel(saliency, size),
            "clicks": clicks.astype(np.float32),
            "image_size": np.array(sample.size),
            "target": target if not self.skip_ignored else labels(target, _shrunk(ignored, size)),
        }

    def _may_mirror(self, said: Said) -> bool:  # noqa: ARG002
        """Whether an instance with these words may be mirrored."""
        # Whatever the words are: their saliency is that of the stored image, and is mirrored with it.
        return self.flip

    def _cropped(
        self,
        image: Image,
        truth: UInt8[np.ndarray, "h w"],
        saliency: Float32[np.ndarray, "h w"],
        clicks: Int[np.ndarray, "c 2"],
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """A crop of the rescaled image. Clicks and the image's corners are given in the crop's pixels."""
        # The distance maps of the clicks are computed later, on the device, from these few numbers. `extent` is the
        # rectangle over which they span their range: the whole image, of which the crop is a part, or the crop.
        channels, size = self.architecture.channels, (image.shape[0], image.shape[1])
        scaled = rescaled(size, channels.size * rng.uniform(*self.scale))
        target = labels_at(truth, scaled)
        if self.crop == "published":
            window = published_window(target, size, channels.size, rng)
        else:
            window = window_with(clicks[0].astype(float), scaled, size, channels.size, rng)
        # The centres of the image's first and last pixel, in the crop's pixels: left, top, right, bottom. Most of them
        # lie outside of the crop, which shows a part of the image.
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
            # A view of `shown`: what is written to it below changes `shown`. The padding keeps its 0, the least value.
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

    def _saliency(self, sample: Sample, instance: Instance, said: Said) -> Float32[np.ndarray, "h w"]:
        """The saliency map of the instance's words, in the image as it is stored, not mirrored or jittered."""
        if self.saliency is None:
            return np.zeros(sample.size, np.float32)
        if not said.text or not said.text.strip():
            raise UserError(
                f"learners/prompted_deeplab.py: instance {instance.id} of sample {sample.id}: found no words; wanted "
                "some for the saliency. Choose another `text:` in the recipe, or train without `saliency`."
            )
        return self.saliency.map_of(sample.image, said.text, said.vocabulary)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of the two classes, the object's dice if wanted, and the auxiliary head's cross-entropy.

        Raises:
            UserError: The batch has one example, which has no variance for batch normalisation.
        """
        target = batch["target"]
        check_batch(self.network, len(target), "learners/prompted_deeplab.py")
        if not self.auxiliary:
            logits = self.network(self._inputs(batch)).float()
            loss = cross_entropy(logits, target)
            return loss + soft_dice(logits, target) if self.dice else loss
        # The network's forward in its three steps, for the auxiliary head reads a result between them: features[-2],
        # the last but one stage of the encoder, at the same stride as the last with an output stride of 8 (n 1024 64 64
        # for 512 pixels).
        network: Any = self.network
        features = network.encoder(self._inputs(batch))
        logits = network.segmentation_head(network.decoder(features)).float()
        coarse = network.auxiliary(features[-2]).float()
        further = F.interpolate(coarse, size=target.shape[-2:], mode="bilinear", align_corners=False)
        loss = cross_entropy(logits, target) + self.auxiliary * cross_entropy(further, target)
        return loss + soft_dice(logits, target) if self.dice else loss

    def _inputs(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "n c s s"]:
        channels = self.architecture.channels
        size = (channels.size, channels.size)
        if "rgb" in batch:
            pixels = normalised_pixels(batch["rgb"], batch["inside"])
            clicks = window_click_channels(batch["clicks"], batch["extent"], size, channels.click_range)
        else:
            # The batch's images had different sizes before they were squeezed to the square, and distances count in the
            # image's own pixels: so each example's maps, (1 c s s), are made by themselves.
            sizes = batch["image_size"].tolist()
            pixels = batch["pixels"]
            each = [
                click_channels(one[None], (height, width), size, channels.click_range)
                for one, (height, width) in zip(batch["clicks"], sizes, strict=True)
            ]
            clicks = torch.cat(each)
        saliency = [batch["saliency"][:, None]] if self.saliency is not None else []
        return torch.cat([pixels, *saliency, clicks], dim=1)

    @classmethod
    def clicks_taken(cls, params: Mapping[str, Any]) -> tuple[int, int] | None:
        """A channel for each click."""
        return params["positive_clicks"], params["negative_clicks"]

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
    """1 on the object, 0 off it, NO_LABEL on ignored pixels."""
    found = mask.astype(np.uint8)
    if ignored is not None:
        found[ignored] = NO_LABEL
    return found


def _shrunk(ignored: Mask | None, size: tuple[int, int]) -> Mask | None:
    return None if ignored is None else labels_at(ignored.astype(np.uint8), size) > 0
