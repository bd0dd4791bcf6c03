"""PhraseClick's network: DeepLabv3+ over an image and click maps, with a bottleneck that a phrase weighs by channel.

Paper: Ding et al., "PhraseClick: Toward Achieving Flexible Interactive Segmentation by Phrase and Click", ECCV 2020.
No code and no weights are public, so this is written anew from public descriptions:

- certain: clicks give the place, a phrase gives the kind of object, and each works alone; word vectors and a
  bidirectional LSTM read the phrase; a global average pool makes the visual vector; both decide an attention over
  channels;
- by a reader's notes: DeepLabv3+ with Euclidean distance maps; the pool is over the bottleneck; both vectors are
  concatenated and mapped to a number in [-1, 1] for each channel, by which the bottleneck is multiplied; the phrase's
  branch has a loss on the attributes in the phrase;
- ours: encoder and widths; word vectors are learned with the network, where the paper takes word2vec's; the attributes
  are the words of the training; without a phrase the bottleneck stays as it is; without a click its map is at its far
  value. The vector of all unknown words is zeros until a training has such words.

    image, clicks --encoder, ASPP--> bottleneck --mean--+--> weights in [-1, 1] --times bottleneck--> decoder --> logits
    phrase --vectors, LSTM------------------------------+
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from ..shared.channels import Channels
from ..shared.prompted_deeplab import Architecture

PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Numbers of no word, of a word outside the vocabulary, and of the vocabulary's first word."""

WORDS_READ = 20
"""Words of a phrase that the network reads; ours."""


@dataclass(frozen=True)
class PhraseArchitecture:
    """The arguments to build a checkpoint's network again; the checkpoint contains them.

    Attributes:
        channels: The layout of the input, without a saliency.
        words: The vocabulary of the training.
        encoder: An encoder of segmentation-models-pytorch.
        decoder_channels: Channels of the bottleneck and the decoder.
        output_stride: Stride of the encoder.
        word_width: Numbers of a word's vector.
        state: The size of the LSTM's state, each way.
    """

    channels: Channels
    words: tuple[str, ...]
    encoder: str = "resnet101"
    decoder_channels: int = 256
    output_stride: int = 16
    word_width: int = 300
    state: int = 256

    @property
    def deeplab(self) -> Architecture:
        """The network without the phrase's branch."""
        return Architecture(self.channels, self.encoder, self.decoder_channels, self.output_stride)

    def as_dict(self) -> dict[str, Any]:
        """The architecture as JSON values; `from_json` reads their text."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str) -> PhraseArchitecture:
        """The inverse of `as_dict`, from JSON text.

        Raises:
            KeyError, TypeError, ValueError: A value is missing, unknown or of the wrong type.
        """
        values = json.loads(text)
        known = {"channels": Channels.from_dict(values["channels"]), "words": tuple(values["words"])}
        return cls(**{**values, **known})


def numbered(text: str | None, words: Sequence[str]) -> list[int]:
    """A phrase's words as numbers, `WORDS_READ` of them, padded; without a text all are padding."""
    # With the vocabulary left, car: "left red car" is 2 1 3 0 0 ... (1: not in the vocabulary, 0: no word).
    places = {word: place for place, word in enumerate(words, FIRST)}
    read = [places.get(word, UNKNOWN) for word in split(text)]
    return read + [PADDING] * (WORDS_READ - len(read))


def split(text: str | None) -> list[str]:
    """A phrase's words, as many as the network reads."""
    return words_of(text)[:WORDS_READ]


def words_of(text: str | None) -> list[str]:
    """All words of a phrase: in lower case, without marks at their ends."""
    cleaned = (word.strip(".,;:!?\"'()") for word in (text or "").lower().split())
    return [word for word in cleaned if word]


class PhraseClickNetwork(nn.Module):
    """Image, clicks and words -> logits of background and object, and of which words the phrase has.

    Args:
        architecture: Its sizes.
        initialisation: Pretrained weights of the encoder ("imagenet"); None for none.
    """

    def __init__(self, architecture: PhraseArchitecture, initialisation: str | None = None) -> None:
        super().__init__()
        width, words = architecture.decoder_channels, len(architecture.words)
        self.deeplab = architecture.deeplab.network(initialisation)
        self.vectors = nn.Embedding(FIRST + words, architecture.word_width, padding_idx=PADDING)
        # Where the vocabulary holds all words of the training, this vector gets no gradient. Left at random, it would
        # be a word with a meaning of its own that nobody taught.
        with torch.no_grad():
            self.vectors.weight[UNKNOWN].zero_()
        self.lstm = nn.LSTM(architecture.word_width, architecture.state, batch_first=True, bidirectional=True)
        self.attention = nn.Sequential(
            nn.Linear(2 * architecture.state + width, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh()
        )
        self.attributes = nn.Linear(width, words)

    def forward(
        self, inputs: Float[Tensor, "n c h w"], words: Int[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n 2 h w"], Float[Tensor, "n words"]]:
        """The logits of the mask and of the words; without a phrase the latter have no meaning."""
        # DeepLabV3+'s own forward, taken apart, with a factor for each channel put in where its two halves meet. For an
        # input of 512 and stride 16:
        #
        #     features[-1]  1/16  --ASPP-->  bottleneck (n 256 32 32) --* factors--> up to 1/4 --+
        #     features[2]   1/4   --block1--------------------------------------> (n 48 128 128) -+--> block2 --> logits
        deeplab: Any = self.deeplab
        features = deeplab.encoder(inputs)
        decoder = deeplab.decoder
        bottleneck = decoder.aspp(features[-1])
        weights = self.attention(torch.cat([self.phrase(words), bottleneck.mean(dim=(2, 3))], dim=1))
        # A factor in [-1, 1] can switch off the channels of what the phrase does not mean, or turn their sign. An
        # example without a phrase multiplies by 1: the same weights are then a plain click network.
        kept = torch.where(said(words)[:, None], weights, torch.ones_like(weights))
        weighed = decoder.up(bottleneck * kept[..., None, None])
        fused = decoder.block2(torch.cat([weighed, decoder.block1(features[2])], dim=1))
        return deeplab.segmentation_head(fused), self.attributes(weights)

    def phrase(self, words: Int[Tensor, "n t"]) -> Float[Tensor, "n s"]:
        """The LSTM's last state forwards and its first one backwards."""
        # Packed sequences end at their own length, so the backward direction starts at the last word and not in the
        # padding. An LSTM cannot read 0 words: without a phrase it reads one padding vector, and `forward` ignores the
        # result.
        lengths = (words != PADDING).sum(dim=1).clamp(min=1).cpu()
        packed = pack_padded_sequence(self.vectors(words), lengths, batch_first=True, enforce_sorted=False)
        # (2 n s): the last state of each direction. The forward one has read the phrase up to its last word, the
        # backward one up to its first, so each has seen every word.
        # In float32 under autocast, too: many CPUs have no LSTM in bfloat16, and this one takes little time.
        with torch.autocast(words.device.type, enabled=False):
            _, (states, _) = self.lstm(packed)
        return torch.cat([states[0], states[1]], dim=1)


def said(words: Int[Tensor, "n t"]) -> Bool[Tensor, " n"]:
    """Whether each example has a phrase."""
    return (words != PADDING).any(dim=1)
