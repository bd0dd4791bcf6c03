"""Clusters of several nodes on this machine, without the processes of Ray's that no test looks at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster

BARE = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
"""A head's page, what sends workers' words to the driver, and what asks a cloud for machines: five processes."""


@contextmanager
def cluster(**head: Any) -> Iterator[Cluster]:
    """A cluster of a head, which is given like a node of Ray's; its address is `.address`, `.add_node` adds another."""
    started = Cluster(initialize_head=True, head_node_args=head | BARE)
    try:
        yield started
    finally:
        ray.shutdown()
        started.shutdown()
