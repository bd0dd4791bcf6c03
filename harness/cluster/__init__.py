"""Runs shards and trainings on Ray; no other package imports it."""

from harness.cluster.ray_training import fit_on_ray
from harness.cluster.scheduler import Cluster

__all__ = ["Cluster", "fit_on_ray"]
