"""Trains LAVT (methods/lavt) from scratch on an image, a phrase and the mask that the phrase means; there is no click.

Paper: Yang et al., CVPR 2022, https://arxiv.org/abs/2112.02244; as in its code cross-entropy of the two classes, the
object's pixels weighted 1.1 and the others 0.9, images squashed to a square, and no mirrored images, in which "left"
would be right. Not as there: neither half starts from pretrained weights, and colours are jittered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from harness.plugins.interfaces import Learner
from harness.plugins.registry import register_learner
from harness.structures import Instance, Said, Sample, UserError

from ..lavt.bert import HEAD_WIDTH, Bert, BertSizes
from ..lavt.checkpoint import TrainedHere
from ..lavt.lavt import squashed
from ..lavt.network import Architecture, LavtNetwork
from ..lavt.word_pieces import LENGTH, WordPieces, spelling
from .shared.augmentation import jittered, labels_at
from .shared.batch_norms import check_batch
from .shared.phrases import required_phrase

WHERE = "methods/learners/lavt.py"
CLASS_WEIGHTS = (0.9, 1.1)
"""The weights of background and object pixels in the loss, as the authors have them."""


class BothHalves(nn.Module):
    """The network and its reader, which are trained together."""

    def __init__(self, network: LavtNetwork, bert: Bert) -> None:
        super().__init__()
        self.network, self.bert = network, bert


@register_learner("lavt")
class LavtLearner(Learner):
    """LAVT of any size, with words of its own.

    Args:
        words: The words that it learns to read; any other word is spelled, each letter as a word piece.
        width: The channels of the Swin transformer's first stage.
        depths: The number of blocks in each of its four stages.
        heads: The number of attention heads in each stage.
        window: The side of an attention window, in tokens.
        reader_layers: The number of transformer layers of the reader.
        reader_width: How many numbers a word's embedding has; there is a head for every 64.
        size: The side of the square to which images are squashed, in pixels.
        jitter: The strength of the colour jitter; 0 for none, as in the paper.
    """

    def __init__(
        self,
        words: Annotated[Sequence[str], Field(min_length=1)],
        width: Annotated[int, Field(ge=1)] = 128,
        depths: tuple[int, int, int, int] = (2, 2, 18, 2),
        heads: tuple[int, int, int, int] = (4, 8, 16, 32),
        window: Annotated[int, Field(ge=1)] = 12,
        reader_layers: Annotated[int, Field(ge=1)] = 12,
        reader_width: Annotated[int, Field(ge=HEAD_WIDTH, multiple_of=HEAD_WIDTH)] = 768,
        size: Annotated[int, Field(ge=32, multiple_of=32)] = 480,
        jitter: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        vocabulary = spelling(tuple(words))
        # No text is longer than LENGTH, so the reader learns no further places. Four times the width is BERT's own
        # proportion.
        reader = BertSizes(len(vocabulary), LENGTH, reader_width, reader_layers, 4 * reader_width)
        sizes = Architecture(width, tuple(depths), tuple(heads), window, reader_width)
        self.about = TrainedHere(sizes, reader, vocabulary, size)
        self.pieces = WordPieces(vocabulary, "`words`")
        if never := [word for word in words if not self.pieces.reads_whole(word)]:
            raise UserError(
                f"{WHERE}: words: found {never[0]!r}; wanted single words, in lower case, without accents and marks: "
                "it reads phrases so, and would never find this one in them. Correct it."
            )
        self.network: BothHalves = BothHalves(LavtNetwork(sizes), Bert(reader))
        self.jitter = jitter

    def example(
        self, sample: Sample, instance: Instance, said: Said, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """The squashed image, the phrase's word pieces, and the mask at the image's new size.

        Raises:
            UserError: The instance has no words.
        """
        side = self.about.side
        ids, known = self.pieces([required_phrase(said, sample, instance, WHERE)])
        labels = np.asarray(instance.mask, np.uint8)
        return {
            "pixels": squashed(jittered(sample.image, rng, self.jitter), side),
            "ids": ids[0].numpy(),
            "known": known[0].numpy(),
            "target": labels_at(labels, (side, side)).astype(np.int64),
        }

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The weighted cross-entropy of background and object.

        Raises:
            UserError: The batch has one example, which has no variance for batch normalisation.
        """
        check_batch(self.network, len(batch["target"]), WHERE)
        network, bert = self.network.network, self.network.bert
        words = bert(batch["ids"], batch["known"])
        # A method calls `begin` once for all texts on an image; here every example has an image of its own.
        logits = network.finish(network.begin(batch["pixels"]), words, batch["known"])
        # torch divides the weighted sum by the sum of the weights, so the loss keeps its size; only the share of the
        # two classes changes, by 1.1 : 0.9.
        weights = torch.tensor(CLASS_WEIGHTS, device=logits.device)
        return F.cross_entropy(logits.float(), batch["target"], weight=weights)

    def metadata(self) -> dict[str, str]:
        """The sizes, the vocabulary and the square's side, as JSON."""
        return {"architecture": self.about.as_json()}
