"""A SAM small enough to train from scratch on a CPU, built from Segment Anything's own parts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from harness.structures import UserError


@dataclass(frozen=True)
class Architecture:
    """The arguments to build a checkpoint's network again; the checkpoint contains them.

    Attributes:
        image_size: The longest side, in pixels, to which the image is resized.
        patch_size: Patch size of the image encoder. The logits have four times as many rows as there are patches.
        width: Width of the image encoder.
        depth: Blocks of the image encoder; each attends to all patches.
        heads: Attention heads of the image encoder.
        prompt_width: Width of the prompt encoder and the mask decoder, whose other sizes follow from it.
    """

    image_size: int = 128
    patch_size: int = 8
    width: int = 128
    depth: int = 4
    heads: int = 4
    prompt_width: int = 64

    def network(self) -> Any:
        """A segment_anything.modeling.Sam with random weights."""
        from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

        # 128 pixels in patches of 8 are a grid of 16 x 16, and logits of 64 x 64. The decoder has SAM's two layers,
        # with 4 heads in place of 8, and feed-forward layers of 2 in place of 8 times its width.
        grid = self.image_size // self.patch_size
        width = self.prompt_width
        transformer = TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=2 * width, num_heads=4)
        decoder = MaskDecoder(transformer_dim=width, transformer=transformer, iou_head_hidden_dim=width)
        prompts = PromptEncoder(width, (grid, grid), (self.image_size, self.image_size), mask_in_chans=16)
        return Sam(self._encoder(), prompts, decoder)

    def _encoder(self) -> Any:
        from segment_anything.modeling import ImageEncoderViT

        return ImageEncoderViT(
            img_size=self.image_size,
            patch_size=self.patch_size,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.heads,
            out_chans=self.prompt_width,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
        )


def described_architecture(about: str, path: Path) -> Architecture:
    """The architecture in a checkpoint's metadata, which is JSON.

    Raises:
        UserError: It is of a kind that this code cannot build.
    """
    try:
        return Architecture(**json.loads(about))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: found the architecture {about}; wanted that of a small SAM that training here saved. The file "
            "may be another method's: correct `checkpoint`. If it is an older SAM, train it again (README, Training)."
        ) from error
