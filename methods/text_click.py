"""Text+Click, the paper's method ("Ours"): DeepLabV3+ over RGB, a text saliency and click distance maps.

Paper: Warner et al., "Text and Click inputs for unambiguous open vocabulary instance segmentation", BMVC 2023,
https://arxiv.org/abs/2311.14822
Code: the authors' fork, https://github.com/nikolaiwarner7/MaskCLIP at 37b9df0; no weights were published.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from harness.plugins.interfaces import Group, Saliency, clicks_of
from harness.plugins.registry import fits_texts, register_method
from harness.plugins.vocabularies import Contrast, Vocabulary
from harness.structures import Click, Image, Prediction, Prompt

from .shared.prompted_deeplab import EncodedImage, PromptedDeepLab


@register_method("text_click")
class TextClick(PromptedDeepLab):
    """The click says which instance, the text's saliency says which of the things under the click.

    Args:
        checkpoint: Weights as training here saves them, which carry their architecture and their vocabulary.
        saliency: Turns the text into a channel; MaskCLIP in the paper. The one that the weights were trained with.
        device: Where the network runs; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: Forward passes are cut to this many prompts of an image.
        vocabulary: The names that the saliency contrasts the text with. "dataset": those of the data set that is asked
            on, unseen classes among them, as in the paper; without a data set, or where it has no classes, those of the
            training. "checkpoint": those of the training in any case. "none": nothing. "present": those of what is in
            the image, which only ground truth knows: an ablation. Otherwise the path of a file with a name a line.
    """

    uses_text = True

    def __init__(
        self,
        checkpoint: Path,
        saliency: Saliency,
        device: str = "auto",
        prompts_per_batch: int = 16,
        vocabulary: Vocabulary = "dataset",
    ) -> None:
        super().__init__(checkpoint, saliency, device, prompts_per_batch)
        self.checkpoint, self.contrast = checkpoint, Contrast.of(vocabulary, checkpoint)
        self.present_only = vocabulary == "present"

    def predict(
        self,
        image: Image,
        click: Click | Sequence[Click],
        text: str | None,
        vocabulary: Sequence[str] | None = None,
    ) -> Prediction:
        """The mask of one prompt: that of a run's row, on the data set that the weights were trained on.

        Args:
            image: uint8 (h, w, 3), RGB.
            click: One or several.
            text: The words for the object.
            vocabulary: The names to contrast them with, whatever the method was told to take; () for none. To be asked
                as on another data set, give its names as they are said there. By default what the method was told to
                take, the names of the training standing for those of a data set.
        """
        if vocabulary is None:
            if not self.contrast.names(()) and self.contrast.choice in ("dataset", "present"):
                warnings.warn(
                    f"{self.checkpoint} does not say which names it was trained with: the text is contrasted with "
                    "none, unlike the rows of a run. Give `vocabulary`.",
                    stacklevel=2,
                )
            return super().predict(image, click, text)
        (state,) = self.encode([image])
        return super().segment([(state, [Prompt(clicks_of(click), text, vocabulary=tuple(vocabulary))])])[0][0]

    def read_names(self, names: Sequence[str]) -> Iterator[str]:
        """As `Method.read_names` says: those that the saliency contrasts with."""
        assert self.saliency is not None
        yield from self.saliency.read_names(self.contrast.names(names))

    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """A mask for each prompt, its text contrasted with the names that the method was told to take."""
        return super().segment([(state, [self._contrasted(one) for one in prompts]) for state, prompts in groups])

    def saliency_map(self, state: EncodedImage, prompt: Prompt) -> Float32[np.ndarray, "h w"] | None:
        """The map that the network is given for a prompt."""
        return super().saliency_map(state, self._contrasted(prompt))

    def text_fits(
        self, state: EncodedImage, clicks: Sequence[Click], texts: Sequence[str]
    ) -> Float32[np.ndarray, "n k"]:
        """By the saliency's CLIP, whose view of the image is that of the map: no further pass."""
        assert self.saliency is not None
        return self.saliency.text_fits(state.features, clicks, texts)

    @classmethod
    def has_clip(cls, params: Mapping[str, Any]) -> bool:
        """Whether its saliency answers."""
        return fits_texts(params["saliency"])

    def _contrasted(self, prompt: Prompt) -> Prompt:
        return replace(prompt, vocabulary=self.contrast.names(prompt.vocabulary))
