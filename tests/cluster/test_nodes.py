"""A second node that lacks what the driver's has: in a mount namespace of its own, some folders are empty there.

It does all the work; the driver's node has no CPU to lend. Another folder is there, too, but holds other files.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
import yaml

import ray_clusters
from harness import UserError
from harness.cluster import scheduler as cluster
from harness.cluster.scheduler import Cluster
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.run_config import RunConfig, Workers, load_run
from harness.jobs.jobs import Job
from harness.jobs.plan import planned, remaining
from harness.jobs.worker import run_here
from harness.storage.store import Store

ROOM_GIB = 8
PLUGINS = '''
import os
import pathlib
import time

import numpy as np
from fakes import Sleepy, Steady, Toys

from harness.images.reading import sizes_digest


class Pictures(Toys):
    """Toys, each with a file."""

    def __init__(self, root: pathlib.Path, count: int = 3) -> None:
        super().__init__(count)
        self.root = root

    def load(self, sample_id):
        (self.root / sample_id).read_bytes()
        return super().load(sample_id)


class Sized(Toys):
    """Toys whose fingerprint is of the files beside them, and whose boxes begin where a file says."""

    def __init__(self, root: pathlib.Path) -> None:
        super().__init__(8, top=len((root / "top").read_text()))
        self.root = root

    def fingerprint(self):
        return {"sha256": sizes_digest(sorted(self.root.iterdir()))}


class Reaching(Sleepy):
    """Sleepy, whose weights are its reach."""

    def __init__(self, weights: pathlib.Path, seconds: float) -> None:
        super().__init__(seconds)
        self.reach = int(weights.read_text())


class Gorge(Steady):
    """Steady, but takes all memory there is, once."""

    def __init__(self, once: pathlib.Path) -> None:
        super().__init__()
        self.once = once

    def predict(self, image, click, text):
        if not self.once.exists():
            self.once.touch()
            taken = []
            for _ in range(50):  # of 200 MB
                taken.append(np.ones(25_000_000))
                time.sleep(0.1)
            time.sleep(60)
        return super().predict(image, click, text)
'''


def mounts() -> bool:
    """Whether this user may mount in a namespace of their own."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(not mounts(), reason="needs a mount namespace of its own: Linux, as root"),
]


def memory() -> dict[str, int]:
    """GiB in all and free, as the system counts."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return {name: int(lines[name].split()[0]) >> 20 for name in ("MemTotal", "MemAvailable")}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    (folder / "far_plugins.py").write_text(PLUGINS)
    for name in ("hidden", "pictures", "same", "other"):
        (folder / name).mkdir()
    for name, reach, top in (("same", 5, 6), ("other", 9, 2)):
        (folder / name / "reach").write_text(str(reach))
        (folder / name / "top").write_text(top * ".")
    return folder


@pytest.fixture(scope="module", autouse=True)
def head(shared: Path) -> Iterator[str]:
    """The driver's node, which has no CPU, and the far one.

    There `hidden` and `pictures` are empty, and `same` holds what is in `other`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(shared), prepend=os.pathsep)
        patch.syspath_prepend(str(shared))
        folders = {"HIDE": f"{shared}/hidden {shared}/pictures", "SWAP": f"{shared}/other {shared}/same"}
        with ray_clusters.cluster(num_cpus=0) as started:
            cluster.connect(started.address)
            with joined(started.address, "far", RAY_memory_monitor_refresh_ms="0", **folders):
                yield started.address


@pytest.fixture(scope="module")
def near(head: str) -> Iterator[str]:
    """One more node, which has what the driver's has."""
    with joined(head, "near"):
        yield head


@contextmanager
def joined(address: str, name: str, **environment: str) -> Iterator[None]:
    """One more node, with a resource of its name, until the block ends.

    Folders in HIDE are empty there, and the second one in SWAP holds the files of the first one.
    """
    hide = "for one in $HIDE; do mount -t tmpfs none $one || exit 1; done"
    swap = '[ -z "$SWAP" ] || mount --bind $SWAP || exit 1'
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--address", address, "--num-cpus", "1", "--block"]
    start += ["--resources", json.dumps({name: 1}), "--include-log-monitor", "false"]
    command = ["unshare", "-m", "bash", "-c", f'{hide}; {swap}; exec "$@"', "bash", *start]
    deadline = time.monotonic() + 300
    process = subprocess.Popen(command, env=os.environ | environment)
    while name not in ray.cluster_resources() and time.monotonic() < deadline:
        if process.poll() is not None:  # On a busy machine Ray may give up on a node that is slow to start.
            process = subprocess.Popen(command, env=os.environ | environment)
        time.sleep(0.5)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def jobs(pictures: Path, method: dict[str, Any] | None = None) -> list[Job]:
    steady = MethodEntry(**({"name": "fakes:Steady", "label": "steady", "resources": {"far": 1}} | (method or {})))
    dataset = Plugin(name="far_plugins:Pictures", label="pictures", params={"root": str(pictures)})
    return planned(RunConfig(run="r", datasets=(dataset,), methods=(steady,)))


def ran(made: list[Job], store: Store) -> int:
    """Images done, but for a complaint."""
    running = Cluster(Workers(count=1, cpus=1, gpus=0), store)
    return sum(outcome.samples for outcome in running.run(remaining(made, store, 3)))


def filled(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        (folder / f"toy-{number}").touch()
    return folder


def test_a_checkpoint_that_the_node_lacks(shared: Path, tmp_path: Path) -> None:
    weights = filled(shared / "hidden") / "toy-0"
    made = jobs(filled(shared / "all"), {"params": {"checkpoint": str(weights)}})
    with pytest.raises(UserError, match=rf"^On node \S+ \(\S+\): 'steady': found checkpoint={weights} on the driver"):
        ran(made, Store(tmp_path))


def test_a_data_set_s_folder_that_the_node_lacks(shared: Path, tmp_path: Path) -> None:
    root = filled(shared / "hidden" / "data")
    with pytest.raises(UserError, match=rf"^On node \S+ \(\S+\): 'pictures': found root={root} on the driver"):
        ran(jobs(root), Store(tmp_path))


def test_images_that_the_node_lacks_end_the_run_before_any_row(shared: Path, tmp_path: Path) -> None:
    made, store = jobs(filled(shared / "pictures")), Store(tmp_path)
    with pytest.raises(UserError, match=r"^On node .*'pictures', image 'toy-0': FileNotFoundError: .* The driver"):
        ran(made, store)
    assert store.done(made[0].facts) == set()


def test_images_that_nobody_has_are_failed_rows(shared: Path, tmp_path: Path) -> None:
    empty = shared / "empty"
    empty.mkdir()
    made, store = jobs(empty), Store(tmp_path)
    assert ran(made, store) == 3
    rows = store.rows([made[0].facts], {"pictures": made[0].sample_ids})
    assert rows["error"].str.contains("No such file").all() and len(rows) == 3


def test_runs_that_the_node_keeps_to_itself(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ARRIVES_S", 1.0)
    store = Store(shared / "hidden" / "run")
    with pytest.raises(
        UserError, match=r"^On node .*/hidden/run/shards/\S+: worker \S+ wrote this file, but the driver, on"
    ):
        ran(jobs(filled(shared / "all")), store)


@pytest.mark.parametrize("differing", ["weights", "data"])
def test_other_files_at_one_path_end_the_run_and_leave_no_row(
    differing: str, near: str, shared: Path, tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    # An image takes the near worker so long that the far one comes before the near one has done all, and is refused.
    params: dict[str, Any] = {"seconds": 10}
    method, dataset = (
        {"name": "fakes:Sleepy", "label": "mine", "params": params},
        {"name": "fakes:Toys", "label": "toys"},
    )
    if differing == "weights":
        method["name"], params["weights"] = "far_plugins:Reaching", str(shared / "same" / "reach")
        said = rf"'mine': weights={shared}/same/reach has changed since the run was planned\."
    else:
        dataset |= {"name": "far_plugins:Sized", "params": {"root": str(shared / "same")}}
        said = rf"'toys': the data at root={shared}/same have changed since the run was planned: sha256 was"
    config = tmp_path / "mixed.yaml"
    workers = {"count": 2, "gpus": 0, "samples_per_shard": 1}
    whole = {"run": "mixed", "methods": [method], "datasets": [dataset], "workers": workers}
    config.write_text(yaml.safe_dump(whole))
    ended = here("run", config, "--runs", tmp_path, "--address", near)
    assert ended.returncode == 2, ended
    far = next(node for node in ray.nodes() if "far" in node["Resources"])
    where = rf"On node {far['NodeManagerHostname']} \({far['NodeManagerAddress']}\): "
    assert re.search(where + said, " ".join(ended.stderr.split())), ended
    params["seconds"] = 0
    config.write_text(yaml.safe_dump(whole))
    alone = Store(tmp_path / "alone")
    list(run_here(remaining(planned(load_run(config)), alone, 8), alone, threads=1))
    assert rows_in(tmp_path / "mixed") <= rows_in(tmp_path / "alone")


def rows_in(run: Path) -> set[tuple[Any, ...]]:
    """What the shards of a run say of each instance."""
    columns = ["instance_id", "ranking", "click_index", "pred_area_px", "iou", "gt_area_px"]
    parts = [pd.read_parquet(one, columns=columns) for one in run.glob("shards/*/*.parquet")]
    return {row for part in parts for row in part.itertuples(index=False, name=None)}


@pytest.mark.skipif(memory()["MemAvailable"] < ROOM_GIB, reason=f"needs {ROOM_GIB} GiB of free memory")
def test_a_worker_that_runs_out_of_memory_is_replaced(
    head: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "DEATHS_LOADING", 100)  # What else this machine does may take the memory, too.
    once, buried = tmp_path / "once", list[str]()
    gorge = {"name": "far_plugins:Gorge", "params": {"once": str(once)}, "resources": {"small": 1}}
    made, store = jobs(filled(shared / "all"), gorge), Store(tmp_path / "run")
    now = memory()
    most = (now["MemTotal"] - now["MemAvailable"] + 4) / now["MemTotal"]
    with joined(head, "small", RAY_memory_usage_threshold=f"{min(most, 0.95):.3f}"):
        running = Cluster(Workers(count=1, cpus=1, gpus=0), store)
        bury = running._bury
        monkeypatch.setattr(
            running, "_bury", lambda slot, reason, *more: (buried.append(reason), bury(slot, reason, *more))[1]
        )
        assert sum(outcome.samples for outcome in running.run(remaining(made, store, 3))) == 3
    assert once.exists() and buried
    assert all("killed due to the node running low on memory" in reason for reason in buried)
    rows = store.rows([made[0].facts], {"pictures": made[0].sample_ids})
    assert (rows["status"] == "ok").all() and len(rows) == 3 * 2 * 3
