"""LAVT's network: a Swin transformer that mixes in the words after each of its stages, and a small decoder.

The code is written from the paper and from the released weights' names and shapes. It uses torchvision's Swin, since
that pads a map to whole windows before it shifts it, like LAVT's; timm's shifts first. At 480 pixels they differ in the
fourth stage, whose 15 x 15 tokens make no whole windows of 12. Sizes for Swin-B at 480 x 480:

    pixels -> stage 1 --+--> stage 2 --+--> stage 3 --+--> stage 4 --+
            120 x 120   |   60 x 60    |   30 x 30    |   15 x 15    |      each + : Fusion with the words (20 x 768)
              x 128     v    x 256     v    x 512     v    x 1024    v
                       map 1          map 2          map 3          map 4 --> decoder --> logits (2, 120, 120)

Paper: Yang et al., "LAVT: Language-Aware Vision Transformer for Referring Image Segmentation", CVPR 2022,
https://arxiv.org/abs/2112.02244
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PATCH = 4
"""Pixels of a token's side, in the first stage."""


@dataclass(frozen=True)
class Architecture:
    """The sizes of a network.

    Attributes:
        width: Channels of the first stage; each further stage has twice as many as the one before.
        depths: Swin blocks in each stage.
        heads: Attention heads in each stage.
        window: Tokens of an attention window's side.
        words: Numbers of a word's embedding.
    """

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    words: int = 768

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Architecture:
        """The sizes that a network with these weights has, in the names of `LavtNetwork`.

        Raises:
            KeyError: A tensor whose shape is needed is missing.
        """
        depths: list[int] = []
        while (blocks := _blocks(weights, len(depths))) > 0:
            depths.append(blocks)
        tables = [weights[f"features.{2 * stage + 1}.0.attn.relative_position_bias_table"] for stage in range(4)]
        # A table has a row for each offset between two tokens of a window: (2 * window - 1) squared.
        window = (math.isqrt(tables[0].shape[0]) + 1) // 2
        width, words = weights["features.0.0.weight"].shape[0], weights["fusions.0.key.weight"].shape[1]
        return cls(width, tuple(depths), tuple(table.shape[1] for table in tables), window, words)


def _blocks(weights: Mapping[str, Tensor], stage: int) -> int:
    blocks = 0
    while f"features.{2 * stage + 1}.{blocks}.norm1.weight" in weights:
        blocks += 1
    return blocks


class LavtNetwork(nn.Module):
    """An image's pixels and a text's word embeddings -> logits of background and object.

    Args:
        sizes: Its architecture.
    """

    def __init__(self, sizes: Architecture) -> None:
        from torchvision.models import SwinTransformer

        super().__init__()
        window = [sizes.window, sizes.window]
        swin = SwinTransformer(
            [PATCH, PATCH], sizes.width, list(sizes.depths), list(sizes.heads), window, stochastic_depth_prob=0.0
        )
        # Only Swin's stages are taken, not its last norm and its classifier.
        widths = [sizes.width * 2**stage for stage in range(len(sizes.depths))]
        self.features = swin.features  # patches, then stages with a step to half the side between them
        self.fusions = nn.ModuleList(Fusion(width, sizes.words) for width in widths)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.decoder = Decoder(widths)

    def begin(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b th tw c"]:
        """The patches and the first stage's blocks, which need no text: all texts on an image share them."""
        return self.features[1](self.features[0](pixels))

    def finish(
        self, tokens: Float[Tensor, "b th tw c"], words: Float[Tensor, "b t d"], known: Float[Tensor, "b t"]
    ) -> Float[Tensor, "b 2 h w"]:
        """The rest of the network.

        Args:
            tokens: From `begin`, at a quarter of the image's sides.
            words: The texts' word embeddings.
            known: 1 for a word, 0 for padding.

        Returns:
            Logits of background and object, at the size of the pixels that `begin` was given.
        """
        maps = self.stages(tokens, words, known)
        size = [PATCH * side for side in tokens.shape[1:3]]
        return F.interpolate(self.decoder(maps), size, mode="bilinear", align_corners=True)

    def stages(
        self, tokens: Float[Tensor, "b th tw c"], words: Float[Tensor, "b t d"], known: Float[Tensor, "b t"]
    ) -> list[Float[Tensor, "b c h w"]]:
        """The map of each stage that the decoder reads."""
        maps = []
        for stage, (fusion, norm) in enumerate(zip(self.fusions, self.norms, strict=True)):
            # `features` has patches, stage 1, step, stage 2, step, ...: a step halves the sides and doubles the
            # channels. `begin` has done the first two entries.
            if stage:
                tokens = self.features[2 * stage + 1](self.features[2 * stage](tokens))
            said, tokens = fusion(tokens, words, known)
            # The decoder gets the text's part alone, not its sum with the tokens, as in the released code.
            maps.append(norm(said).permute(0, 3, 1, 2))
        return maps


class Fusion(nn.Module):
    """Mixes the words into each token (the paper's pixel-word attention and language pathway).

    Each token attends to the words, with a single head. The result is multiplied with the token, and a gate decides how
    much of the product is added to the token:

        token -> query --attends to--> words -> answer --times--> image(token) -> product ("said")
        token' = token + gate(said) * said

    Args:
        width: The channels of a token.
        words: How many numbers a word's embedding has.
    """

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.image, self.query = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = nn.Linear(words, width), nn.Linear(words, width)
        self.answer, self.product = nn.Linear(width, width), nn.Linear(width, width)
        self.gate = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, width, bias=False), nn.Tanh()
        )

    def forward(
        self, tokens: Float[Tensor, "b h w c"], words: Float[Tensor, "b t d"], known: Float[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b h w c"], Float[Tensor, "b h w c"]]:
        """The text's product with the tokens ("said"), and the tokens with its gated part added."""
        flat, kept = tokens.flatten(1, 2), known[..., None]
        asked = over_places(self.query(flat))
        # (b hw c) queries and (b t c) keys give (b hw t) weights. Padding gets 10,000 less than a word, and so none of
        # the attention. The scale is one over the root of `width`.
        heard = F.scaled_dot_product_attention(
            asked, self.key(words) * kept, self.value(words) * kept, attn_mask=(known[:, None] - 1) * 1e4
        )
        # The image's part and the words' part of each token, both (b hw c), are multiplied channel by channel; the last
        # layer mixes the channels, and `view_as` lays the tokens out as a map again.
        said = F.gelu(self.product(F.gelu(self.image(flat)) * over_places(self.answer(heard)))).view_as(tokens)
        return said, tokens + self.gate(said) * said


def over_places(tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
    """Instance norm: each channel of each image has mean 0 and deviation 1 over its places, also in evaluation."""
    return F.instance_norm(tokens.transpose(1, 2)).transpose(1, 2)


class Decoder(nn.Module):
    """Goes from the coarsest map to the finest: enlarge, join with the next finer map, convolve twice.

    Args:
        widths: Channels of the maps, the finest first.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        # The first step reads the two coarsest maps, each further one the result so far beside the next finer map.
        hidden, coarsest = 4 * widths[0], widths[-1]
        inputs = [coarsest + widths[-2], *(hidden + width for width in reversed(widths[:-2]))]
        self.steps = nn.ModuleList(
            nn.Sequential(
                *(nn.Conv2d(channels, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()),
                *(nn.Conv2d(hidden, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()),
            )
            for channels in inputs
        )
        self.logits = nn.Conv2d(hidden, 2, 1)

    def forward(self, maps: list[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, "b 2 h w"]:
        """Logits of background and object at the finest map's size."""
        found, *finer = reversed(maps)
        for step, finer_map in zip(self.steps, finer, strict=True):
            # If the sizes are equal, aligned corners leave the map unchanged.
            larger = F.interpolate(found, finer_map.shape[2:], mode="bilinear", align_corners=True)
            found = step(torch.cat([larger, finer_map], dim=1))
        return self.logits(found)
