"""Grad-CAM of a CLIP's score of a text: finds the places of features that raise the score.

Paper: Selvaraju et al., "Grad-CAM", ICCV 2017, https://arxiv.org/abs/1610.02391.
It has no settings for CLIP; these come from

- ModifiedResNet: https://github.com/kevinzakka/clip_playground at db473d0, MIT (`layer4`, `score: dot`);
- ViT: https://github.com/jacobgil/pytorch-grad-cam at 084273b, MIT, usage_examples/clip_example.py and vit_example.py
  (`ln_1`), with CLIP's own normalisation and score in place of that example's 0.5 and softmax over its labels;
- `attention`: the baseline of Chefer et al., ICCV 2021, https://github.com/hila-chefer/Transformer-MM-Explainability at
  58eaea8 (DETR/modules/ExplanationGenerator.py, `gradcam`).

Each channel of a layer is weighted by the mean of the score's gradient over the cells; a cell's evidence is the
weighted sum of its channels. With two channels and three cells:

    gradient, cells 1 2 3     mean      features, cells 1 2 3     evidence
    channel a   0.2 0.4 0.0    0.2        1   2   0                0.2 * 1 - 0.1 * 3 = -0.1,  0.4,  -0.2
    channel b  -0.1 0.0 -0.2  -0.1        3   0   2

The official codes run a backward pass through the image tower for each text. Here these means follow from the gradient
of one token (`class_token.py`), except for a ResNet's earlier stages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from harness.plugins.registry import register_saliency
from harness.structures import UserError

from ..shared.class_token import (
    LastAttention,
    Score,
    check_tower,
    resnet_attention,
    score_gradient,
    vit_attention,
)
from ..shared.clip_saliency import ClipSaliency, Contrast, Interpolation
from ..shared.clip_texts import Templates
from ..shared.clip_vit import grid_size, vit_tokens

Layer = Literal["auto", "ln_1", "attention", "layer4", "layer3", "layer2", "layer1"]
VIT_LAYERS, RESNET_LAYERS = ("ln_1", "attention"), ("layer4", "layer3", "layer2", "layer1")

_TEXTS_AT_ONCE = 8
"""How many texts go backward through a ResNet's stages together: memory is texts x cells x channels."""


@register_saliency("gradcam")
class Gradcam(ClipSaliency):
    """The places of the features that raise CLIP's score of a text."""

    def __init__(
        self,
        model: str = "ViT-B-16-quickgelu",
        checkpoint: Path | None = None,
        layer: Layer = "auto",
        score: Literal["auto", "cosine", "dot"] = "auto",
        templates: Templates = "none",
        contrast: Contrast = "none",
        temperature: float = 1.0,
        interpolation: Interpolation = "bilinear",
        normalise: Literal["clip", "imagenet"] = "clip",
        input: Literal["own"] | int = "own",
        device: str = "auto",
    ) -> None:
        """Load the model.

        Args:
            model: An open_clip name or the path of a config, of a ViT that reads the image by its class token or of a
                ModifiedResNet; OpenAI's weights need a "-quickgelu" one.
            checkpoint: The weights (`harness.methods.shared.open_clip_model.load_clip`).
            layer: The layer whose channels are used: for a ViT "ln_1", the norm before its last attention, or that
                "attention", whose heads are the channels; for a ResNet a stage. "auto": "ln_1" or "layer4". After a
                ViT's last attention only the class token has a gradient, so no later layer will do.
            score: The score that is differentiated (`harness.methods.shared.class_token.Score`); "auto": "dot" for a
                ResNet, "cosine" for a ViT, as in the official codes.
            templates: "none": the text as it is, as in the official codes; "plain": "a photo of a {}."; "published":
                MaskCLIP's 85, averaged.
            contrast: "none", as in the official codes; "softmax": the text's share among a vocabulary's names
                (`ClipSaliency`).
            temperature: The temperature of that softmax; smaller is sharper.
            interpolation: The interpolation of cells to pixels; the ResNet's code uses "bicubic", which undershoots.
            normalise: The mean and standard deviation for pixels: CLIP's own or ImageNet's.
            input: The whole image is squeezed to a square of this side, in pixels; "own" is the size that the model was
                trained with. For other sizes the positions are interpolated, which no official code does.
            device: The device of the model; "auto" is the GPU if there is one.

        Raises:
            UserError: The weights are missing, or the model has no such layer or is of another kind.
        """
        from open_clip.modified_resnet import ModifiedResNet

        super().__init__(model, checkpoint, templates, contrast, temperature, interpolation, normalise, input, device)
        check_tower(self.visual, "methods/saliency/gradcam.py", resnet=True)
        self.resnet = isinstance(self.visual, ModifiedResNet)
        layers = RESNET_LAYERS if self.resnet else VIT_LAYERS
        if layer not in ("auto", *layers):
            raise UserError(
                f"methods/saliency/gradcam.py: found layer={layer} for model={model}; wanted one of its "
                f"{'stages' if self.resnet else 'layers'}: {', '.join(layers)}, or auto. Correct `layer`."
            )
        self.layer = layers[0] if layer == "auto" else layer
        self.score: Score = ("dot" if self.resnet else "cosine") if score == "auto" else score

    def kept(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n ..."]:
        """The input of a ViT's last block, or the cells of a ResNet's stage."""
        if not self.resnet:
            return vit_tokens(self.visual, pixels)
        for name in ("stem", "layer1", "layer2", "layer3", "layer4"):
            pixels = getattr(self.visual, name)(pixels)
            if name == self.layer:
                break
        return pixels

    def evidence(self, kept: Float[Tensor, "n ..."], texts: Float[Tensor, "k m d"]) -> Float[Tensor, "k n gh gw"]:
        """The weighted sum of each cell's channels."""
        if not self.resnet:
            last = vit_attention(self.visual, kept)
            of_layer = over_heads if self.layer == "attention" else over_tokens
            found = of_layer(last, last.gradients(texts, self.score, self.scale))
            return found.unflatten(-1, grid_size(self.visual, self.input))
        weights = self._layer4(kept, texts) if self.layer == "layer4" else self._earlier(kept, texts)
        return torch.einsum("knc,nchw->knhw", weights, kept)

    def _layer4(self, cells: Float[Tensor, "n c gh gw"], texts: Float[Tensor, "k m d"]) -> Float[Tensor, "k n c"]:
        last = resnet_attention(self.visual.attnpool, cells)
        return mean_of_cells(last, last.gradients(texts, self.score, self.scale))

    def _earlier(self, cells: Float[Tensor, "n c gh gw"], texts: Float[Tensor, "k m d"]) -> Float[Tensor, "k n c"]:
        """The mean gradients of an earlier stage, backward through the later ones."""
        # RESNET_LAYERS begins with the last stage. After "layer2" come layer4 and layer3 in this order, so they are run
        # in reverse.
        later = [getattr(self.visual, name) for name in RESNET_LAYERS[: RESNET_LAYERS.index(self.layer)]]

        def embedded(x: Any) -> Tensor:
            for stage in reversed(later):
                x = stage(x)
            last = resnet_attention(self.visual.attnpool, x)
            return last.readout(last.attended)

        found, pull = torch.func.vjp(embedded, cells)  # type: ignore[misc]
        towards = score_gradient(found, texts, self.score, self.scale)
        back = torch.func.vmap(lambda one: pull(one)[0].mean((-2, -1)), chunk_size=_TEXTS_AT_ONCE)
        weights: Tensor = back(towards)
        return weights


def over_tokens(last: LastAttention, gradients: Float[Tensor, "k n h e"]) -> Float[Tensor, "k n cells"]:
    """Grad-CAM of the tokens that a ViT's last attention reads, the class token left out.

    A token j changes the score in two ways: by its value, with the gradient A_j g, and by its key, with the gradient
    d_j q, where d_j = A_j (g.v_j - sum over i of A_i g.v_i) is the softmax's gradient. (A: attention weights, g: the
    text's gradient of `attended`, q: the query, v: the values.) The layers of keys and values are linear, so the mean
    over all cells may be taken before it goes back through them: one vector instead of one for each cell.
    """
    # `softmax` is d of the docstring, (k n h t). The class token is left out of both means, since Grad-CAM averages
    # over cells; a weight and a mean of one head is a number (k n h 1), which scales the query or the gradient, (h e).
    products = last.products(gradients)
    softmax = last.weights * (products - (last.weights * products).sum(-1, keepdim=True))
    by_key = last.of_key.back(softmax[..., 1:].mean(-1)[..., None] * last.query)
    by_value = last.of_value.back(last.weights[..., 1:].mean(-1)[..., None] * gradients)
    return torch.einsum("knc,ntc->knt", by_key + by_value, last.tokens[:, 1:])


def over_heads(last: LastAttention, gradients: Float[Tensor, "k n h e"]) -> Float[Tensor, "k n cells"]:
    """Grad-CAM whose channels are the heads of the last attention.

    The official code takes the mean gradient over all t x t weights. Only the class token's row has a gradient other
    than 0, so its sum is divided by t * t.
    """
    tokens = last.weights.shape[-1]
    of_head = last.products(gradients).sum(-1) / tokens**2
    return torch.einsum("knh,nht->knt", of_head, last.weights)[..., 1:] / last.weights.shape[1]


def mean_of_cells(last: LastAttention, gradients: Float[Tensor, "k n h e"]) -> Float[Tensor, "k n c"]:
    """The mean gradient over the cells that an attention pool reads, whose query is the cells' mean.

    The query's token is the cells' mean, so its gradient is shared out to the cells: the sum over cells becomes a sum
    over all tokens. In that sum the attention weights add up to 1, so the values contribute just g; and the softmax's
    gradients add up to 0, so the keys contribute nothing. The query's own part is left.
    """
    # From S by the weights (`products`, k n h t) to S by the scores before the softmax, and from there to the query: a
    # score is query . key, so each head's gradient is the sum of the keys, weighted by `softmax`: (k n h e), then
    # (k n c).
    products = last.products(gradients)
    softmax = last.weights * (products - (last.weights * products).sum(-1, keepdim=True))
    by_query = last.of_query.back(torch.einsum("knht,nhte->knhe", softmax, last.key))
    return (last.of_value.back(gradients) + by_query) / (last.tokens.shape[1] - 1)
