"""Everything that can go wrong at once, on a cluster of three nodes: the rows are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from ray.cluster_utils import Cluster as RayCluster

import ray_clusters
from harness import places
from harness.interrupts import INTERRUPTED
from harness.storage.rows import MEASURED

pytestmark = [pytest.mark.ray, pytest.mark.slow]

IMAGES = 45
BETWEEN_DEATHS = 4
"""Shards, of thirty."""
MARK = uuid4().hex
"""In the environment of this test's processes, so that no other run on the machine is harmed."""

CONFIG: dict[str, Any] = {
    "datasets": [{"name": "fakes:Toys", "label": "toys", "params": {"count": IMAGES, "unreadable": [7]}}],
    "methods": [
        {"name": "fakes:Sleepy", "label": "sleepy", "params": {"seconds": 0.2}},
        {"name": "fakes:Steady", "label": "wide", "params": {"reach": 8}},
    ],
    "tables": ["leaderboard"],
}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    monkeypatch.setenv("HARNESS_TEST", MARK)
    with ray_clusters.cluster(num_cpus=1) as started:
        for _ in range(2):
            started.add_node(num_cpus=1)
        yield started


@pytest.fixture
def names() -> Iterator[list[str]]:
    made = [f"test-{uuid4().hex[:8]}" for _ in range(2)]
    yield made
    for name in made:
        shutil.rmtree(places.ROOT / "runs" / name, ignore_errors=True)


def started(folder: Path, name: str, workers: dict[str, Any], *more: str) -> subprocess.Popen[str]:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"run": name, "workers": workers}))
    command = [sys.executable, "-m", "harness", "run", str(path), *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=places.ROOT, stdout=pipe, stderr=pipe, text=True)


def rows(name: str) -> pd.DataFrame:
    table = pq.read_table(places.ROOT / "runs" / name / "results.parquet").to_pandas()
    return table.drop(columns=["run", *MEASURED])


def working() -> list[int]:
    """The processes of this test's actors that have loaded."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                title, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::Actor.run") and MARK.encode() in environment:
                found.append(int(entry.name))
    return found


def killing(stop: threading.Event, killed: list[int], name: str) -> None:
    """End an actor every other second, once some shards have come since: an image that two deaths hit is given up."""
    chance, last = random.Random(0), -BETWEEN_DEATHS
    while not stop.wait(2):
        there = shards(name)
        if there >= last + BETWEEN_DEATHS and (alive := working()):
            last = there
            killed.append(chance.choice(alive))
            try:
                os.kill(killed[-1], signal.SIGKILL)
            except ProcessLookupError:
                killed.pop()


def shards(name: str) -> int:
    return len(list((places.ROOT / "runs" / name / "shards").rglob("*.parquet")))


def killed_after(process: subprocess.Popen[str], name: str, more: int) -> None:
    """SIGKILL the driver once so many shards have come."""
    goal, deadline = shards(name) + more, time.monotonic() + 120
    while shards(name) < goal and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    if process.poll() is not None:
        pytest.fail("".join(process.communicate()))
    process.kill()
    process.wait()


def test_nodes_actors_and_drivers_die_and_no_row_is_lost_or_twice(
    nodes: RayCluster, names: list[str], tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    calm, disturbed = names
    undisturbed = started(tmp_path, calm, {"executor": "local"})  # Beside the others: most of its time it sleeps.
    workers, address = {"cpus": 0.5, "gpus": 0, "samples_per_shard": 3}, ["--address", nodes.address]
    stop, killed = threading.Event(), list[int]()
    killer = threading.Thread(target=killing, args=(stop, killed, disturbed))
    killer.start()
    try:
        killed_after(started(tmp_path, disturbed, workers, *address), disturbed, more=4)
        nodes.remove_node(next(node for node in nodes.list_all_nodes() if node is not nodes.head_node), False)
        killed_after(started(tmp_path, disturbed, workers, *address), disturbed, more=4)
        last = started(tmp_path, disturbed, workers, *address)
        said, complaints = last.communicate(timeout=400)
    finally:
        stop.set()
        killer.join()
    assert last.returncode == 0, (said, complaints)
    assert len(killed) >= 2 and undisturbed.wait(timeout=300) == 0
    found = rows(disturbed)
    assert len(found) == len(CONFIG["methods"]) * ((IMAGES - 1) * 2 * 3 + 1)
    assert not found.duplicated(["dataset", "method", "instance_id", "click_index", "ranking"]).any()
    pd.testing.assert_frame_equal(found, rows(calm))
    assert here("verify", places.ROOT / "runs" / disturbed).returncode == 0


def test_a_scheduler_that_ends_a_run_while_ray_starts_gets_exit_code_130(names: list[str], tmp_path: Path) -> None:
    process = started(tmp_path, names[0], {"count": 1})
    assert process.stderr is not None
    while "starting Ray" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.5)  # Ray answers SIGTERM with handlers of its own from then on.
    process.terminate()
    _, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (130, f"{INTERRUPTED}\n")


JOINING = """
import os, signal
from ray import _raylet
from harness.cluster.connect import connect
from harness.interrupts import in_order

core_worker = _raylet.CoreWorker

def interrupted(*about):
    made = core_worker(*about)
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass
    print("joined")
    return made

_raylet.CoreWorker = interrupted
with in_order():
    connect(None)
"""


def test_an_interrupt_waits_until_ray_s_part_in_c_has_joined() -> None:
    done = subprocess.run([sys.executable, "-c", JOINING], cwd=places.ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "joined\n", f"{INTERRUPTED}\n")
