r"""SegFormer with a second entrance for the prompt. Its tensors have the names of FocalClick's checkpoints.

Papers: Xie et al., "SegFormer", NeurIPS 2021, https://arxiv.org/abs/2105.15203; Chen et al., "FocalClick", CVPR 2022,
https://arxiv.org/abs/2204.02574. The backbone (Mix Transformer) is segmentation-models-pytorch's, which is NVIDIA's own
code under NVIDIA's licence for non-commercial use; entrance and head are written here.

    image  -> stage 1 ---+----(+)-> stage 2 ---+--> stage 3 ---+--> stage 4 ---+
                  1/4    |     |       1/8     |      1/16     |      1/32     |
    prompt -> entrance --|-----+               |               |               |
                         +-------- each to one width, at 1/4, joined ----------+--> features -> logits

The head reads stage 1 before the prompt is added, so its input from stage 1 does not depend on the clicks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Annotated, ClassVar

import pydantic
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

Width = Annotated[int, Field(ge=1, le=2048)]
Count = Annotated[int, Field(ge=1, le=64)]

PROMPT_CHANNELS = 3
"""The mask before, positive clicks and negative clicks."""

STAGES = 4

STOCHASTIC_DEPTH = 0.1
"""The probability that training leaves out the last block; earlier blocks are left out less often."""


@dataclass(frozen=True)
class SegFormerArchitecture:
    """A Mix Transformer of four stages, and its head.

    Attributes:
        widths: Channels of each stage.
        depths: Blocks of each stage.
        heads: Attention heads of each stage; a stage's width is a multiple of them.
        reductions: The factor by which keys and values are shrunk, in height and in width, before each stage's
        attention.
        head_width: Channels of the head, and of the features that the refiner gets.
    """

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")

    widths: tuple[Width, Width, Width, Width]
    depths: tuple[Count, Count, Count, Count]
    heads: tuple[Count, Count, Count, Count] = (1, 2, 5, 8)
    reductions: tuple[Count, Count, Count, Count] = (8, 4, 2, 1)
    head_width: Width = 256


PUBLISHED = {
    "b0": SegFormerArchitecture((32, 64, 160, 256), (2, 2, 2, 2)),
    "b3": SegFormerArchitecture((64, 128, 320, 512), (3, 4, 18, 3), head_width=512),
}
"""The two architectures with published weights, by their `model_version`."""


class SegFormer(nn.Module):
    """Backbone and head: logits of the object and the features before them, at a quarter of the input's size."""

    def __init__(self, architecture: SegFormerArchitecture) -> None:
        super().__init__()
        self.backbone = PromptedTransformer(architecture)
        self.decode_head = Head(architecture)

    def forward(
        self, image: Float[Tensor, "n 3 h w"], prompt: Float[Tensor, "n 3 h w"]
    ) -> tuple[Float[Tensor, "n 1 qh qw"], Float[Tensor, "n c qh qw"]]:
        """Logits and features.

        Args:
            image: Normalised.
            prompt: The mask before, positive clicks and negative clicks.
        """
        return self.decode_head(self.backbone(image, prompt))


class PromptedTransformer(nn.Module):
    """Mix Transformer whose second stage also reads the prompt."""

    def __init__(self, about: SegFormerArchitecture) -> None:
        from segmentation_models_pytorch.encoders.mix_transformer import Block, LayerNorm, OverlapPatchEmbed

        super().__init__()
        # As in the released code: 1e-6 in the blocks and after each stage, while the norm of a patch embedding keeps
        # torch's 1e-5.
        norm = partial(LayerNorm, eps=1e-6)
        inputs = (3, *about.widths)
        done, total = 0, sum(about.depths)
        for at, (width, depth, heads, reduction) in enumerate(
            zip(about.widths, about.depths, about.heads, about.reductions, strict=True)
        ):
            size, stride = (7, 4) if at == 0 else (3, 2)
            # Stochastic depth, in training: the later a block, the more often it is left out.
            left_out = [STOCHASTIC_DEPTH * block / max(1, total - 1) for block in range(done, done + depth)]
            blocks = (
                Block(width, heads, qkv_bias=True, drop_path=share, norm_layer=norm, sr_ratio=reduction)
                for share in left_out
            )
            self.add_module(
                f"patch_embed{at + 1}",
                OverlapPatchEmbed(patch_size=size, stride=stride, in_chans=inputs[at], embed_dim=width),
            )
            self.add_module(f"block{at + 1}", nn.Sequential(*blocks))
            self.add_module(f"norm{at + 1}", norm(width))
            done += depth
        self.patch_embed_side1 = OverlapPatchEmbed(
            patch_size=7, stride=4, in_chans=PROMPT_CHANNELS, embed_dim=about.widths[0]
        )

    def forward(self, image: Float[Tensor, "n 3 h w"], prompt: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        """The features of the four stages."""
        found: list[Tensor] = []
        maps = image
        for number in range(1, STAGES + 1):
            for name in ("patch_embed", "block", "norm"):
                maps = self.get_submodule(f"{name}{number}")(maps)
            # Appended before the prompt is added, so the head's first map does not depend on the clicks.
            found.append(maps)
            if number == 1:
                maps = maps + self.patch_embed_side1(prompt)
        return found


class Head(nn.Module):
    """Brings all stages to one width and to the size of the first, and mixes them."""

    def __init__(self, architecture: SegFormerArchitecture) -> None:
        super().__init__()
        width = architecture.head_width
        self.linear_c4, self.linear_c3, self.linear_c2, self.linear_c1 = (
            Projection(channels, width) for channels in reversed(architecture.widths)
        )
        self.linear_fuse = Fusion(4 * width, width)
        self.dropout = nn.Dropout2d(0.1)
        self.linear_pred = nn.Conv2d(width, 1, 1)

    def forward(self, stages: list[Tensor]) -> tuple[Float[Tensor, "n 1 qh qw"], Float[Tensor, "n c qh qw"]]:
        """Logits and the features before them."""
        size = (stages[0].shape[2], stages[0].shape[3])
        projections = (self.linear_c4, self.linear_c3, self.linear_c2, self.linear_c1)
        # The published head resizes the four maps to a quarter of the input, joins them to 4 w channels and mixes these
        # to w with one 1 x 1 convolution. Both steps are linear, resizing within a channel and the convolution within a
        # pixel, so they may change places: each map is mixed with its own share of the weights (w w 1 1) at its own
        # size, then resized, and the four are added. A map at 1/32 has 64 times fewer pixels to mix.
        shares = self.linear_fuse.conv.weight.chunk(len(stages), dim=1)
        mixed = [
            enlarged(F.conv2d(project(stage), share), size)
            for project, stage, share in zip(projections, reversed(stages), shares, strict=True)
        ]
        features = torch.relu(self.linear_fuse.bn(reduce(add, mixed)))
        return self.linear_pred(self.dropout(features)), features


class Projection(nn.Module):
    """A linear layer on every pixel's channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, outputs)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """The maps with other channels."""
        return F.conv2d(maps, self.proj.weight[:, :, None, None], self.proj.bias)


class Fusion(nn.Module):
    """The weights that mix the stages' maps: a 1 x 1 convolution without bias, and its norm. `Head` applies them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)


def enlarged(maps: Float[Tensor, "n c h w"], size: tuple[int, int]) -> Float[Tensor, "n c sh sw"]:
    """Resize with bilinear interpolation; corners are not aligned, unlike everywhere else."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
