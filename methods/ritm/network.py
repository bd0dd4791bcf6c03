"""RITM's network and its checkpoints: from an image, the mask of the round before and the clicks to logits.

Paper: Sofiiuk, Petrov, Konushin, "Reviving Iterative Training with Mask Guidance for Interactive
Segmentation", ICIP 2022, https://arxiv.org/abs/2102.06583. The checkpoints of its authors' code
(SamsungLabs/ritm_interactive_segmentation at b9b4460) load as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pydantic
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from ..shared.isegm import IsegmCheckpoints
from .hrnet_ocr import STEM, HrnetOcr, resized

CLASSES = ("isegm.model.is_hrnet_model.HRNetModel", "ritm_annotation.model.is_hrnet_model.HRNetModel")
"""The classes that a checkpoint's config may name: the official one, and the name in its packaged copy."""

WITHOUT_EFFECT = ("with_aux_output", "backbone_lr_mult", "norm_layer")
"""Arguments of the official class that change training only (all checkpoints have batch normalisation)."""

Rgb = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
Channels = Annotated[int, Field(ge=1, le=1024)]


@dataclass(frozen=True)
class PromptInput:
    """The form in which a network gets image, mask and clicks; names and defaults are the official classes'.

    Attributes:
        norm_radius: The radius of the clicks, in pixels of the network's input.
        use_disks: Whether a click is a disk of this radius; otherwise it is a distance map, tanh(2 d / radius).
        with_prev_mask: Whether the probabilities of the round before are an input.
        binary_prev_mask: Whether these are turned into 0 and 1 at 0.5.
        norm_mean_std: The mean and the deviation of the image, for values from 0 to 1.
        clicks_groups: Separate maps for the first clicks. Not supported: no published weights have them.
        cpu_dist_maps: Another way to draw clicks, on whole pixels. Not supported: no published weights have it.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    norm_radius: Annotated[int, Field(ge=1)] = 260
    use_disks: bool = False
    with_prev_mask: bool = False
    binary_prev_mask: bool = False
    norm_mean_std: tuple[Rgb, tuple[Positive, Positive, Positive]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    clicks_groups: None = None
    cpu_dist_maps: Literal[False] = False

    @property
    def prompt_channels(self) -> int:
        """How many maps `prompt` makes."""
        return 2 + int(self.with_prev_mask)

    def image(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """The image, normalised; pixels are RGB from 0 to 1."""
        mean, deviation = (pixels.new_tensor(values).view(3, 1, 1) for values in self.norm_mean_std)
        return (pixels - mean) / deviation

    def prompt(
        self, previous: Float[Tensor, "n 1 h w"], clicks: Float[Tensor, "n k 3"]
    ) -> Float[Tensor, "n channels h w"]:
        """The mask of the round before, if it is an input, then the positive and the negative clicks."""
        maps = click_maps(clicks, (previous.shape[2], previous.shape[3]), self.norm_radius, self.use_disks)
        if not self.with_prev_mask:
            return maps
        return torch.cat([(previous > 0.5).float() if self.binary_prev_mask else previous, maps], dim=1)


@dataclass(frozen=True)
class RitmArchitecture(PromptInput):
    """The arguments to build a checkpoint's network again; names and defaults are the official class's.

    Attributes:
        width: The channels of HRNet at its highest resolution: 18 or 32.
        ocr_width: The channels of the OCR head: 48 (18s), 64 (18), 128 (32).
        small: Whether it is HRNet18s.
        use_leaky_relu: Whether the layers that take in the prompt use leaky ReLU.
        use_rgb_conv: Whether image and prompt are mixed to three channels; otherwise the prompt enters after the first
            convolution.
        conv_extend: Whether it enters there through a single convolution.
    """

    width: Channels = 48
    ocr_width: Channels = 256
    small: bool = False
    use_leaky_relu: bool = False
    use_rgb_conv: bool = True
    conv_extend: bool = False


class RitmNetwork(nn.Module):
    """HRNet + OCR that also sees the clicks and the mask of the round before."""

    def __init__(self, architecture: RitmArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        prompt = architecture.prompt_channels
        activation = nn.LeakyReLU(0.2) if architecture.use_leaky_relu else nn.ReLU()
        # Published versions feed the prompt in by one of three ways. The first mixes it with the image before the
        # backbone; the other two add it after the backbone's first convolution, which halves the size:
        #
        #    use_rgb_conv    image 3 + prompt p channels -> 1 x 1 -> p + 6 -> 1 x 1 -> 3 channels, the backbone's image
        #    conv_extend     prompt p -> 3 x 3, stride 2 -> 64 channels at half size, added
        #    else            prompt p -> 1 x 1 -> 16 -> 3 x 3, stride 2 -> 64, times a learned factor, added
        if architecture.use_rgb_conv:
            mixed = prompt + 6
            self.rgb_conv = nn.Sequential(
                nn.Conv2d(prompt + 3, mixed, 1), nn.BatchNorm2d(mixed), activation, nn.Conv2d(mixed, 3, 1)
            )
        elif architecture.conv_extend:
            self.maps_transform: nn.Module = nn.Conv2d(prompt, STEM, 3, stride=2, padding=1)
        else:
            self.maps_transform = nn.Sequential(
                nn.Conv2d(prompt, 16, 1), activation, nn.Conv2d(16, STEM, 3, stride=2, padding=1), Scale()
            )
        self.feature_extractor = HrnetOcr(architecture.width, architecture.ocr_width, architecture.small)

    def forward(
        self, pixels: Float[Tensor, "n 3 h w"], previous: Float[Tensor, "n 1 h w"], clicks: Float[Tensor, "n k 3"]
    ) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n 1 h w"]]:
        """The logits of the object, and of the auxiliary head that training uses.

        Args:
            pixels: The image, RGB, 0 to 1.
            previous: The probabilities of the round before; zeros in the first round.
            clicks: The clicks in the form of `click_maps`.
        """
        image, prompt = self.architecture.image(pixels), self.architecture.prompt(previous, clicks)
        if self.architecture.use_rgb_conv:
            outputs = self.feature_extractor(self.rgb_conv(torch.cat([image, prompt], dim=1)))
        else:
            outputs = self.feature_extractor(image, self.maps_transform(prompt))
        logits, auxiliary = (resized(one, (pixels.shape[2], pixels.shape[3])) for one in outputs)
        return logits, auxiliary


class Scale(nn.Module):
    """Multiplies by the absolute value of a learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 0.05))

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs, scaled."""
        return inputs * self.scale.abs()


def click_maps(
    clicks: Float[Tensor, "n k 3"], size: tuple[int, int], radius: int, disks: bool
) -> Float[Tensor, "n 2 h w"]:
    """A map of the positive clicks and one of the negative ones: disks of 1 on 0, or distances from 0 to 1.

    Both are functions of d, the distance to the nearest click of that sign: a disk is 1 where d <= radius, a distance
    map is tanh(2 d / radius), which is 0 at a click and nearly 1 (0.96) at the radius. Without a click of that sign, d
    is very large, so a disk map is 0 and a distance map 1 everywhere.

    Args:
        clicks: Row, column and sign of each: 1 is positive, -1 negative, 0 fills up the batch. Rows and columns may be
            fractions and may lie outside. A click above and left of the map is not counted, as in the official code.
        size: (h, w) of the maps.
        radius: The radius of a click, in pixels of the maps.
        disks: Whether to draw disks or distances.
    """
    unit = 1 if disks else radius
    rows = torch.arange(size[0], dtype=torch.float32, device=clicks.device)
    columns = torch.arange(size[1], dtype=torch.float32, device=clicks.device)
    # A squared distance is the sum of a part that depends on the row alone and one that depends on the column alone:
    # (n k h 1) + (n k 1 w) -> (n k h w). So h + w squares a click are computed, and h x w sums.
    down = ((rows - clicks[..., 0, None]) / unit).square()
    across = ((columns - clicks[..., 1, None]) / unit).square()
    squares = down[..., :, None] + across[..., None, :]
    # 1 for a positive click, -1 for a negative one, and 0 for one that fills up the batch or is above and left of the
    # map.
    counts = clicks[..., 2] * (clicks[..., :2].amax(dim=2) >= 0)
    nearest = torch.stack([_nearest(squares, counts > 0), _nearest(squares, counts < 0)], dim=1)
    return (nearest <= radius**2).float() if disks else (2 * nearest.sqrt()).tanh()


def _nearest(squares: Float[Tensor, "n k h w"], counted: Bool[Tensor, "n k"]) -> Float[Tensor, "n h w"]:
    """The squared distance to the nearest click that counts; a large number if none does."""
    return squares.masked_fill(~counted[..., None, None], 1e6).amin(dim=1)


CHECKPOINTS = IsegmCheckpoints(
    reader="methods/ritm/ritm.py",
    network="RITM's HRNet + OCR",
    classes=CLASSES,
    architecture=RitmArchitecture,
    build=RitmNetwork,
    named=lambda one: f"RITM with HRNet width {one.width}",
    without_effect=WITHOUT_EFFECT,
)
