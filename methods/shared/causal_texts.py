"""A CLIP's causal text tower without padding, which computes a common beginning of several sentences only once.

open_clip pads every text to the context length, 77 tokens, of which "a photo of a dog." needs 7. In a causal tower a
token sees only the tokens before it, and a text's vector is read at its end mark. So everything after that mark can be
left out, and the tokens before the name can be computed once for all names:

    [start] a photo of a | dog . [end]          the start of a sentence: once, as keys and values of each layer
                         | hair drier . [end]   its end: for each name, attending to them

The vectors are those of `open_clip.CLIP.encode_text` up to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Int64
from torch import Tensor, nn

if TYPE_CHECKING:
    import open_clip

Past = Sequence[tuple[Float32[Tensor, "n heads t c"], Float32[Tensor, "n heads t c"]]]
"""The keys and values of earlier tokens, for each layer."""


@dataclass(frozen=True, eq=False)
class Starts:
    """The beginnings of sentences, computed once.

    Attributes:
        lengths: How many tokens each beginning has.
        past: Their keys and values, padded to the longest beginning.
    """

    lengths: Int64[Tensor, " n"]
    past: Past


def is_causal(module: open_clip.CLIP) -> bool:
    """Whether this file can compute a text tower: it is causal, of plain blocks, and read at the end mark."""
    from open_clip.transformer import ResidualAttentionBlock

    mask, blocks = module.attn_mask, module.transformer.resblocks
    # The mask is added to the scores of query and key: -inf above the diagonal hides all later tokens, 0 elsewhere
    # changes nothing. In a tower without it (SigLIP's) every token also sees the padding, which then cannot be left
    # out.
    return (
        mask is not None
        and torch.equal(mask, torch.full_like(mask, -torch.inf).triu(1))
        and module.text_pool_type in ("argmax", "eos")
        and all(type(block) is ResidualAttentionBlock for block in blocks)
    )


def ends_at(module: open_clip.CLIP, tokens: Int64[Tensor, "n context"]) -> list[int]:
    """The place of each text's end mark, at which its vector is read."""
    # `argmax` gives the first of the largest. The end mark has the highest number in CLIP's vocabulary and the padding
    # is 0, so the place of the largest token is the mark's ("argmax"). With "eos" the mark is looked for: in 0 0 0 1 0
    # ... the largest is the 1.
    at = (tokens == module.text_eos_id).int() if module.text_pool_type == "eos" else tokens
    return at.argmax(dim=-1).tolist()


def starts_of(module: open_clip.CLIP, tokens: Sequence[Sequence[int]]) -> Starts:
    """Compute the beginnings of sentences.

    Args:
        module: A CLIP for which `is_causal` holds.
        tokens: The tokens of each beginning, the start mark included.
    """
    padded = nn.utils.rnn.pad_sequence([torch.tensor(one) for one in tokens], batch_first=True)
    there = module.positional_embedding.device
    # Shorter beginnings are padded at their end. The pads do no harm: a token attends only to those before it, and
    # later steps read no further than each beginning's own length.
    length = padded.shape[1]
    x = module.token_embedding(padded.to(there)) + module.positional_embedding[:length]
    causal = torch.ones(length, length, dtype=torch.bool, device=there).tril()
    _, past = _through(module, x, causal, None)
    return Starts(torch.tensor([len(one) for one in tokens], device=there), past)


def vectors_of(
    module: open_clip.CLIP, starts: Starts, which: Int64[Tensor, " n"], tokens: Int64[Tensor, "n t"]
) -> Float32[Tensor, "n d"]:
    """Compute the rest of sentences, and read their vectors at the last token.

    Args:
        module: The CLIP of `starts`.
        starts: The beginnings.
        which: The number of each sentence's beginning.
        tokens: The tokens after it, up to the end mark, equally many for each sentence.
    """
    there, (count, length) = module.positional_embedding.device, tokens.shape
    which, before = which.to(there), starts.lengths[which.to(there)]
    steps = torch.arange(length, device=there)
    # The rest's positions go on where its beginning ends. After "[start] a photo of a", 5 tokens, the name's tokens
    # stand at the places 5, 6, ...: `before` (n 1) + `steps` (t) gives the places (n t).
    x = module.token_embedding(tokens.to(there)) + module.positional_embedding[before[:, None] + steps]
    # The mask (sentences, tokens, keys): each token sees its sentence's beginning and, of the sentence's other tokens,
    # those up to itself. A beginning of 2 tokens, padded to 3, and a rest of 3 tokens, where x is seen:
    #
    #            beginning   rest
    #    rest 1    x x .     x . .
    #    rest 2    x x .     x x .
    #    rest 3    x x .     x x x
    padded = torch.arange(starts.past[0][0].shape[2], device=there)
    earlier: Bool[Tensor, "n 1 t p"] = (padded < before[:, None])[:, None, None].expand(-1, -1, length, -1)
    own = (steps <= steps[:, None]).expand(count, 1, -1, -1)
    x, _ = _through(module, x, torch.cat([earlier, own], dim=-1), [(k[which], v[which]) for k, v in starts.past])
    return _projected(module, module.ln_final(x[:, -1]))


def _through(
    module: open_clip.CLIP, x: Float32[Tensor, "n t c"], seen: Bool[Tensor, "*n t s"], past: Past | None
) -> tuple[Float32[Tensor, "n t c"], Past]:
    """Run all layers; returns their output, and the keys and values of these tokens for each layer."""
    # The layers of open_clip's ResidualAttentionBlock, written out: its own forward takes no earlier keys and values.
    kept = []
    for number, block in enumerate(module.transformer.resblocks):
        # `in_proj_weight` has query, key and value below each other, (3c c): one product gives (n t 3c), which is cut
        # into three and each of these into heads, (n h t c/h). `scaled_dot_product_attention` divides by the root of
        # c/h itself.
        attention = block.attn
        projected = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (
            one.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for one in projected.chunk(3, dim=-1)
        )
        kept.append((key, value))
        if past is not None:
            key, value = (torch.cat(both, dim=2) for both in zip(past[number], (key, value), strict=True))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        x = x + block.ls_1(attention.out_proj(attended.transpose(1, 2).flatten(2)))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    return x, kept


def _projected(module: open_clip.CLIP, x: Float32[Tensor, "n c"]) -> Float32[Tensor, "n d"]:
    projection = module.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection
