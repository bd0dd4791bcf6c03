"""Two masks -> one number: the metrics that come with the harness.

A metric is one function of (truth, prediction), decorated with its name. These take `Region`s, whose areas and bands
are computed once; `harness/masks/measure.py` lists the other arguments that a metric may take, and calls it.
"""

from __future__ import annotations

from harness.masks.region import Region
from harness.plugins.registry import register_metric


@register_metric("iou")
def iou(truth: Region, prediction: Region) -> float:
    """Intersection over union of the masks, 0 to 1; two empty masks score 1, as in DAVIS.

    One empty mask of the two scores 0. A mask of which no pixel counts is empty.
    """
    return _ratio(truth.intersection(prediction), truth.area + prediction.area)


@register_metric("boundary_iou")
def boundary_iou(truth: Region, prediction: Region) -> float:
    """Intersection over union of the bands just inside both outlines, 0 to 1; two empty bands score 1, as in DAVIS.

    One empty band of the two scores 0. The band is 2 % of the image's diagonal wide (`Region.boundary`). This is the
    plain Boundary IoU, not the smaller of it and the mask IoU, which the same paper's COCO evaluation matches by.

    Source: Cheng et al., "Boundary IoU", CVPR 2021, https://arxiv.org/abs/2103.16562
    """
    return _ratio(truth.boundary_intersection(prediction), truth.boundary_area() + prediction.boundary_area())


def _ratio(intersection: int, areas: int) -> float:
    """Intersection over union, of the intersection and the sum of both areas."""
    union = areas - intersection
    return intersection / union if union else 1.0
