"""A plain ViT whose blocks mostly attend within windows: SimpleClick's backbone.

Paper: Liu, Xu, Bertasius, Niethammer, "SimpleClick: Interactive Image Segmentation with Simple Vision Transformers",
ICCV 2023, https://arxiv.org/abs/2210.11006. Tensors have the names of the published checkpoints (uncbiag/SimpleClick at
f33112e, MIT); some of these are in no computation.

    image ---> patches --+
                         +--> + positions --> blocks --> one map at 1/16 (pyramid.py goes on from here)
    prompt --> patches --+
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .pyramid import tokens_of


class Cut(NamedTuple):
    """The numbers of patches of an input, and of windows of patches, down and across."""

    grid: tuple[int, int]
    windows: tuple[int, int]


class PlainViT(VisionTransformer):
    """timm's VisionTransformer without class token and last norm, with attention in windows.

    Args:
        group: Blocks of a group; its last attends over the whole image, the others within windows.
        window: See `network.WINDOW_PX`; in pixels of the input.
        shape: timm's own arguments.
    """

    def __init__(self, group: int, window: int, **shape: object) -> None:
        super().__init__(global_pool="avg", **shape)
        self.group, self.window = group, window
        # The published files have these tensors, left from the pre-training, but nothing is computed with them.
        for unused in (self.cls_token, *self.fc_norm.parameters(), *self.head.parameters()):
            unused.requires_grad_(False)

    def forward(
        self, image: Float[Tensor, "n 3 h w"], added: Float[Tensor, "n grid width"]
    ) -> Float[Tensor, "n width gh gw"]:
        """The last block's map.

        Args:
            image: The normalised image.
            added: The features of the prompt's patches, which are added to those of the image's.
        """
        # Attention over all patches costs the square of their number: 28 x 28 = 784 patches at 448 pixels. Within 2 x 2
        # windows of 14 x 14 = 196 it costs a quarter. One block in each group attends over all patches, so that
        # information passes between windows.
        size = (image.shape[2], image.shape[3])
        grid, windows = self.cut(size)
        tokens = tokens_of(self.patch_embed.proj(image)) + added + self.positions(size)
        for at in range(0, len(self.blocks), self.group):
            *within, across = self.blocks[at : at + self.group]
            tokens = windowed(tokens, grid, windows, within) if within else tokens
            tokens = across(tokens)
        # On a CPU, how a convolution rounds depends on its input's layout in memory. This layout is the official
        # code's.
        return tokens.transpose(1, 2).unflatten(2, grid)

    def cut(self, size: tuple[int, int]) -> Cut:
        """The numbers of patches and windows for an input of (h, w).

        Raises:
            ValueError: The input cannot be cut into whole patches and equal windows.
        """
        patch = self.patch_embed.patch_size
        grid = (size[0] // patch[0], size[1] // patch[1])
        whole = (grid[0] * patch[0], grid[1] * patch[1]) == size and min(grid) > 0
        counts = (grid[0] // (self.window // patch[0]), grid[1] // (self.window // patch[1]))
        even = min(counts) > 0 and grid[0] % counts[0] == grid[1] % counts[1] == 0
        if not whole or not (even or self.group == 1):
            fits = list(self.patch_embed.img_size)
            windows = f", cut into equal windows of about {self.window} pixels" if self.group > 1 else ""
            raise ValueError(
                f"found an input of {size[0]} x {size[1]} pixels; wanted whole patches of {patch[0]} x {patch[1]}"
                f"{windows}. Set `zoom.target_size`: {fits} fits."
            )
        return Cut(grid, counts)

    def positions(self, size: tuple[int, int]) -> Float[Tensor, "1 grid width"]:
        """The position embedding of each patch for an input of (h, w), resized from that of the training's size."""
        places = self.pos_embed[:, 1:]  # the first is the class token's
        if size == self.patch_embed.img_size:
            return places
        square = places.unflatten(1, self.patch_embed.grid_size).permute(0, 3, 1, 2)
        return tokens_of(F.interpolate(square, size=self.cut(size).grid, mode="bicubic", align_corners=False))


def windowed(
    tokens: Float[Tensor, "n grid c"], grid: tuple[int, int], windows: tuple[int, int], blocks: Sequence[nn.Module]
) -> Float[Tensor, "n grid c"]:
    """The patches after blocks that see one window at a time, as if each window were an image of its own."""
    n, _, channels = tokens.shape
    (height, width), (down, across) = grid, windows
    # A grid of 4 x 4 patches in 2 x 2 windows. Reshaped to (down, rows, across, columns), a window's rows are apart;
    # with the middle two axes swapped they are together, and each window is a sequence of its own:
    #
    #    0 0 1 1
    #    0 0 1 1      ->    0 0 0 0    1 1 1 1    2 2 2 2    3 3 3 3
    #    2 2 3 3
    #    2 2 3 3
    split = tokens.reshape(n, down, height // down, across, width // across, channels).transpose(2, 3)
    alone = split.reshape(n * down * across, -1, channels)
    for block in blocks:
        alone = block(alone)
    return alone.reshape(split.shape).transpose(2, 3).reshape(tokens.shape)
