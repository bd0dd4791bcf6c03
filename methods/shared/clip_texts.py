"""The sentences that a name is put into for CLIP, and the vectors of texts, each computed once."""

from __future__ import annotations

from collections.abc import Sequence

import open_clip
import torch
from jaxtyping import Float32
from torch import Tensor

from .open_clip_model import ClipModel, text_embeddings

PUBLISHED_TEMPLATES = (
    *(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES),
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
"""CLIP's 80 ImageNet templates and MaskCLIP's five (tools/maskclip_utils/prompt_engineering.py)."""

TEMPLATES = {"none": ("{}",), "plain": ("a photo of a {}.",), "published": PUBLISHED_TEMPLATES}
"""By the names that configs have: the text alone, one sentence, or the mean of 85."""


def text_vectors(
    clip: ClipModel, texts: Sequence[str], templates: Sequence[str], known: dict[str, Float32[Tensor, " d"]]
) -> Float32[Tensor, "n d"]:
    """The unit vector of each text.

    Args:
        clip: The model.
        texts: May hold one several times.
        templates: Sentences with one "{}" each.
        known: The vectors of texts that need not be computed again; new ones are added.

    Raises:
        ValueError: As `text_embeddings`.
    """
    new = [text for text in dict.fromkeys(texts) if text not in known]
    if new:
        known |= zip(new, text_embeddings(clip, new, templates), strict=True)
    return torch.stack([known[text] for text in texts])
