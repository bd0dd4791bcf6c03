"""What a reader is told of a cluster that gives no actor. Starts no Ray."""

from __future__ import annotations

import pytest
import ray

from harness.cluster.capacity import Capacity
from harness.config.run_config import Workers


def test_who_waits_in_vain_is_told_what_there_is_and_both_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}])
    monkeypatch.setattr(ray, "available_resources", lambda: {"GPU": 1.0})  # Ray leaves out what is used up.
    said = str(Capacity(Workers()).none_free("no worker got its place"))
    assert "no worker got its place within 60 s. The cluster has 4 CPU, 1 GPU; free are 0 CPU, 1 GPU." in said
    assert "If others hold the rest, wait for them or lower `workers`" in said
    assert "processes start too slowly there" in said and "Ray's logs" in said
