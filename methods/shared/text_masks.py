"""The base of methods whose mask depends on the image and the text alone, with a use for the click.

Such a network has one mask for a text, wherever the click is. The click can still choose a part of that mask, which
takes no second forward pass. So each answer has two candidates, with a ranking for each:

- `text`: the mask, as published;
- `component`: the connected piece of the mask under the first positive click (a pixel touches all eight neighbours). If
  the click is beside the mask, it is the piece nearest to the click, so that a click never gives an empty mask.

      mask   # # . . #        click at the top right      component   . . . . #
             # . . . #        (column 4, row 0)                       . . . . #
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from harness.plugins.interfaces import Group, Method
from harness.structures import Click, Mask, Prediction, Prompt

from .clicks_inside import check_clicks
from .texts import EachOnce, required_text

TEXTS_KEPT = 256
"""How many texts' results are kept: enough for all class names of a usual data set, or the phrases of some images."""


@dataclass(frozen=True, eq=False)
class TextImage:
    """The data of an image that all texts on it share.

    Attributes:
        features: The network's features of the image, without a text.
        size: (h, w) of the image.
        masks: Text -> its mask, for texts that were used on this image: further clicks, rounds and variants reuse it.
    """

    features: Any
    size: tuple[int, int]
    masks: dict[str, Mask] = field(default_factory=dict)


class TextMasks(Method):
    """A method that segments by text. Its click, if there is one, chooses among the mask's pieces.

    A plugin writes `encode`, `read` and `masks`.

    Args:
        pairs_per_batch: How many pairs of an image and a text share a forward pass.
    """

    uses_text = True
    needs_click = False

    def __init__(self, pairs_per_batch: int) -> None:
        self.pairs_per_batch = pairs_per_batch
        self.readings = EachOnce(self.read, TEXTS_KEPT)

    @abstractmethod
    def read(self, texts: list[str]) -> list[Any]:
        """The network's features of each text, without an image.

        Raises:
            ValueError: The network cannot use a text.
        """

    @abstractmethod
    def masks(self, images: Sequence[TextImage], readings: Sequence[Any]) -> list[Mask]:
        """The mask for each pair of an image and a text, bool (h, w) at the image's size."""

    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """Two candidates for each prompt, or the text's mask alone if there is no click.

        Raises:
            ValueError: A prompt has no text, or one that the network cannot read, or a click beside the image.
        """
        for image, prompts in groups:
            for prompt in prompts:
                check_clicks(prompt.clicks, image.size)
        wanted = [
            (image, required_text(prompt, self.name))
            for image, prompts in groups
            for prompt in prompts
            if prompt.text not in image.masks
        ]
        # Several clicks on one object ask for the same text on the same image: the mask is computed once.
        pairs = list({(id(image), text): (image, text) for image, text in wanted}.values())
        read = self.readings([text for _, text in pairs])
        for start in range(0, len(pairs), self.pairs_per_batch):
            batch = slice(start, start + self.pairs_per_batch)
            found = self.masks([image for image, _ in pairs[batch]], read[batch])
            for (image, text), mask in zip(pairs[batch], found, strict=True):
                image.masks[text] = mask
        return [list(_answers(image, prompts)) for image, prompts in groups]


def _answers(image: TextImage, prompts: Sequence[Prompt]) -> Iterator[Prediction]:
    for prompt in prompts:
        yield two_answers(image.masks[prompt.text or ""], prompt.clicks)


def two_answers(mask: Mask, clicks: Sequence[Click]) -> Prediction:
    """A text's mask as ranking `text` and its piece at the click as ranking `component`; without clicks the mask."""
    if not clicks:
        return Prediction(mask[None].copy())
    # A ranking takes the candidate with the highest score, so 1 and 0 make each ranking name its own candidate.
    return Prediction(np.stack([mask, component(mask, clicks)]), {"text": (1.0, 0.0), "component": (0.0, 1.0)})


def component(mask: Mask, clicks: Sequence[Click]) -> Mask:
    """The 8-connected piece of a mask that is under the first positive click, or else nearest to it.

    Without a positive click, and for an empty mask, it is the whole mask. Of pieces that are equally near it is the one
    whose nearest pixel comes first, row by row.
    """
    first = next((click for click in clicks if click.positive), None)
    ys, xs = np.nonzero(mask)
    if first is None or not len(ys):
        return mask.copy()
    # A click on the mask is its own nearest pixel, at distance 0, so both cases are one.
    nearest = int(np.argmin((ys - first.y) ** 2 + (xs - first.x) ** 2))
    _, pieces = cv2.connectedComponents(np.ascontiguousarray(mask).view(np.uint8), connectivity=8)
    return np.asarray(pieces == pieces[ys[nearest], xs[nearest]])
