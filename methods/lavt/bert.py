"""BERT, the text half of LAVT, by torch's own transformer layers.

Paper: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019,
https://arxiv.org/abs/1810.04805
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

# The weights do not show how many heads there are: one head of 768 numbers and twelve of 64 have the same shapes. All
# of BERT's published sizes have heads of 64. The norm's epsilon is BERT's as well; torch's default is 1e-5.
HEAD_WIDTH = 64
NORM_EPS = 1e-12


@dataclass(frozen=True)
class BertSizes:
    """The sizes of a BERT.

    Attributes:
        vocabulary: How many word pieces it knows.
        places: The most word pieces of a text.
        width: How many numbers an embedding has.
        layers: How many transformer layers it has.
        hidden: The width of a layer's feed-forward half.
    """

    vocabulary: int
    places: int
    width: int
    layers: int
    hidden: int

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> BertSizes:
        """The sizes that a BERT with these weights has, in the names of `Bert`.

        Raises:
            KeyError: One of the tensors that show the sizes is missing.
        """
        layers = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
        vocabulary, width = weights["pieces.weight"].shape
        return cls(
            vocabulary, weights["places.weight"].shape[0], width, layers, weights["layers.0.linear1.weight"].shape[0]
        )


class Bert(nn.Module):
    """Word pieces -> an embedding of each, which depends on all pieces of the text (the last hidden state).

    Args:
        sizes: The architecture.
    """

    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        self.pieces = nn.Embedding(sizes.vocabulary, sizes.width)
        self.places = nn.Embedding(sizes.places, sizes.width)
        self.segments = nn.Embedding(2, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, NORM_EPS)
        # torch's layers normalise after each half by default, as BERT does. The 0.0 is the dropout.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                *(sizes.width, sizes.width // HEAD_WIDTH, sizes.hidden, 0.0, "gelu", NORM_EPS), batch_first=True
            )
            for _ in range(sizes.layers)
        )

    def forward(self, ids: Int64[Tensor, "b t"], known: Float[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """The embeddings of the word pieces; those of padding (`known` 0) must not be used."""
        # Ids (b t) become the sum of three embeddings (b t d): of the piece, of its place in the text, and of the
        # segment, which is always the first. The layers then mix the pieces, without the padding.
        places = torch.arange(ids.shape[1], device=ids.device)
        found = self.norm(self.pieces(ids) + self.places(places) + self.segments.weight[0])
        # torch's mask is True where a token must not be looked at, the opposite of `known`. The padding's own
        # embeddings are computed, too; `Fusion` leaves them out once more.
        for layer in self.layers:
            found = layer(found, src_key_padding_mask=known == 0)
        return found
