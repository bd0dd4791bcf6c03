"""Runs shards and trainings on Ray; no other package imports it."""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:  # for type checkers and editors
    from harness.cluster.ray_training import fit_on_ray
    from harness.cluster.scheduler import Cluster

__all__ = ["Cluster", "fit_on_ray"]
# Otherwise each worker that evaluates would load Ray Train and torch, 3.4 CPU seconds, before it gets its method.
__getattr__ = imported_when_asked(__name__, {"Cluster": "scheduler", "fit_on_ray": "ray_training"})
