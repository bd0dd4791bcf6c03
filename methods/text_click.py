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
    """The paper's method: DeepLabV3+ over the image, the clicks and the saliency of the text.

    The click chooses the instance, and the saliency chooses among the objects under the click.

    Args:
        checkpoint: Weights that our training saved, with their architecture and vocabulary.
        saliency: The saliency that turns the text into a channel, the one of the training; MaskCLIP in the paper.
        device: The device of the network; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: The most prompts of an image that share a forward pass.
        vocabulary: The names that the saliency contrasts the text with. "dataset": those of the evaluated data set,
            unseen classes included, as in the paper; without a data set, or if it has no classes, those of the
            training. "checkpoint": those of the training in any case. "none": no names. "present": those of the classes
            in the image, which only the ground truth shows: an ablation. Otherwise the path of a file with a name on
            each line.
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
        """The mask of one prompt, equal to a run's row on the data set that the weights were trained on.

        Args:
            image: uint8 (h, w, 3), RGB.
            click: One click or several.
            text: The words for the object.
            vocabulary: The names to contrast the words with, in place of the parameter `vocabulary`; () for none. For
                the mask of a run on another data set, give that data set's names in their spoken form. By default the
                parameter's names, with those of the training in place of a data set's.
        """
        if vocabulary is None:
            # MaskCLIP's map is a softmax over names, so the same text among other names gives another map and another
            # mask. A single call has no data set to take names from: the checkpoint's stand in, if it has any.
            if not self.contrast.names(()) and self.contrast.choice in ("dataset", "present"):
                warnings.warn(
                    f"{self.checkpoint} does not say which names it was trained with. So the text is contrasted with "
                    "no other names, as it would be in a run. Give `vocabulary`.",
                    stacklevel=2,
                )
            return super().predict(image, click, text)
        (state,) = self.encode([image])
        return super().segment([(state, [Prompt(clicks_of(click), text, vocabulary=tuple(vocabulary))])])[0][0]

    def read_names(self, names: Sequence[str]) -> Iterator[str]:
        """As `Method.read_names`, for the names that the saliency contrasts with."""
        assert self.saliency is not None
        yield from self.saliency.read_names(self.contrast.names(names))

    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """A mask for each prompt, its text contrasted with the names that `vocabulary` chooses."""
        return super().segment([(state, [self._contrasted(one) for one in prompts]) for state, prompts in groups])

    def saliency_map(self, state: EncodedImage, prompt: Prompt) -> Float32[np.ndarray, "h w"] | None:
        """The map that the network is given for a prompt."""
        return super().saliency_map(state, self._contrasted(prompt))

    def text_fits(
        self, state: EncodedImage, clicks: Sequence[Click], texts: Sequence[str]
    ) -> Float32[np.ndarray, "n k"]:
        """As `Method.text_fits`, by the saliency's CLIP, from the features of the map: without another pass."""
        assert self.saliency is not None and state.maps is not None
        return self.saliency.text_fits(state.maps.features, clicks, texts)

    @classmethod
    def has_clip(cls, params: Mapping[str, Any]) -> bool:
        """Whether its saliency can answer `text_fits`."""
        return fits_texts(params["saliency"])

    def _contrasted(self, prompt: Prompt) -> Prompt:
        return replace(prompt, vocabulary=self.contrast.names(prompt.vocabulary))
