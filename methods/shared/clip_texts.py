"""The sentences that a name is put into for CLIP, and the vectors of texts, each computed once."""

from __future__ import annotations

from collections.abc import Sequence

import open_clip
import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from .clip_tokens import check_lengths
from .open_clip_model import ClipModel

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

_TEXTS_A_FORWARD = 256


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


@torch.inference_mode()
def text_embeddings(clip: ClipModel, names: Sequence[str], templates: Sequence[str]) -> Float32[Tensor, "n d"]:
    """A unit vector for each name: the mean of the normalised embeddings of its templates, normalised again.

    Args:
        clip: The model.
        names: The names that are put into the templates.
        templates: Sentences with one "{}" each.

    Raises:
        ValueError: A text is longer than the model reads, so that two that differ at their ends would be one.
    """
    texts = [template.replace("{}", name) for name in names for template in templates]
    tokens: Int64[Tensor, "texts context"] = clip.tokenizer(texts)
    check_lengths(clip.tokenizer, texts, tokens)
    tokens = tokens.to(clip.device)
    parts = [nn.functional.normalize(clip.module.encode_text(part), dim=-1) for part in tokens.split(_TEXTS_A_FORWARD)]
    mean = torch.cat(parts).float().reshape(len(names), len(templates), -1).mean(dim=1)
    return nn.functional.normalize(mean, dim=-1)
