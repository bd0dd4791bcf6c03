"""A text's gradients at the last attention of a CLIP's image tower: they show what the embedding takes from each cell.

At its end a CLIP reads the image with a single query (a ViT's class token, or a ModifiedResNet's mean over all cells)
that attends to all tokens. The result, `attended`, is one vector, which goes through the last few layers:

    tokens --key, value--> attended = weights x value --readout--> image embedding --score--> a number for each text

So a text's gradient reaches the cells through the vector `attended` only. That gradient takes a backward pass through
the readout, for one token, and is computed for all texts together. The gradients of the attention weights and of the
tokens then follow by formulas, and no backward pass goes through the image tower.

Example, ViT-B/16 at 224: the tower has 12 blocks of 197 tokens. For a text, one token goes backward through the last
block's MLP and two projections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from harness.structures import UserError

from .clip_vit import resized_positions

if TYPE_CHECKING:
    from open_clip.modified_resnet import AttentionPool2d
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

Score = Literal["cosine", "dot"]
"""The score that is differentiated. "cosine": CLIP's logit, exp(logit_scale) times the cosine of image and text. "dot":
the product of the image embedding, which is not normalised, with the text's unit vector."""


@dataclass(frozen=True, eq=False)
class Projection:
    """A linear layer of an attention, of all heads together.

    Attributes:
        weight: (d_out, d_in).
        bias: (d_out).
    """

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"]

    def heads(self, tokens: Float[Tensor, "n t in"], count: int) -> Float[Tensor, "n h t e"]:
        """The layer's output for each token, split into `count` attention heads."""
        return F.linear(tokens, self.weight, self.bias).unflatten(-1, (count, -1)).transpose(1, 2)

    def back(self, gradient: Float[Tensor, "*n h e"]) -> Float[Tensor, "*n in"]:
        """The gradient of the layer's input, computed from the gradient of its output."""
        # y = W x + b has the gradient W^T dy by x. With vectors as rows, as everywhere here, that is dy W; the bias
        # plays no role. The heads' parts (h e) are joined first, since W mixes all of them.
        return gradient.flatten(-2) @ self.weight


@dataclass(frozen=True, eq=False)
class LastAttention:
    """The last attention of an image tower, on n images: h heads of e channels, one query, t tokens.

    Attributes:
        tokens: The tokens from which keys and values are made; the first is the query's own.
        query: Already divided by sqrt(e).
        key: The key of every token.
        value: The value of every token.
        weights: The attention weights: the softmax of the products of query and keys.
        of_query: The layer that makes the query, with its scale.
        of_key: The layer that makes the keys.
        of_value: The layer that makes the values.
        readout: From `attended`, (n, h * e), to the image embedding, (n, d); each row by itself.
    """

    tokens: Float[Tensor, "n t c"]
    query: Float[Tensor, "n h e"]
    key: Float[Tensor, "n h t e"]
    value: Float[Tensor, "n h t e"]
    weights: Float[Tensor, "n h t"]
    of_query: Projection
    of_key: Projection
    of_value: Projection
    readout: Callable[[Tensor], Tensor]

    @property
    def attended(self) -> Float[Tensor, "n he"]:
        """The attention's result, all heads together."""
        return torch.einsum("nht,nhte->nhe", self.weights, self.value).flatten(1)

    def gradients(self, texts: Float[Tensor, "k m d"], score: Score, scale: float | Tensor) -> Float[Tensor, "k n h e"]:
        """Each text's gradient of `attended`.

        Args:
            texts: Unit vectors, for each image (m = n) or the same for all (m = 1).
            score: The score that is differentiated.
            scale: exp(logit_scale), for the cosine.
        """
        # One forward pass through the readout, (n he) -> (n d), then a backward pass for each text, (k n d) -> (k n
        # he): `vjp` keeps the forward pass's results, and `vmap` runs the backward passes of all texts together.
        embedded, pull = torch.func.vjp(self.readout, self.attended)  # type: ignore[misc]
        towards = score_gradient(embedded, texts, score, scale)
        back: Tensor = torch.func.vmap(lambda one: pull(one)[0])(towards)
        return back.unflatten(-1, self.query.shape[1:])

    def products(self, gradients: Float[Tensor, "k n h e"]) -> Float[Tensor, "k n h t"]:
        """Each text's gradient of the attention weights: the gain of its score by more attention to a token."""
        # attended = sum over tokens of weight * value, so the gradient by one weight is the gradient of `attended`,
        # (k n h e), times that token's value, (n h t e): one number for each head and token.
        return torch.einsum("knhe,nhte->knht", gradients, self.value)


def score_gradient(
    embedded: Float[Tensor, "n d"], texts: Float[Tensor, "k m d"], score: Score, scale: float | Tensor
) -> Float[Tensor, "k n d"]:
    """The gradient of every text's score by the image embedding.

    The gradient of cos(i, t) = i . t / |i| is (t - cos(i, t) i / |i|) / |i|: the part of t at a right angle to i.
    """
    if score == "dot":
        return texts.expand(-1, len(embedded), -1)
    # With i = (2, 0) and t = (0.6, 0.8) the cosine is 0.6, and the gradient ((0.6, 0.8) - 0.6 (1, 0)) / 2 = (0, 0.4): a
    # step along i changes only its length, which the cosine does not see.
    length = embedded.norm(dim=-1, keepdim=True)
    unit = embedded / length
    return scale * (texts - (texts * unit).sum(-1, keepdim=True) * unit) / length


def vit_attention(visual: VisionTransformer, before: Float[Tensor, "n t c"]) -> LastAttention:
    """A ViT's last attention, from the input of its last block; the query is the class token's."""
    block = visual.transformer.resblocks[-1]
    of_query, of_key, of_value = projections(block)
    tokens, heads = block.ln_1(before), block.attn.num_heads
    query = of_query.heads(tokens[:, :1], heads)[:, :, 0]

    # Only the class token's row goes on. The residual adds its own input, and the MLP works on each token by itself: no
    # other token of the last block's output reaches the embedding, and so none has a gradient after the attention.
    def readout(attended: Float[Tensor, "n c"]) -> Float[Tensor, "n d"]:
        token = before[:, 0] + block.ls_1(block.attn.out_proj(attended))
        token = token + block.ls_2(block.mlp(block.ln_2(token)))
        return visual.ln_post(token) @ visual.proj

    return _attention(tokens, query, (of_query, of_key, of_value), heads, readout)


def resnet_attention(pool: AttentionPool2d, cells: Float[Tensor, "n c gh gw"]) -> LastAttention:
    """A ModifiedResNet's attention pool, from the cells of its last stage; the query is made from their mean."""
    # (n c gh gw) -> (n gh*gw c), then the cells' mean in front as token 0, the query's. With its 7 x 7 cells and the
    # mean an RN50 at 224 pixels has 50 tokens, one for each learned position.
    flat = cells.flatten(2).transpose(1, 2)
    tokens = torch.cat([flat.mean(1, keepdim=True), flat], dim=1)
    tokens = tokens + pool_positions(pool, (cells.shape[2], cells.shape[3]))
    # The attention divides the finished query, W x + b, by the root of a head's width: so weight and bias are scaled
    # alike.
    scale = (tokens.shape[-1] // pool.num_heads) ** -0.5
    of_query = Projection(pool.q_proj.weight * scale, pool.q_proj.bias * scale)
    others = (Projection(layer.weight, layer.bias) for layer in (pool.k_proj, pool.v_proj))
    query = of_query.heads(tokens[:, :1], pool.num_heads)[:, :, 0]
    return _attention(tokens, query, (of_query, *others), pool.num_heads, pool.c_proj)


def _attention(
    tokens: Float[Tensor, "n t c"],
    query: Float[Tensor, "n h e"],
    layers: tuple[Projection, ...],
    heads: int,
    readout: Callable[[Tensor], Tensor],
) -> LastAttention:
    of_query, of_key, of_value = layers
    key, value = of_key.heads(tokens, heads), of_value.heads(tokens, heads)
    weights = torch.einsum("nhe,nhte->nht", query, key).softmax(-1)
    return LastAttention(tokens, query, key, value, weights, of_query, of_key, of_value, readout)


def projections(block: ResidualAttentionBlock) -> tuple[Projection, Projection, Projection]:
    """A block's layers for query (with its scale), key and value, which are stored as one."""
    # torch keeps the three layers below each other in the order query, key, value: (3c c) -> 3 x (c c).
    weights, biases = block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3)
    scale = block.attn.head_dim**-0.5
    query, key, value = (Projection(weight, bias) for weight, bias in zip(weights, biases, strict=True))
    return Projection(query.weight * scale, query.bias * scale), key, value


def pool_positions(pool: AttentionPool2d, grid: tuple[int, int]) -> Float[Tensor, "tokens c"]:
    """A ModifiedResNet's positions, the mean's first, resized bicubically to a grid."""
    side = round((len(pool.positional_embedding) - 1) ** 0.5)
    return resized_positions(pool.positional_embedding, (side, side), grid)


def check_tower(visual: nn.Module, who: str, *, resnet: bool) -> None:
    """Refuse an image tower whose embedding is made in another way.

    Args:
        visual: `open_clip.CLIP.visual`.
        who: The file that needs the tower, for the message: "methods/saliency/chefer.py".
        resnet: Whether a ModifiedResNet is accepted, too.

    Raises:
        UserError: It is no ViT that reads the image by its class token, and no accepted ModifiedResNet.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    tower: Any = visual
    class_token = (
        isinstance(visual, VisionTransformer)
        and tower.attn_pool is None
        and tower.pool_type == "tok"
        and isinstance(tower.transformer.resblocks[-1], ResidualAttentionBlock)
    )
    if class_token or (resnet and isinstance(visual, ModifiedResNet)):
        return
    pooled = f" with pool_type={tower.pool_type}" if isinstance(visual, VisionTransformer) else ""
    wanted = "a plain ViT that reads the image by its class token" + (", or CLIP's ResNet" if resnet else "")
    example = "ViT-B-16-quickgelu or RN50-quickgelu" if resnet else "ViT-B-16-quickgelu"
    raise UserError(
        f"{who}: found an image tower of the type {type(visual).__name__}{pooled}, for which this saliency is not "
        f"defined; wanted {wanted}. Choose another `model`, such as {example}."
    )
