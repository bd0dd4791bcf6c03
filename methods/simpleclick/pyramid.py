"""SimpleClick's feature pyramid on the last map of a plain ViT, and its segmentation head.

Papers: Liu, Xu, Bertasius, Niethammer, "SimpleClick", ICCV 2023, https://arxiv.org/abs/2210.11006; the pyramid comes
from Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022,
https://arxiv.org/abs/2203.16527. Tensors have the names of the published checkpoints (uncbiag/SimpleClick at f33112e,
MIT); some of these are in no computation.

    one map at 1/16 (plain_vit.py) --> 1/4, 1/8, 1/16, 1/32 --> logits at 1/4
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Pyramid(nn.Module):
    """Maps at a quarter, an eighth, a 16th and a 32nd of the input's size (with patches of 16), all of one map.

    Args:
        width: Channels of the map.
        outputs: Channels of the four.
    """

    # A plain ViT has one resolution only. A head for segmentation needs several, so each is made from the ViT's last
    # map alone: a quarter and an eighth of the input by enlarging it, a 32nd by halving it.
    def __init__(self, width: int, outputs: Sequence[int]) -> None:
        super().__init__()
        quarter, eighth, same, half = outputs
        middle, first, last = max(2 * quarter, width // 2), max(eighth, width // 2), max(half, 2 * width)
        self.down_4 = nn.Sequential(
            *doubled(width, middle), nn.GELU(), *doubled(middle, quarter), *projected(quarter, quarter)
        )
        self.down_8 = nn.Sequential(*doubled(width, first), *projected(first, eighth))
        self.down_16 = nn.Sequential(*projected(width, same))
        self.down_32 = nn.Sequential(nn.Conv2d(width, last, 2, stride=2), norm(last), *projected(last, half))

    def forward(self, maps: Float[Tensor, "n c gh gw"]) -> list[Float[Tensor, "n _ _ _"]]:
        """The four maps, the largest first."""
        return [self.down_4(maps), self.down_8(maps), self.down_16(maps), self.down_32(maps)]


class Head(nn.Module):
    """Brings all maps to the size of the largest, mixes them at each pixel, and may enlarge the result.

    Args:
        inputs: Channels of the maps.
        channels: Channels before the logits.
        enlarged: By how much the logits are larger than the largest map: 1, 2 or 4.
    """

    def __init__(self, inputs: Sequence[int], channels: int, enlarged: int) -> None:
        super().__init__()
        width = channels * enlarged
        self.convs = nn.ModuleList(pointwise(one, width) for one in inputs)
        self.fusion_conv = pointwise(width * len(inputs), width)
        self.up_conv1 = nn.Sequential(*doubled(width, width // 2), *projected(width // 2, width // 2))
        self.up_conv2 = nn.Sequential(*doubled(width // 2, width // 4), *projected(width // 4, width // 4))
        self.conv_seg = nn.Conv2d(channels, 1, 1)
        self.steps = int(math.log2(enlarged))
        # Every published file has both layers, whether the network enlarges or not.
        for unused in (self.up_conv1, self.up_conv2)[self.steps :]:
            unused.requires_grad_(False)

    def forward(self, maps: Sequence[Float[Tensor, "n _ _ _"]]) -> Float[Tensor, "n 1 h w"]:
        """Logits, at the size of the first map or larger."""
        size = maps[0].shape[2:]
        mixed = [
            F.interpolate(convolution(one), size=size, mode="bilinear", align_corners=False)
            for convolution, one in zip(self.convs, maps, strict=True)
        ]
        fused = self.fusion_conv(torch.cat(mixed, dim=1))
        for step in (self.up_conv1, self.up_conv2)[: self.steps]:
            fused = step(fused)
        return self.conv_seg(fused)


def tokens_of(maps: Float[Tensor, "n c gh gw"]) -> Float[Tensor, "n grid c"]:
    """A map's patches as a sequence, row by row."""
    return maps.flatten(2).transpose(1, 2)


def norm(channels: int) -> nn.GroupNorm:
    """Normalises an image over all its channels and pixels at once."""
    return nn.GroupNorm(1, channels)


def doubled(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """Twice the height and width."""
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2), norm(outputs)


def projected(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """A 1 x 1 convolution, normalised, with GELU."""
    return nn.Conv2d(inputs, outputs, 1), norm(outputs), nn.GELU()


def pointwise(inputs: int, outputs: int) -> nn.Sequential:
    """A 1 x 1 convolution with ReLU; its tensors' names have `conv` in them."""
    steps = nn.Sequential()
    steps.add_module("conv", nn.Conv2d(inputs, outputs, 1))
    steps.add_module("activate", nn.ReLU())
    return steps
