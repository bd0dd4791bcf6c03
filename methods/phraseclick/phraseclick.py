"""PhraseClick, reimplemented: clicks give the place, a phrase gives the kind of object; each works alone, too.

Paper: Ding et al., "PhraseClick: Toward Achieving Flexible Interactive Segmentation by Phrase and Click", ECCV 2020,
with neither code nor weights. methods/phraseclick/network.py lists which facts about the network are certain, which are
from a reader's notes and which are our choice. So it cannot be compared with published numbers, and no table shows any.

It knows the words of its training. All other words are read as the same [unknown] word: the paper's section 6.10 finds
that such a method gains on seen classes alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from harness.plugins.interfaces import Group, Method, TextLimit
from harness.plugins.registry import register_method
from harness.structures import Image, Prediction, Prompt, UserError

from ..shared.channels import click_channels, clicks_taken, image_channels
from ..shared.checkpoints import check_fit, read_learned
from ..shared.clicks_inside import check_clicks
from ..shared.device import chosen_device
from .network import WORDS_READ, PhraseArchitecture, PhraseClickNetwork, numbered, split, words_of

WHERE = "methods/phraseclick/phraseclick.py"


@dataclass(frozen=True, eq=False)
class Shown:
    """An image as its prompts share it: (h, w), and its RGB channels at the network's size."""

    size: tuple[int, int]
    pixels: Tensor


@register_method("phraseclick")
class PhraseClick(Method):
    """PhraseClick. One checkpoint answers to a click, a phrase, and both.

    Args:
        checkpoint: Weights that the learner `phraseclick` saved, with their vocabulary.
        device: The device of the network; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: The most prompts of an image that share a forward pass.
    """

    uses_text = True
    needs_click = False

    def __init__(
        self, checkpoint: Path, device: str = "auto", prompts_per_batch: Annotated[int, Field(ge=1)] = 16
    ) -> None:
        self.device = torch.device(chosen_device(device))
        self.architecture, network = load_phraseclick(checkpoint)
        self.network = network.to(self.device).eval()
        self.prompts_per_batch = prompts_per_batch

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:  # noqa: ARG003
        """The limit of its network, in words."""

        def beyond(text: str) -> int:
            words = len(words_of(text))
            return words if words > WORDS_READ else 0

        return (TextLimit(WORDS_READ, "words", "PhraseClick", beyond, cut=True),)

    @classmethod
    def clicks_taken(cls, params: Mapping[str, Any]) -> tuple[int, int] | None:
        """The numbers for which the network was trained: it has a channel for each click."""
        return clicks_taken(params["checkpoint"])

    @torch.inference_mode()
    def encode(self, images: Sequence[Image]) -> list[Shown]:
        """Resize each image; all other work depends on the prompt."""
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        channels = self.architecture.channels
        pixels = (image_channels(image, channels.input_size(image.shape[:2]), self.device) for image in images)
        return [Shown(size, one) for size, one in zip(sizes, pixels, strict=True)]

    @torch.inference_mode()
    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """A mask for each prompt: where the object's logit exceeds the background's, at the image's size.

        Raises:
            ValueError: A prompt has neither a click nor a text, or other numbers of clicks than in the training.
        """
        return [list(self._predictions(image, prompts)) for image, prompts in groups]

    def _predictions(self, image: Shown, prompts: Sequence[Prompt]) -> Iterator[Prediction]:
        for start in range(0, len(prompts), self.prompts_per_batch):
            batch = prompts[start : start + self.prompts_per_batch]
            words = torch.tensor([self._numbered(prompt) for prompt in batch], device=self.device)
            clicks = torch.cat([self._clicks(image, prompt) for prompt in batch])
            inputs = torch.cat([image.pixels.expand(len(batch), -1, -1, -1), clicks], dim=1)
            # The encoder needs sides that are multiples of its stride: the right and bottom edges are repeated as far
            # as needed (`-width % stride` pixels), and cut off again from the answer.
            (height, width), stride = inputs.shape[-2:], self.architecture.output_stride
            padded = F.pad(inputs, (0, -width % stride, 0, -height % stride), mode="replicate")
            logits = self.network(padded, words)[0][..., :height, :width].float()
            resized = F.interpolate(logits, size=image.size, mode="bilinear", align_corners=False)
            for mask in (resized[:, 1] > resized[:, 0]).cpu().numpy():
                yield Prediction(mask[None])

    def unknown_words(self, text: str) -> tuple[int, int]:
        """Words that the training did not have, and all that the network reads."""
        words = split(text)
        return sum(word not in self.architecture.words for word in words), len(words)

    def _numbered(self, prompt: Prompt) -> list[int]:
        words = words_of(prompt.text)
        if not words and not prompt.clicks:
            raise ValueError(f"{self.name} needs a click or a text; found neither.")
        if len(words) > WORDS_READ:
            warnings.warn(f"PhraseClick reads the first {WORDS_READ} words; longer texts are cut.", stacklevel=2)
        return numbered(prompt.text, self.architecture.words)

    def _clicks(self, image: Shown, prompt: Prompt) -> Float[Tensor, "1 c h w"]:
        """A distance map for each click; without clicks every map has its far value everywhere."""
        channels = self.architecture.channels
        size = (image.pixels.shape[1], image.pixels.shape[2])
        if not prompt.clicks:
            count = channels.positive_clicks + channels.negative_clicks
            return torch.full((1, count, *size), channels.click_range[1], device=self.device)
        check_clicks(prompt.clicks, image.size)
        places = [[(click.x, click.y) for click in channels.arranged(prompt.clicks)]]
        positions = torch.tensor(places, dtype=torch.float32, device=self.device)
        return click_channels(positions, image.size, size, channels.click_range)


def load_phraseclick(path: Path) -> tuple[PhraseArchitecture, PhraseClickNetwork]:
    """The architecture and the network with its weights, in float32 on the CPU.

    Raises:
        UserError: The file is missing or damaged, or holds another network.
    """
    if not path.is_file():
        raise UserError(
            f"{WHERE}: no file at checkpoint={path}; wanted weights that the learner phraseclick saved. Train it "
            "(configs/scenes_phraseclick.yaml), or correct `checkpoint` in the config."
        )
    weights, architecture = read_learned(
        path, PhraseArchitecture.from_json, WHERE, "phraseclick", "architecture of PhraseClick"
    )
    network = PhraseClickNetwork(architecture)
    check_fit(network, weights, path)
    network.load_state_dict({name: one.float() if one.is_floating_point() else one for name, one in weights.items()})
    return architecture, network.requires_grad_(False)
