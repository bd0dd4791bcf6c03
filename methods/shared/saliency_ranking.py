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
from harness.structures import Mask, Masks, Prompt

from .ranking import EMPTY


def text_maps(
    saliency: Saliency, features: Any, size: tuple[int, int], prompts: Sequence[Prompt], texts: Sequence[str]
) -> list[Float32[np.ndarray, "h w"]]:
    """A map for each prompt of an image of (h, w); prompts with the same text and vocabulary share one.

    Args:
        saliency: The saliency.
        features: Its features of the image.
        size: (h, w) of the image.
        prompts: The prompts, for their vocabularies.
        texts: The prompts' texts.

    Raises:
        ValueError: The saliency returned something other than such maps.
    """
    wanted = [(prompt.vocabulary, text) for prompt, text in zip(prompts, texts, strict=True)]
    found: dict[tuple[tuple[str, ...], str], Float32[np.ndarray, "h w"]] = {}
    for vocabulary in dict.fromkeys(names for names, _ in wanted):
        own = list(dict.fromkeys(text for names, text in wanted if names == vocabulary))
        maps = checked_maps(saliency, saliency.maps(features, own, vocabulary), len(own), size)
        found |= {(vocabulary, text): one for text, one in zip(own, maps, strict=True)}
    return [found[key] for key in wanted]


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
