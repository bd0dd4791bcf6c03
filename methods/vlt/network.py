"""VLT's network: queries are made from an image and a sentence, and a transformer looks them up in the image.

Paper: Ding et al., "Vision-Language Transformer and Query Generation for Referring Segmentation", ICCV 2021,
https://arxiv.org/abs/2108.05565
Code: https://github.com/henghuiding/Vision-Language-Transformer at 9b24015, MIT, on Keras 2.3.1; this is a rewrite in
torch that takes the same weights.

    image --Darknet-53--> three maps --times the sentence--+--> 16 query maps --weigh the words--> 16 queries --+
    words --two GRUs----> words, and the sentence          +--> tokens --2 encoder layers--> 2 decoder layers <-+
                                                                                                    |
    logits of 208 x 208 <-- 16 maps of 26 x 26 <-- each answer, times how sure its query is <-------+

Layers are named by the numbers that Keras gave them, in the order of their creation: `convs["59"]` is conv2d_59. A few
choices of Keras and of the packages around it change every pixel, so they are kept: batch norm adds 1e-3 to the
variance, the GRU resets its state before the product, each projection of an attention ends with a ReLU, and in the
decoder a query attends only to itself and to earlier queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

NORM_EPS = 1e-3
LAYER_NORM_EPS = 1e-14
LEAK = 0.1
HEADS = 8
LAYERS = 2
STAGES = (1, 2, 8, 8, 4)
"""Residual blocks in each stage of Darknet-53."""

FIRST_FREE = 59
"""The number of the first convolution behind Darknet and its six further ones."""

BIASED = (73, 80)
"""The convolutions with a bias and without a norm and a ReLU."""

COORDINATES = 6
"""Channels with each place's coordinates: x three times, y three times, from -1 to 1."""


@dataclass(frozen=True)
class Sizes:
    """The widths of a network.

    Attributes:
        convs: Output channels of each convolution, by its number.
        dense: Output width of each dense layer, by its number.
        word: Numbers of a word vector.
        rnn: State of a GRU.
        width: The transformer's width.
    """

    convs: Mapping[int, int]
    dense: Mapping[int, int]
    word: int
    rnn: int
    width: int

    @property
    def side(self) -> int:
        """The side of a query map, in tokens: dense layer 12 gives one number for each of side x side places."""
        return int(self.dense[12] ** 0.5)

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> Sizes:
        """The widths of a network with these weights, in the names of `VltNetwork`.

        Raises:
            KeyError: One of the layers is missing.
        """
        convs = {number: weights[f"convs.{number}.conv.weight"].shape[0] for number in range(1, 81)}
        dense = {number: weights[f"dense.{number}.weight"].shape[0] for number in range(1, 13)}
        word, rnn = weights["words.there.kernel"].shape[0], weights["words.there.recurrent"].shape[0]
        return cls(convs, dense, word, rnn, weights["encoder.0.attention.query.weight"].shape[0])


@dataclass(frozen=True, eq=False)
class Seen:
    """The network's features of an image, without a text: maps of 13 x 13, 26 x 26 and 26 x 26 at 416 pixels."""

    coarse: Float[Tensor, "b c h w"]
    middle: Float[Tensor, "b _c2 _h2 _w2"]
    fine: Float[Tensor, "b _c3 _h2 _w2"]


class VltNetwork(nn.Module):
    """Pixels and word vectors -> logits of the object, at half the pixels' side.

    Args:
        sizes: Its widths.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        out, width = sizes.convs, sizes.width
        self.side = sizes.side
        self.convs = nn.ModuleDict()
        for number, (inputs, kernel, stride) in wiring(out).items():
            self.convs[str(number)] = Conv(inputs, out[number], kernel, stride, plain=number in BIASED)
        self.words = Words(sizes.word, sizes.rnn)
        self.sentence_norm = nn.BatchNorm1d(sizes.dense[2], NORM_EPS)
        self.product_norm = nn.BatchNorm2d(out[60], NORM_EPS)
        self.dense = nn.ModuleDict(
            {str(number): nn.Linear(inputs, sizes.dense[number]) for number, inputs in dense_inputs(sizes).items()}
        )
        self.asking = Attention(width)
        self.encoder = nn.ModuleList(Layer(width) for _ in range(LAYERS))
        self.decoder = nn.ModuleList(Layer(width, reads=True) for _ in range(LAYERS))

    def see(self, pixels: Float[Tensor, "b 3 h w"]) -> Seen:
        """The part that needs no text: Darknet-53, and the first convolution of each of its three maps."""
        found = self._conv(pixels, 1)
        # Each stage is one convolution that halves the map, then pairs whose output is added to their input:
        #
        #    stage    halves    pairs              next
        #    1        2         3-4                5
        #    2        5         6-7, 8-9           10
        #    3        10        11-12 ... 25-26    27
        #    4        27        28-29 ... 42-43    44
        #    5        44        45-46 ... 51-52    53
        number, maps = 2, []
        for blocks in STAGES:
            found = self._conv(found, number)
            for block in range(blocks):
                found = found + self._conv(found, number + 1 + 2 * block, number + 2 + 2 * block)
            number += 1 + 2 * blocks
            maps.append(found)
        last = self._conv(found, *range(number, FIRST_FREE))
        fine = self._conv(F.avg_pool2d(maps[2], 2), 63)
        return Seen(last + self._conv(last, 59, 60), self._conv(maps[3], 61), fine)

    def hear(self, vectors: Float[Tensor, "b t w"]) -> tuple[Float[Tensor, "b t r"], Float[Tensor, "b c"]]:
        """The part that needs no image: each word in its sentence, and the sentence as a whole."""
        words = self.words(vectors)
        # Each channel of the sentence is a weighted mean over the words, (b t r) -> (b r), with a softmax over the
        # words. Padding takes part, as in training.
        weights = self.dense["1"](words).tanh().softmax(dim=1)
        whole = self.dense["2"]((words * weights).sum(dim=1))
        return words, F.leaky_relu(self.sentence_norm(whole), LEAK)

    def answer(
        self, seen: Seen, words: Float[Tensor, "b t r"], sentence: Float[Tensor, "b c"]
    ) -> Float[Tensor, "b gh gw"]:
        """The logits of the object."""
        maps, tokens = self.fused(seen, sentence)
        queries = self.queries(maps, words)
        known = located(tokens)
        for layer in self.encoder:
            known = layer(known)
        answers = located(queries)
        for layer in self.decoder:
            answers = layer(answers, known)
        return self.drawn(queries, answers)

    def fused(
        self, seen: Seen, sentence: Float[Tensor, "b c"]
    ) -> tuple[Float[Tensor, "b q h w"], Float[Tensor, "b n d"]]:
        """The features for the query maps, and the image's tokens for the encoder; both depend on the sentence."""
        # The sentence (b c) multiplies every place of the coarsest map (b c 13 13): channels that fit the words grow.
        # The product is enlarged to 26 x 26 and joined with the finer maps. `tokens` is (b 676 d), row by row.
        product = F.leaky_relu(self.product_norm(seen.coarse * sentence[..., None, None]), LEAK)
        large = doubled(product)
        middle = self._conv(torch.cat([large, seen.middle], 1), 62)
        maps = self._conv(torch.cat([middle, seen.fine], 1), 64)
        both = self._conv(torch.cat([self._conv(maps, 65, 66), middle], 1), 67)
        tokens = self._conv(torch.cat([large, both], 1), 68, 69)
        return maps, tokens.flatten(2).transpose(1, 2)

    def queries(self, maps: Float[Tensor, "b q h w"], words: Float[Tensor, "b t r"]) -> Float[Tensor, "b k d"]:
        """16 queries: each is made from a map of the image, and attends to the words."""
        # `_conv` gives 16 maps (b 16 26 26). Flattened, each is a vector of 676 numbers, which dense layer 3 turns into
        # a query of width d: (b 16 d). The result of each query's attention to the words is then added to it.
        placed = torch.cat([maps, coordinates(maps)], dim=1)
        seen = self.dense["3"](self._conv(placed, 70, 71, 72, 73).flatten(2)).relu()
        said = located(self.dense["4"](words).relu())
        query, key, value = (
            self.dense[number](one).relu() for number, one in (("5", located(seen)), ("6", said), ("7", said))
        )
        return seen + self.asking(query, key, value)

    def drawn(self, queries: Float[Tensor, "b k d"], answers: Float[Tensor, "b k d"]) -> Float[Tensor, "b gh gw"]:
        """The answers as maps, each times the confidence in its query (the paper's query balance), enlarged."""
        # `sure` is (b 16 1), from each query and its answer side by side. Dense layer 12 turns an answer (d) into a map
        # of 26 x 26; three doublings give 208 x 208.
        asked, given = self.dense["8"](queries).relu(), self.dense["9"](answers).relu()
        sure = self.dense["11"](self.dense["10"](torch.cat([given, asked], 2)).relu()).sigmoid()
        maps = self.dense["12"](sure * answers).relu().unflatten(2, (self.side, self.side))
        found = doubled(self._conv(maps, 74, 75, 76))
        found = doubled(self._conv(found, 77))
        found = doubled(self._conv(found, 78))
        return self._conv(found, 79, 80)[:, 0]

    def _conv(self, found: Float[Tensor, "b _c _h _w"], *numbers: int) -> Float[Tensor, "b _c2 _h2 _w2"]:
        for number in numbers:
            found = self.convs[str(number)](found)
        return found


def wiring(out: Mapping[int, int]) -> dict[int, tuple[int, int, int]]:
    """The input of each convolution: its number -> input channels, the kernel's side, the stride."""
    # The numbers below follow `see`, `fused`, `queries` and `drawn`: 59 to 60 the coarse map, 61 the middle one, 63 the
    # fine one; 62 and 64 to 69 `fused`; 70 to 73 `queries`; 74 to 80 `drawn`. A sum is a concatenation of inputs.
    found = {1: (3, 3, 1)}
    number = 2
    for blocks in STAGES:
        found[number] = (out[number - 1], 3, 2)
        for block in range(blocks):
            narrow = number + 1 + 2 * block
            found |= {narrow: (out[narrow - 1], 1, 1), narrow + 1: (out[narrow], 3, 1)}
        number += 1 + 2 * blocks
    found |= {one: (out[one - 1], 1 if (one - number) % 2 == 0 else 3, 1) for one in range(number, FIRST_FREE)}
    product = out[60]
    found |= {59: (out[58], 1, 1), 60: (out[59], 3, 1), 61: (out[43], 1, 1), 62: (product + out[61], 1, 1)}
    found |= {63: (out[26], 1, 1), 64: (out[62] + out[63], 1, 1), 65: (out[64], 1, 1), 66: (out[65], 3, 1)}
    found |= {67: (out[66] + out[62], 1, 1), 68: (product + out[67], 1, 1), 69: (out[68], 1, 1)}
    found |= {70: (out[64] + COORDINATES, 3, 1), 71: (out[70], 3, 1), 72: (out[71], 3, 1), 73: (out[72], 1, 1)}
    return found | {74: (out[73], 3, 1)} | {number: (out[number - 1], 3, 1) for number in range(75, 81)}


def dense_inputs(sizes: Sizes) -> dict[int, int]:
    """The input width of each dense layer, by its number."""
    out, width = sizes.dense, sizes.width
    return {1: sizes.rnn, 2: sizes.rnn, 3: sizes.side**2, 4: sizes.rnn, 5: out[3], 6: out[4], 7: out[4]} | dict(
        zip(range(8, 13), (out[3], width, out[9] + out[8], out[10], width), strict=True)
    )


class Conv(nn.Module):
    """A convolution, a batch norm and a leaky ReLU; with `plain` only a convolution with a bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, plain: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=0 if stride > 1 else kernel // 2, bias=plain)
        self.norm = None if plain else nn.BatchNorm2d(outputs, NORM_EPS)
        self.stride = stride

    def forward(self, found: Float[Tensor, "b _c _h _w"]) -> Float[Tensor, "b _c2 _h2 _w2"]:
        """The layer's map. With a stride of 2 only the top and the left are padded, by one, as in the Keras code."""
        found = self.conv(F.pad(found, (1, 0, 1, 0)) if self.stride > 1 else found)
        return found if self.norm is None else F.leaky_relu(self.norm(found), LEAK)


class Words(nn.Module):
    """A GRU from the first word to the last and one the other way, added."""

    def __init__(self, word: int, state: int) -> None:
        super().__init__()
        self.there, self.back = Gru(word, state), Gru(word, state)

    def forward(self, vectors: Float[Tensor, "b t w"]) -> Float[Tensor, "b t r"]:
        """The sum of both states at each word; the second GRU reads the words backwards, and its states are turned."""
        return self.there(vectors) + self.back(vectors.flip(1)).flip(1)


class Gru(nn.Module):
    """Keras' GRU. It resets the state before the product with the weights; torch's GRU resets the product.

        Keras    new = tanh(in + (reset * state) @ W)
        torch    new = tanh(in + reset * (state @ W))

    The arrays have the three gates side by side: update, reset, new.
    """

    def __init__(self, word: int, state: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(word, 3 * state))
        self.recurrent = nn.Parameter(torch.empty(state, 3 * state))
        self.bias = nn.Parameter(torch.empty(3 * state))

    def forward(self, vectors: Float[Tensor, "b t w"]) -> Float[Tensor, "b t r"]:
        """The state after each word."""
        update_in, reset_in, new_in = (vectors @ self.kernel + self.bias).chunk(3, dim=2)
        update_by, reset_by, new_by = self.recurrent.chunk(3, dim=1)
        state, states = vectors.new_zeros(len(vectors), len(self.recurrent)), []
        # The products with the words do not depend on the state and are computed for all words at once, above. Only the
        # products with the state must wait for the word before.
        for word in range(vectors.shape[1]):
            update = (update_in[:, word] + state @ update_by).sigmoid()
            reset = (reset_in[:, word] + state @ reset_by).sigmoid()
            new = (new_in[:, word] + (reset * state) @ new_by).tanh()
            state = update * state + (1 - update) * new
            states.append(state)
        return torch.stack(states, dim=1)


class Attention(nn.Module):
    """Eight heads, with a ReLU after each of the four projections."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(
        self,
        asking: Float[Tensor, "b k d"],
        keys: Float[Tensor, "b n d"],
        values: Float[Tensor, "b n d"],
        causal: bool = False,
    ) -> Float[Tensor, "b k d"]:
        """Attention of k askers to n places; `causal`: asker i attends only to the places up to i."""
        query, key, value = (
            layer(one).relu().unflatten(2, (HEADS, -1)).transpose(1, 2)
            for layer, one in ((self.query, asking), (self.key, keys), (self.value, values))
        )
        heard = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out(heard.transpose(1, 2).flatten(2)).relu()


class Layer(nn.Module):
    """A layer of the encoder or, if it `reads`, of the decoder; each part is added to its input and normalised."""

    def __init__(self, width: int, reads: bool = False) -> None:
        super().__init__()
        self.attention, self.attention_norm = Attention(width), nn.LayerNorm(width, LAYER_NORM_EPS)
        self.reading = Attention(width) if reads else None
        self.reading_norm = nn.LayerNorm(width, LAYER_NORM_EPS) if reads else None
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.out_norm = nn.LayerNorm(width, LAYER_NORM_EPS)

    def forward(self, found: Float[Tensor, "b k d"], known: Float[Tensor, "b n d"] | None = None) -> Tensor:
        """The tokens after the layer; `known` are the encoder's tokens, for a layer of the decoder."""
        found = self.attention_norm(found + self.attention(found, found, found, causal=self.reading is not None))
        if self.reading is not None and self.reading_norm is not None:
            found = self.reading_norm(found + self.reading(found, known, known))
        return self.out_norm(found + self.out(self.hidden(found).relu()))


def located(tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """The tokens plus their positions, sines and cosines by turns, with longer and longer waves."""
    count, width = tokens.shape[1:]
    place = torch.arange(count, dtype=torch.float64)[:, None]
    turns = place / 10000 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    waves = torch.stack([turns.sin(), turns.cos()], dim=2).flatten(1)[:, :width]
    return tokens + waves.to(tokens)


def coordinates(maps: Float[Tensor, "b _c h w"]) -> Float[Tensor, "b 6 h w"]:
    """Six maps of coordinates: three times x and three times y, -1 to 1 from the first place to the last."""
    batch, _, height, width = maps.shape
    x = torch.linspace(-1, 1, width, device=maps.device).expand(height, width)
    y = torch.linspace(-1, 1, height, device=maps.device)[:, None].expand(height, width)
    return torch.stack([x, x, x, y, y, y]).expand(batch, -1, -1, -1)


def doubled(found: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _h2 _w2"]:
    """The map at twice its sides, each place four times."""
    return F.interpolate(found, scale_factor=2, mode="nearest")
