"""Losses of a mask against labels of which some may not count."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .augmentation import NO_LABEL


def cross_entropy(logits: Float[Tensor, "n 2 h w"], target: Tensor) -> Tensor:
    """Cross-entropy of two classes; `target` is bool or labels. The mean is over all pixels; unlabelled ones add 0.

    So MMSegmentation 0.x counts (`avg_non_ignore=False`), and so the mean over equal shares of a batch is the batch's.
    """
    if target.dtype == torch.bool:
        return F.cross_entropy(logits, target.long())
    return F.cross_entropy(logits, target.long(), ignore_index=NO_LABEL, reduction="sum") / target.numel()


def soft_dice(logits: Float[Tensor, "n 2 h w"], target: Tensor) -> Tensor:
    """1 - dice of the object's probability against its mask, mean over examples, smoothed by one pixel."""
    counted = target != NO_LABEL if target.dtype != torch.bool else torch.ones_like(target)
    probability = (logits.softmax(1)[:, 1] * counted).flatten(1)
    truth = (target * counted).flatten(1).to(probability.dtype)
    overlap = (probability * truth).sum(1)
    return (1 - (2 * overlap + 1) / (probability.sum(1) + truth.sum(1) + 1)).mean()
