"""Which actors stand where: shares of GPUs, several of them, methods side by side, nodes that come later.

Ray is told of GPUs that are not there; what an actor sees of them is what Ray set for its process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster as RayCluster

import ray_clusters
from harness.cluster.scheduler import Cluster
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.run_config import RunConfig, Workers
from harness.jobs.jobs import Job
from harness.jobs.plan import planned, remaining
from harness.storage.store import Store

pytestmark = pytest.mark.ray

PLACED = '''
"""A method that says, as its device, which GPUs its process was given."""

import os

from fakes import Sleepy


class Placed(Sleepy):
    def __init__(self, seconds=0.2):
        super().__init__(seconds)
        self.device = "cpu beside GPUs " + os.environ.get("CUDA_VISIBLE_DEVICES", "all")
'''


@pytest.fixture(scope="module")
def nodes(importable: Callable[[str, str], Path]) -> Iterator[RayCluster]:
    """A cluster of one node with two GPUs in name, whose workers find the module `placed`."""
    importable("placed", PLACED)
    with ray_clusters.cluster(num_cpus=2, num_gpus=2) as started:
        yield started


def jobs(images: int, **gpus: float) -> list[Job]:
    entries = tuple(MethodEntry(name="placed:Placed", label=label, gpus=share) for label, share in gpus.items())
    toys = Plugin(name="fakes:Toys", label="toys", params={"count": images})
    return planned(RunConfig(run="r", datasets=(toys,), methods=entries))


def placed(made: list[Job], store: Store) -> dict[str, set[str]]:
    """Method -> the GPUs that its rows were made beside."""
    rows = store.rows([job.facts for job in made], {job.facts.dataset: job.sample_ids for job in made})
    assert (rows["status"] == "ok").all() and len(rows) == len(made) * len(made[0].sample_ids) * 2 * 3
    return {method: set(own["device"].str.removeprefix("cpu beside GPUs ")) for method, own in rows.groupby("method")}


def test_shares_of_gpus_and_several_stand_side_by_side_and_follow_each_other(nodes: RayCluster, tmp_path: Path) -> None:
    made, store = jobs(16, shared=0.5, whole=1, both=2, none=0), Store(tmp_path / "run")
    running = Cluster(Workers(cpus=0.25, samples_per_shard=2), store, nodes.address)
    seen: list[dict[str, Any]] = []
    for _ in running.run(remaining(made, store, 2)):
        held = [(slot.method, slot.asked["GPU"]) for slot in running.slots]
        assert sum(gpus for _, gpus in held) <= 2
        seen.append({"methods": {method for method, _ in held}, "shared": held.count(("shared", 0.5))})
    given = placed(made, store)
    assert given["both"] == {"0,1"} and given["none"] == {""}
    assert given["shared"] <= {"0", "1"} and given["whole"] <= {"0", "1"}
    assert any(len(one["methods"]) > 1 for one in seen)  # at once, while there is room
    assert any(one["methods"] == {"both"} for one in seen)  # in the place of those that were done
    assert max(one["shared"] for one in seen) >= 2


def test_a_node_that_joins_is_used(nodes: RayCluster, tmp_path: Path) -> None:
    # Enough that the node which joins has its worker up before they are done, however busy the machine.
    made, store = jobs(300, whole=2), Store(tmp_path / "run")
    running = Cluster(Workers(cpus=0.25, samples_per_shard=1), store, nodes.address)
    outcomes = running.run(remaining(made, store, 1))
    workers = {next(outcomes).worker}
    assert len(running.slots) == 1
    nodes.add_node(num_cpus=1, num_gpus=2)
    while len(workers) < 2:
        workers.add(next(outcomes).worker)
    outcomes.close()
