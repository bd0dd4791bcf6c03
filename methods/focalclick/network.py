"""FocalClick's two networks: a coarse one over a window of the image, a refiner over a small part of that window.

Paper: Chen et al., "FocalClick: Towards Practical Interactive Image Segmentation", CVPR 2022,
https://arxiv.org/abs/2204.02574. The coarse network is a SegFormer or RITM's HRNet with OCR. "S1" halves its input's
sides first, "S2" does not; the files of the two have the same tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, NamedTuple

import pydantic
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from ..ritm.hrnet_ocr import STEM, HrnetOcr, resized
from ..ritm.network import Scale, click_maps
from .refiner import Refiner
from .segformer import PROMPT_CHANNELS, SegFormer, SegFormerArchitecture, Width

Radius = Annotated[int, Field(ge=1, le=100)]
Rgb = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class HrnetArchitecture:
    """RITM's network, as in `methods/ritm/hrnet_ocr.py`.

    Attributes:
        width: Channels at the highest resolution: 18 or 32.
        ocr_width: Channels of the OCR head: 48 (18s), 128 (32).
        small: HRNet18s.
        leaky: Whether the layers that take in the prompt use leaky ReLU.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    width: Width
    ocr_width: Width
    small: bool = False
    leaky: bool = True


@dataclass(frozen=True)
class FocalClickArchitecture:
    """The arguments to build a checkpoint's networks again.

    Attributes:
        backbone: The coarse network.
        pipeline: "s1": the coarse network's input is halved in height and width; "s2": it is not.
        coarse_radius: Radius of the clicks, in pixels of the coarse input before it is halved.
        refiner_radius: Radius of the clicks, in pixels of the refiner's crop.
        refiner_width: Channels of the refiner.
        norm_mean_std: Mean and deviation of the image, for values from 0 to 1; the refiner's image is not normalised.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    backbone: SegFormerArchitecture | HrnetArchitecture
    pipeline: Literal["s1", "s2"] = "s2"
    coarse_radius: Radius = 5
    refiner_radius: Radius = 5
    refiner_width: Width = 32
    norm_mean_std: tuple[Rgb, tuple[Positive, Positive, Positive]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Coarse(NamedTuple):
    """The coarse network's answer.

    Attributes:
        logits: The object's logits, at the input's size.
        features: The features before the logits, at a quarter of the size that the network saw.
        auxiliary: Logits of HRNet's auxiliary head, for training; None for a SegFormer.
    """

    logits: Float[Tensor, "n 1 h w"]
    features: Float[Tensor, "n c fh fw"]
    auxiliary: Float[Tensor, "n 1 h w"] | None


class FocalClickNetwork(nn.Module):
    """The coarse network and the refiner."""

    def __init__(self, architecture: FocalClickArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        about = architecture.backbone
        if isinstance(about, SegFormerArchitecture):
            self.feature_extractor: nn.Module = SegFormer(about)
            features = about.head_width
        else:
            self.maps_transform = nn.Sequential(
                nn.Conv2d(PROMPT_CHANNELS, 16, 1),
                nn.LeakyReLU(0.2) if about.leaky else nn.ReLU(),
                nn.Conv2d(16, STEM, 3, stride=2, padding=1),
                Scale(),
            )
            self.feature_extractor = HrnetOcr(about.width, about.ocr_width, about.small)
            # The refiner gets the pixels' features after the OCR head (`HrnetOcr.with_features`), which are twice as
            # wide.
            features = 2 * about.ocr_width
        self.refiner = Refiner(features, architecture.refiner_width)

    def coarse(
        self, pixels: Float[Tensor, "n 3 h w"], previous: Float[Tensor, "n 1 h w"], clicks: Float[Tensor, "n k 3"]
    ) -> Coarse:
        """The mask in a window of the image.

        Args:
            pixels: RGB, 0 to 1; h and w are equal.
            previous: Probabilities of the round before; zeros in the first round.
            clicks: The clicks in the form of `click_maps`, in the window's pixels.
        """
        # Clicks are drawn at the full size, 256 x 256, and halved with the image for "s1": a disk of radius 5 becomes
        # one of 2.5 with soft edges, as in training.
        size = (pixels.shape[2], pixels.shape[3])
        maps = click_maps(clicks, size, self.architecture.coarse_radius, disks=True)
        image, prompt = self._normalised(pixels), torch.cat([previous, maps], dim=1)
        if self.architecture.pipeline == "s1":
            half = (size[0] // 2, size[1] // 2)
            image, prompt = resized(image, half), resized(prompt, half)
        auxiliary = None
        if isinstance(self.feature_extractor, HrnetOcr):
            logits, auxiliary, features = self.feature_extractor.with_features(image, self.maps_transform(prompt))
            auxiliary = resized(auxiliary, size)
        else:
            logits, features = self.feature_extractor(image, prompt)
        return Coarse(resized(logits, size), features, auxiliary)

    def refined(
        self,
        pixels: Float[Tensor, "n 3 h w"],
        clicks: Float[Tensor, "n k 3"],
        coarse: Coarse,
        boxes: Float[Tensor, "n 4"],
    ) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n 1 h w"]]:
        """The mask in a part of that window, as logits, and the logits of how much its details count at each pixel.

        Args:
            pixels: The part of the image, RGB, 0 to 1.
            clicks: The clicks in the part's pixels.
            coarse: The answer in the window.
            boxes: The part in the window's pixels: left, top, right, bottom.
        """
        size = (pixels.shape[2], pixels.shape[3])
        maps = click_maps(clicks, size, self.architecture.refiner_radius, disks=True)
        return self.refiner(pixels, maps, coarse.logits, coarse.features, boxes)

    def _normalised(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        mean, deviation = (pixels.new_tensor(values).view(3, 1, 1) for values in self.architecture.norm_mean_std)
        return (pixels - mean) / deviation
