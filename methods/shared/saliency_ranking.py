"""Ranks candidate masks by a text's saliency: how much more of it lies on a mask than beside it.

A CLIP reads each image once; ranking by crops (`ranking.py`) has it read a crop for every candidate of every instance.
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
        prompts: The prompts whose vocabularies are taken.
        texts: The prompts' texts.

    Raises:
        ValueError: The saliency returned something else than such maps.
    """
    wanted = [(prompt.vocabulary, text) for prompt, text in zip(prompts, texts, strict=True)]
    found: dict[tuple[tuple[str, ...], str], Float32[np.ndarray, "h w"]] = {}
    for vocabulary in dict.fromkeys(names for names, _ in wanted):
        own = list(dict.fromkeys(text for names, text in wanted if names == vocabulary))
        maps = checked_maps(saliency, saliency.maps(features, own, vocabulary), len(own), size)
        found |= {(vocabulary, text): one for text, one in zip(own, maps, strict=True)}
    return [found[key] for key in wanted]


def saliency_scores(salient: Float32[np.ndarray, "h w"], masks: Masks) -> list[float]:
    """Each mask's mean saliency inside less that outside, -1 to 1 (`inside_outside`)."""
    return [inside_outside(salient, mask) for mask in masks]


def inside_outside(salient: Float32[np.ndarray, "h w"], mask: Mask) -> float:
    """The mean of a map, 0 to 1, on a mask less the mean beside it.

    The inside alone would prefer the smallest mask on the brightest spot; what a mask leaves out counts against it. An
    empty mask has -1; one of the whole image, beside which there is nothing, 0.

    Example: a map that is 1 on a person and 0 elsewhere. The person's mask has 1 - 0; that of the tie alone 1 less
    the person's share of what lies beside the tie.
    """
    pixels = int(np.count_nonzero(mask))
    if not pixels:
        return EMPTY
    if pixels == mask.size:
        return 0.0
    inside, whole = float(salient[mask].sum(dtype=np.float64)), float(salient.sum(dtype=np.float64))
    return inside / pixels - (whole - inside) / (mask.size - pixels)
