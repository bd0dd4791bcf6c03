"""Trains PhraseClick (methods/phraseclick/network.py) like Text+Click: an instance with its clicks and its phrase.

Some examples have no phrase and some no click, so that one checkpoint can be used with either alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from harness.plugins.registry import register_learner
from harness.structures import Instance, Said, Sample, UserError

from ..phraseclick.network import FIRST, PhraseArchitecture, PhraseClickNetwork, numbered, said, split
from .prompted_deeplab import PromptedDeepLabLearner
from .shared.batch_norms import check_batch
from .shared.mask_losses import cross_entropy
from .shared.phrases import required_phrase

WHERE = "methods/learners/phraseclick.py"
TO_LIST_WORDS = "docs/referring.md, PhraseClick, shows how to write it."
_SIDE = re.compile(r"left|(?<!b)right|\b(top|bottom|btm|bot|upper|lower|far)?(l|lt|lft|r|rt)\b")
"""Finds a side in a word: "leftmost", "far-right", "topleft", "2nd-r", "toprt"; not in "bright" or "shirt"."""
Share = Annotated[float, Field(ge=0, le=1)]


@register_learner("phraseclick")
class PhraseClickLearner(PromptedDeepLabLearner):
    """PhraseClick, with two losses: cross-entropy of the mask, and of the vocabulary's words in the phrase.

    Args:
        words: The vocabulary: a list, or a text file with one word on each line. Any other word is [unknown].
        encoder: An encoder of segmentation-models-pytorch.
        decoder_channels: The channels of the bottleneck and the decoder.
        output_stride: The encoder's output stride, 8 or 16.
        initialisation: "scratch" or "imagenet".
        word_width: How many numbers a word's vector has; the vectors are learned.
        state: The size of the LSTM's state, each way.
        size: The side of the square to which images are resized, in pixels.
        click_range: The least and the largest value of a click's distance map.
        strategy: The click simulator.
        click_options: The simulator's options.
        clicks: "fixed": an instance has the same clicks in every epoch; "fresh": new ones.
        flip: Whether to mirror half of the examples, except those whose phrase names a side: "left car", "rightmost".
        jitter: The strength of the colour jitter; 0 for none.
        positive_clicks: The number of channels for positive clicks, one for each.
        negative_clicks: The number of channels for negative clicks, after the positive ones.
        without_phrase: The share of examples that have clicks alone.
        without_click: The share of the others that have a phrase alone.
        attribute_weight: The weight of the words' cross-entropy.
    """

    def __init__(
        self,
        words: Annotated[Sequence[str], Field(min_length=1)] | Path,
        encoder: str = "resnet101",
        decoder_channels: int = 256,
        output_stride: Literal[8, 16] = 16,
        initialisation: Literal["scratch", "imagenet"] = "scratch",
        word_width: Annotated[int, Field(ge=1)] = 300,
        state: Annotated[int, Field(ge=1)] = 256,
        size: int = 512,
        click_range: tuple[float, float] = (0.0, 1.0),
        strategy: str = "paper/v1",
        click_options: Mapping[str, Any] | None = None,
        clicks: Literal["fixed", "fresh"] = "fixed",
        flip: bool = True,
        jitter: float = 0.0,
        positive_clicks: Annotated[int, Field(ge=1)] = 1,
        negative_clicks: Annotated[int, Field(ge=0)] = 0,
        without_phrase: Share = 0.15,
        without_click: Share = 0.1,
        attribute_weight: Annotated[float, Field(ge=0)] = 0.1,
    ) -> None:
        self.words = listed(words) if isinstance(words, Path) else checked(words, "words")
        self.word_width, self.state = word_width, state
        self.without_phrase, self.without_click, self.attribute_weight = without_phrase, without_click, attribute_weight
        super().__init__(
            encoder=encoder,
            decoder_channels=decoder_channels,
            output_stride=output_stride,
            initialisation=initialisation,
            size=size,
            click_range=click_range,
            strategy=strategy,
            click_options=click_options,
            clicks=clicks,
            flip=flip,
            jitter=jitter,
            positive_clicks=positive_clicks,
            negative_clicks=negative_clicks,
        )

    def _network(
        self,
        initialisation: Literal["scratch", "imagenet"],
        dropout: float,
        encoder_weights: Path | None,  # noqa: ARG002 - it has no such parameter
        first_filters: Literal["random", "rgb"],  # noqa: ARG002
        auxiliary: float,  # noqa: ARG002
    ) -> nn.Module:
        network = PhraseClickNetwork(self.phrase_architecture, "imagenet" if initialisation == "imagenet" else None)
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
        return network

    @property
    def phrase_architecture(self) -> PhraseArchitecture:
        """The architecture in the checkpoint."""
        plain = self.architecture
        return PhraseArchitecture(
            plain.channels,
            self.words,
            plain.encoder,
            plain.decoder_channels,
            plain.output_stride,
            self.word_width,
            self.state,
        )

    def example(
        self, sample: Sample, instance: Instance, said: Said, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Text+Click's example, with the words as numbers and whether it has clicks; at least one of both is there.

        Raises:
            UserError: The instance has no words.
        """
        text = required_phrase(said, sample, instance, WHERE)
        found = super().example(sample, instance, said, rng)
        # With 0.15 and 0.1: 15 % of the examples have clicks alone, 85 % * 10 % = 8.5 % a phrase alone, and 76.5 % have
        # both. The second draw is skipped without a phrase, so that no example is left with nothing.
        spoken = rng.random() >= self.without_phrase
        clicked = not spoken or rng.random() >= self.without_click
        words = numbered(text if spoken else None, self.words)
        return found | {"words": np.array(words), "clicked": np.array(clicked)}

    def _may_mirror(self, said: Said) -> bool:
        """Not with a phrase that names a side: in a mirrored image "left car" would mean the other car."""
        return super()._may_mirror(said) and not names_a_side(said.text)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The mask's cross-entropy and, for examples with a phrase, the cross-entropy of its words.

        Raises:
            UserError: The batch has one example, which has no variance for batch normalisation.
        """
        check_batch(self.network, len(batch["target"]), WHERE)
        logits, attributes = self.network(self._inputs(batch), batch["words"])
        loss = cross_entropy(logits.float(), batch["target"])
        spoken = said(batch["words"])
        if not self.attribute_weight or not spoken.any():
            return loss
        # Word numbers (n t) become one-hot (n t words); the maximum over t is 1 for each word in the phrase, (n words).
        # The first numbers are padding and the unknown word, which are no words to predict.
        present = F.one_hot(batch["words"], FIRST + len(self.words)).amax(dim=1)[:, FIRST:].float()
        named = F.binary_cross_entropy_with_logits(attributes.float()[spoken], present[spoken])
        return loss + self.attribute_weight * named

    def _inputs(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "n c s s"]:
        """Pixels and clicks; for an example without clicks all click maps have their far value, as if far away."""
        inputs = super()._inputs(batch)
        far = self.architecture.channels.click_range[1]
        clicks = torch.where(batch["clicked"][:, None, None, None], inputs[:, 3:], far)
        return torch.cat([inputs[:, :3], clicks], dim=1)

    def metadata(self) -> dict[str, str]:
        """The architecture and the vocabulary, as JSON."""
        return {"architecture": json.dumps(self.phrase_architecture.as_dict())}


def names_a_side(text: str | None) -> bool:
    """Whether a phrase has a word for left or right, or one of the short forms that people type in refCOCO."""
    return any(_SIDE.search(word) for word in split(text))


def listed(path: Path) -> tuple[str, ...]:
    """The words of a file with a word a line; empty lines and repeated words do not count.

    Raises:
        UserError: The file is missing, is no UTF-8 text, has no word, or has a line of several words.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{WHERE}: words={path} cannot be read: {error}. {TO_LIST_WORDS}") from error
    return checked([line for line in lines if line], f"words={path}")


def checked(words: Sequence[str], where: str) -> tuple[str, ...]:
    """The vocabulary, each word once.

    Raises:
        UserError: It is empty, or one of them is never read in a phrase: phrases are read word by word, in lower case.
    """
    never = next((word for word in words if split(word) != [word]), None)
    if not words or never is not None:
        found = "no word" if never is None else repr(never[:60])
        raise UserError(
            f"{WHERE}: {where}: found {found}; wanted single words, in lower case, one per line in a file. "
            f"{TO_LIST_WORDS}"
        )
    return tuple(dict.fromkeys(words))
