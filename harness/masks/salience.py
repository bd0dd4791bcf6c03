"""Metrics of a text's saliency map: how well the map itself finds the object.

The map is the one that `Method.saliency_map` returns for the prompt; rows of methods without one have no value.
"""

from __future__ import annotations

import numpy as np

from harness.masks.measure import SalientPixels
from harness.masks.region import Region
from harness.plugins.registry import register_metric


@register_metric("saliency_auc")
def saliency_auc(truth: Region, seen: SalientPixels) -> float:
    """The share of pixel pairs, one on the object and one off it, in which the former is more salient, 0 to 1.

    This is the area under the ROC curve. Pairs of equal pixels count half, so a map without any variation has 0.5. An
    object that has no pixels, or fills the image, has 0.5, too: there is no pair to compare.

    It is computed from ranks (Mann-Whitney): with n pixels inside whose ranks among all pixels sum to R, and m
    outside, (R - n (n + 1) / 2) / (n m).
    """
    inside, outside = seen.split(truth.mask)
    if not len(inside) or not len(outside):
        return 0.5
    # Inside 0.9 and 0.4, outside 0.4 and 0.1: four pairs. In three the inner value is larger, in one it is equal:
    # 3.5 / 4 = 0.875. An image has billions of pairs; ranks give the same number without going through them:
    #
    #    value    0.1    0.4    0.4    0.9
    #    rank     1      2.5    2.5    4        inside: R = 2.5 + 4 = 6.5, and (6.5 - 2 * 3 / 2) / (2 * 2) = 0.875
    values, counts = np.unique(np.concatenate([inside, outside]), return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # The mean rank of equal values, from 1.
    found = ranks[np.searchsorted(values, inside)].sum()
    return float((found - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside)))


@register_metric("saliency_pointing")
def saliency_pointing(truth: Region, seen: SalientPixels) -> float:
    """Whether the most salient pixel lies on the object, 1 or 0; of several equal ones, the share that does.

    The pointing game of Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, without its margin
    of 15 pixels, and for the object that is asked for: another one of its class is no hit.
    """
    inside, outside = seen.split(truth.mask)
    if not len(inside) + len(outside):
        return 0.0
    most = max(part.max() for part in (inside, outside) if len(part))
    hits = int((inside == most).sum())
    return hits / (hits + int((outside == most).sum()))
