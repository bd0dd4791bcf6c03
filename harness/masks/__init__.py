"""Masks: crops, metrics of two of them, run lengths, what lies under a click."""

from harness.masks.measure import Metric, metric
from harness.masks.region import Region

__all__ = ["Metric", "Region", "metric"]
