"""What a reader is told of a cluster that gives no actor. Starts no Ray."""

from __future__ import annotations

import time

import pytest
import ray
from ray.exceptions import RuntimeEnvSetupError

from harness import UserError
from harness.cluster.capacity import PLACE_TIMEOUT_S, Capacity, started
from harness.cluster.scheduler import Cluster
from harness.config.method_entry import MethodEntry
from harness.config.run_config import Workers
from harness.jobs.jobs import Shard
from harness.jobs.queue import Waiting


def test_who_waits_in_vain_is_told_what_there_is_and_both_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}])
    monkeypatch.setattr(ray, "available_resources", lambda: {"GPU": 1.0})  # Ray leaves out what is used up.
    said = str(Capacity(Workers()).none_free("no worker got its place"))
    assert "no worker got its place within 60 s. The cluster has 4 CPU, 1 GPU; free are 0 CPU, 1 GPU." in said
    assert "If others hold the rest, wait for them or lower `workers`" in said
    assert "processes start too slowly there" in said and "Ray's logs" in said


def test_a_node_that_has_no_room_for_the_checkout_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise RuntimeEnvSetupError("[Node 10.0.0.7] Traceback (...):\n  File ...\nOSError: No space left on device\n")

    monkeypatch.setattr(ray, "get", fails)
    with pytest.raises(
        UserError, match=r"for 'sam' cannot start on node 10\.0\.0\.7: OSError: No space left on device\. W"
    ):
        started(None, "'sam'")


def test_whose_nodes_went_for_good_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": False, "Resources": {"CPU": 4.0}}])
    running = object.__new__(Cluster)  # As it is once its actors are buried, without a Ray.
    running.slots, running.queues = [], {"sam": Waiting()}
    running.entries = {"sam": MethodEntry(name="sam", gpus=0)}
    running.capacity, running.answered = Capacity(Workers(cpus=1)), time.monotonic() - PLACE_TIMEOUT_S + 5
    running._check_placed()  # A node may still come back.
    running.answered -= 10
    running._check_placed()  # Nothing is left to do.
    running.queues["sam"].shards.append(Shard((), ("a",)))
    with pytest.raises(
        UserError, match=r"worker of 'sam' asks for 1 CPU, 0 GPU\. The nodes .* are gone, .* 60 s\. The"
    ):
        running._check_placed()
