"""Masks: crops, metrics of two masks, run lengths, and the objects under a click."""

from harness.masks.measure import Metric, metric
from harness.masks.region import Region

__all__ = ["Metric", "Region", "metric"]
