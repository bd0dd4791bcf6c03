"""Ranks candidate masks by a text's saliency: how much more of it lies on a mask than beside it.

CLIP reads each image once for this; for a ranking by crops (`ranking.py`) it reads a crop for every candidate of every
instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from harness.plugins.interfaces import Saliency, checked_maps
from harness.structures import Image, Mask, Masks, Prompt

from .ranking import EMPTY

KEPT_PX = 2**24
"""The most pixels of maps that stay for an image: 64 MiB, or the maps of 54 texts on one of 480 x 640."""


class TextMaps:
    """The maps of the texts that prompts on one image name.

    Prompts with the same text and vocabulary share a map, also over several calls: clicks of later rounds, and metrics
    of the maps, ask for the same texts again. Maps stay up to `KEPT_PX` pixels; beyond it they are made anew.

    Args:
        saliency: The saliency.
        features: Its features of the image.
        size: (h, w) of the image.
    """

    def __init__(self, saliency: Saliency, features: Any, size: tuple[int, int]) -> None:
        self.saliency, self.features, self.size = saliency, features, size
        self._kept: dict[tuple[tuple[str, ...], str], Float32[np.ndarray, "h w"]] = {}

    def of(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[Float32[np.ndarray, "h w"]]:
        """A map for each prompt, of its text and its vocabulary.

        Raises:
            ValueError: The saliency returned something other than such maps.
        """
        wanted = [(prompt.vocabulary, text) for prompt, text in zip(prompts, texts, strict=True)]
        new: dict[tuple[tuple[str, ...], str], Float32[np.ndarray, "h w"]] = {}
        for vocabulary in dict.fromkeys(names for names, _ in wanted):
            asked = dict.fromkeys(text for names, text in wanted if names == vocabulary)
            own = [text for text in asked if (vocabulary, text) not in self._kept]
            if own:
                maps = self.saliency.maps(self.features, own, vocabulary)
                checked = checked_maps(self.saliency, maps, len(own), self.size)
                new |= {(vocabulary, text): one for text, one in zip(own, checked, strict=True)}
        found = self._kept | new
        if len(found) * self.size[0] * self.size[1] <= KEPT_PX:
            # Copies, since a saliency may write its next maps into the same array.
            self._kept |= {key: one.copy() for key, one in new.items()}
        return [found[key] for key in wanted]


def text_maps(saliency: Saliency | None, images: Sequence[Image]) -> list[TextMaps | None]:
    """Each image's maps, of which only the features are computed at once; None without a saliency."""
    if saliency is None:
        return [None] * len(images)
    features = saliency.features(images)
    return [TextMaps(saliency, one, image.shape[:2]) for one, image in zip(features, images, strict=True)]


def saliency_scores(salient: Float32[np.ndarray, "h w"], masks: Masks) -> list[float]:
    """Each mask's mean saliency inside minus the mean outside, -1 to 1 (`inside_outside`)."""
    return [inside_outside(salient, mask) for mask in masks]


def inside_outside(salient: Float32[np.ndarray, "h w"], mask: Mask) -> float:
    """The mean of a map, 0 to 1, on a mask minus the mean outside it.

    The mean inside alone would prefer the smallest mask on the brightest spot; bright pixels outside count against a
    mask. An empty mask has -1; a mask of the whole image, without an outside, has 0.

    Example: a map that is 1 on a person and 0 elsewhere. The person's mask has 1 - 0 = 1. A mask of the tie alone has 1
    minus the share of the pixels outside the tie that are on the person.
    """
    pixels = int(np.count_nonzero(mask))
    if not pixels:
        return EMPTY
    if pixels == mask.size:
        return 0.0
    # The sum outside is the whole less the sum inside, which takes no second mask. In float64, since the difference of
    # two large sums would lose digits in float32.
    inside, whole = float(salient[mask].sum(dtype=np.float64)), float(salient.sum(dtype=np.float64))
    return inside / pixels - (whole - inside) / (mask.size - pixels)
