"""Chefer et al.'s relevance: the patches that the class token attends to and that raise a text's score by it.

Paper: Chefer, Gur, Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
Transformers", ICCV 2021, https://arxiv.org/abs/2103.15679
Code: https://github.com/hila-chefer/Transformer-MM-Explainability at 58eaea8, MIT (CLIP_explainability.ipynb)

With A the attention of block l and S a text's score, cam = mean over heads of max(A * dS/dA, 0). R starts as the
identity and becomes R + cam R, block by block. The map is the class token's row of R. The official code computes whole
matrices, with one copy of the image for each text. Here only that row is computed: r starts as the class token's unit
vector and, from the last block back, becomes r + r cam.

    two blocks    R = (1 + cam2) (1 + cam1)       its first row:  e (1 + cam2) (1 + cam1), from the left, row by row

With the last block alone, the code's default, that is the class token's row of cam, which needs no backward pass
through the image tower (`class_token.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from harness.plugins.registry import register_saliency
from harness.structures import UserError

from ..shared.class_token import Score, check_tower, projections, score_gradient, vit_attention
from ..shared.clip_saliency import ClipSaliency, Contrast
from ..shared.clip_texts import Templates
from ..shared.clip_vit import grid_size, vit_tokens

if TYPE_CHECKING:
    from open_clip.transformer import ResidualAttentionBlock

_TEXTS_AT_ONCE = 4
"""How many texts go backward through several blocks together: memory is texts x blocks x heads x tokens^2."""


@register_saliency("chefer")
class Chefer(ClipSaliency):
    """The places where more of the class token's attention would raise CLIP's score of a text."""

    def __init__(
        self,
        model: str = "ViT-B-16-quickgelu",
        checkpoint: Path | None = None,
        start_layer: int = -1,
        score: Score = "cosine",
        templates: Templates = "none",
        contrast: Contrast = "none",
        temperature: float = 1.0,
        normalise: Literal["clip", "imagenet"] = "clip",
        input: Literal["own"] | int = "own",
        device: str = "auto",
    ) -> None:
        """Load the model; every default except `device` is the official code's.

        Args:
            model: An open_clip name or the path of a config, of a ViT that reads the image by its class token; OpenAI's
                weights need a "-quickgelu" one.
            checkpoint: The weights (`harness.methods.shared.open_clip_model.load_clip`).
            start_layer: The first block that counts, from 0; negative numbers count from the end, so -1 is the last
                block alone. Any other value takes a backward pass through these blocks for each text.
            score: The score that is differentiated (`harness.methods.shared.class_token.Score`).
            templates: "none": the text as it is, as in the official code; "plain": "a photo of a {}."; "published":
                MaskCLIP's 85, averaged.
            contrast: "none", as in the official code; "softmax": the text's share among a vocabulary's names
                (`ClipSaliency`).
            temperature: The temperature of that softmax; smaller is sharper.
            normalise: The mean and standard deviation for pixels: CLIP's own or ImageNet's.
            input: The whole image is squeezed to a square of this side, in pixels; "own" is the size that the model was
                trained with. For other sizes the positions are interpolated, which the official code does not do.
            device: The device of the model; "auto" is the GPU if there is one.

        Raises:
            UserError: The weights are missing, or the model has no such block or is of another kind.
        """
        super().__init__(model, checkpoint, templates, contrast, temperature, "bilinear", normalise, input, device)
        check_tower(self.visual, "methods/saliency/chefer.py", resnet=False)
        blocks = len(self.visual.transformer.resblocks)
        if not -blocks <= start_layer < blocks:
            raise UserError(
                f"methods/saliency/chefer.py: found start_layer={start_layer} for model={model}; wanted one of its "
                f"{blocks} blocks, 0 to {blocks - 1}, or -1 for the last alone. Correct `start_layer`."
            )
        self.score: Score = score
        self.start = start_layer % blocks
        self.counted = list(self.visual.transformer.resblocks[self.start :])

    def kept(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n t c"]:
        """The input of the first block that counts."""
        return vit_tokens(self.visual, pixels, block=self.start)

    def evidence(self, kept: Float[Tensor, "n t c"], texts: Float[Tensor, "k m d"]) -> Float[Tensor, "k n gh gw"]:
        """The class token's relevance of each patch, 0 or more."""
        found = self._last(kept, texts) if len(self.counted) == 1 else self._several(kept, texts)
        # (k n t) without the class token's own relevance, its tokens laid out as the grid again.
        return found[..., 1:].unflatten(-1, grid_size(self.visual, self.input))

    def _last(self, before: Float[Tensor, "n t c"], texts: Float[Tensor, "k m d"]) -> Float[Tensor, "k n t"]:
        # dS/dA of the class token's row is the text's gradient times the values, (k, n, heads, tokens), which
        # `products` gives. The row of R = 1 + cam equals that of cam except for the class token's own place, which is
        # cut off.
        last = vit_attention(self.visual, before)
        return (last.weights * last.products(last.gradients(texts, self.score, self.scale))).clamp(min=0).mean(2)

    def _several(self, before: Float[Tensor, "n t c"], texts: Float[Tensor, "k m d"]) -> Float[Tensor, "k n t"]:
        heads, tokens = self.counted[0].attn.num_heads, before.shape[1]
        # Zeros are added to the attention of each block. The gradient by these zeros is the gradient by the attention
        # itself, later blocks included: (blocks, n, heads, t, t).
        nothing = before.new_zeros(len(self.counted), len(before), heads, tokens, tokens)

        def embedded(added: Tensor) -> tuple[Tensor, Tensor]:
            x, weights = before, []
            for block, one in zip(self.counted, added, strict=True):
                x, own = attended(block, x, one)
                weights.append(own)
            return self.visual.ln_post(x[:, 0]) @ self.visual.proj, torch.stack(weights)

        found, pull, weights = torch.func.vjp(embedded, nothing, has_aux=True)  # type: ignore[misc]

        def relevance(towards: Float[Tensor, "n d"]) -> Float[Tensor, "n t"]:
            # One pull gives the gradients of all blocks: (blocks, n, t, t) after the mean over heads. Then the class
            # token's row goes through the blocks from the last to the first.
            cams = (weights * pull(towards)[0]).clamp(min=0).mean(2)
            row = F.one_hot(before.new_zeros(len(before), dtype=torch.long), tokens).to(before.dtype)
            for cam in reversed(cams.unbind()):
                row = row + torch.einsum("nt,nts->ns", row, cam)
            return row

        each = torch.func.vmap(relevance, chunk_size=_TEXTS_AT_ONCE)
        rows: Tensor = each(score_gradient(found, texts, self.score, self.scale))
        return rows


def attended(
    block: ResidualAttentionBlock, x: Float[Tensor, "n t c"], added: Float[Tensor, "n h t t"]
) -> tuple[Float[Tensor, "n t c"], Float[Tensor, "n h t t"]]:
    """A block's output with something added to its attention, and that attention, which open_clip does not return."""
    query, key, value = (layer.heads(block.ln_1(x), block.attn.num_heads) for layer in projections(block))
    weights = torch.einsum("nhte,nhse->nhts", query, key).softmax(-1) + added
    found = torch.einsum("nhts,nhse->nhte", weights, value).transpose(1, 2).flatten(2)
    x = x + block.ls_1(block.attn.out_proj(found))
    return x + block.ls_2(block.mlp(block.ln_2(x))), weights
