"""A CLIP's vision transformer up to one of its blocks, on images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from open_clip.transformer import VisionTransformer


def vit_tokens(
    visual: VisionTransformer,
    pixels: Float[Tensor, "n 3 h w"],
    positions: Float[Tensor, "tokens width"] | None = None,
    block: int = -1,
) -> Float[Tensor, "n tokens width"]:
    """The input of a ViT's block, by default the last one, with the class token first.

    Args:
        visual: The image tower.
        pixels: Normalised RGB.
        positions: As in `dense_features`.
        block: The block's index; one below 0 counts from the end.
    """
    # A convolution with steps as long as its filter cuts the image into patches: (n 3 h w) -> (n width gh gw),
    # flattened row by row to (n gh*gw width). The class token has place 0, both here and in the learned positions.
    x = visual.conv1(_whole_patches(visual, pixels)).flatten(2).transpose(1, 2)
    class_token = visual.class_embedding.to(x.dtype).expand(len(x), 1, -1)
    positions = positional_embedding(visual, grid_size(visual, pixels.shape[-2:])) if positions is None else positions
    x = visual.ln_pre(torch.cat([class_token, x], dim=1) + positions.to(x.dtype))
    # [:-1] leaves out the last block, which the callers compute in their own way; [:0] leaves out all.
    for earlier in visual.transformer.resblocks[:block]:
        x = earlier(x)
    return x


def grid_size(visual: VisionTransformer, size: Sequence[int]) -> tuple[int, int]:
    """(gh, gw), the patches that it takes to cover an input of (h, w)."""
    # -(-a // b) rounds up: 230 pixels need -(-230 // 16) = 15 patches of 16, the last one padded.
    (height, width), (patch_h, patch_w) = size, visual.patch_size
    return -(-height // patch_h), -(-width // patch_w)


def positional_embedding(visual: VisionTransformer, grid: tuple[int, int]) -> Float[Tensor, "tokens width"]:
    """A ViT's positions, the class token's first, resized bicubically to a grid."""
    return resized_positions(visual.positional_embedding, tuple(visual.grid_size), grid)


def resized_positions(
    learned: Float[Tensor, "tokens width"], trained: tuple[int, ...], grid: tuple[int, int]
) -> Float[Tensor, "new_tokens width"]:
    """Learned positions of a grid, with one before it that has no place there, resized bicubically to another grid."""
    if grid == trained:
        return learned
    # A ViT-B/16 has 1 + 14 x 14 positions, (197 768). Those of the cells are laid out as a picture with 768 channels,
    # (1 768 14 14), and resized like one; the class token's has no place there and stays. Bicubic, as in MaskCLIP's
    # code.
    cells = learned[1:].T.unflatten(1, trained)[None]
    cells = F.interpolate(cells, grid, mode="bicubic", align_corners=False)
    return torch.cat([learned[:1], cells[0].flatten(1).T])


def _whole_patches(visual: VisionTransformer, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 H W"]:
    (rows, columns), (patch_h, patch_w) = grid_size(visual, pixels.shape[-2:]), visual.patch_size
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, columns * patch_w - width, 0, rows * patch_h - height))
