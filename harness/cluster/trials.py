"""Opens or lists one image in a process of its own, since that image may kill the process.

The driver does this if an actor could not open an image, or died on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness.cluster.actor import unopened
from harness.cluster.pulse import Pulse
from harness.config.parts import Plugin
from harness.evaluation.pictures import listed, not_listed
from harness.plugins import parameters
from harness.structures import Listed


@dataclass(frozen=True)
class Trials:
    """Short calls in processes of their own, beside the actors.

    Attributes:
        pulse: The cluster's pulse.
        timeout_s: The time limit of a call, enough to start a process and to work on a batch.
    """

    pulse: Pulse
    timeout_s: float

    def opens(self, dataset: Plugin, sample_id: str) -> bool:
        """Whether the driver's node can open a sample's files; False if that kills the process.

        Raises:
            ClusterLostError: There is no cluster any more.
        """
        here = NodeAffinitySchedulingStrategy(self.pulse.home.id, soft=False)
        try:
            return bool(self._answer(_opens, dataset, sample_id, scheduling_strategy=here))
        except RayError:
            return False

    def listed(self, dataset: Plugin, sample_id: str) -> list[Listed]:
        """The instances that a data set lists for a sample; one nameless instance if listing kills the process.

        Raises:
            ClusterLostError: There is no cluster any more.
        """
        try:
            found: list[Listed] = self._answer(_listed, dataset, sample_id)
        except RayError:
            return not_listed(sample_id)
        return found

    def _answer(self, what: Callable[..., Any], *given: Any, **options: Any) -> Any:
        call = ray.remote(num_cpus=0, max_retries=0, **options)(what).remote(*given)
        deadline = time.monotonic() + self.timeout_s
        while not ray.wait([call], timeout=1.0)[0] and time.monotonic() < deadline:
            self.pulse.check()
        return ray.get(call, timeout=0)


def _listed(dataset: Plugin, sample_id: str) -> list[Listed]:
    return listed(parameters.build("datasets", dataset.name, dataset.params), sample_id)


def _opens(dataset: Plugin, sample_id: str) -> bool:
    return not unopened(parameters.build("datasets", dataset.name, dataset.params), sample_id)
