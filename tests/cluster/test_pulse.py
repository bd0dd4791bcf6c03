"""A cluster that is gone: noticed, told as what it is, and not waited for. Starts no Ray but where marked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
import yaml

from harness import UserError, places
from harness.cluster import pulse
from harness.cluster.connect import Node
from harness.cluster.pulse import ClusterLostError, Pulse

HOME = Node("1", "login", "10.0.0.1")


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A head that answers until it is closed, and a cluster that has the home node."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=address))
        monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": "1", "Alive": True}])
        monkeypatch.setattr(pulse, "this_node", lambda _: HOME)
        monkeypatch.setattr(pulse, "LOOK_EVERY_S", 0.0)
        yield listening


def test_a_cluster_that_answers_is_not_lost(head: socket.socket) -> None:
    Pulse(own=True).check()
    Pulse(own=False).check()


def test_the_head_of_an_own_cluster_that_is_gone_is_told_at_once(head: socket.socket) -> None:
    seen, started = Pulse(own=True), time.monotonic()
    head.close()
    with pytest.raises(
        ClusterLostError, match=rf"^cluster: Ray was lost .*: its head, {seen.head}, does not answer \("
    ):
        seen.check()
    assert time.monotonic() - started < 2


def test_a_head_that_is_lost_while_it_answers_is_told_too(head: socket.socket) -> None:
    """Ray's own call would block for a minute and end the process."""
    seen, answered, started = Pulse(own=True), threading.Event(), time.monotonic()

    def call() -> None:
        head.close()
        answered.wait(60)

    with pytest.raises(ClusterLostError, match="does not answer"):
        seen.ask(call)
    assert time.monotonic() - started < 10
    answered.set()


def test_an_answer_and_an_error_of_a_call_are_passed_on(head: socket.socket) -> None:
    seen = Pulse(own=True)
    assert seen.ask(lambda: 3) == 3
    with pytest.raises(KeyError, match="wrong"):
        seen.ask(lambda: {}["wrong"])


@pytest.mark.slow
def test_a_joined_cluster_s_head_has_a_time_to_come_back(head: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "RETURNS_S", 0.5)
    seen = Pulse(own=False)
    head.close()
    slept: list[float] = []
    wake = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: (slept.append(seconds), wake(seconds))[1])
    with pytest.raises(ClusterLostError, match=r"does not answer for 0\.5 s .*the same command: it goes on from there"):
        seen.check()
    assert len(slept) == 1
    host, _, port = seen.head.rpartition(":")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind((host, int(port)))
        again.listen()
        seen.check()


def test_a_node_that_left_the_cluster_is_named(head: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Pulse(own=False)
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": "1", "Alive": False}, {"NodeID": "2", "Alive": True}])
    with pytest.raises(UserError, match=r"the node of this process, login \(10\.0\.0\.1\), is no longer"):
        seen.check()


def test_a_head_that_was_never_reached_is_not_watched(head: socket.socket) -> None:
    head.close()
    Pulse(own=True).check()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("killed", ["gcs_server", "raylet"])
def test_a_run_whose_ray_is_killed_says_so(killed: str, tmp_path: Path, run_name: str) -> None:
    toys = {"name": "fakes:Toys", "label": "toys", "params": {"count": 1000}}
    sleepy = {"name": "fakes:Sleepy", "label": "sleepy", "params": {"seconds": 0.1}}
    workers = {"cpus": 0.5, "gpus": 0, "count": 1, "samples_per_shard": 3}
    config = tmp_path / "r.yaml"
    config.write_text(yaml.safe_dump({"run": run_name, "datasets": [toys], "methods": [sleepy], "workers": workers}))
    folder, mark = places.ROOT / "runs" / run_name, {"HARNESS_TEST": run_name}
    command = [sys.executable, "-m", "harness", "run", str(config)]
    run = subprocess.Popen(
        command, cwd=places.ROOT, env=os.environ | mark, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while run.poll() is None and not list((folder / "shards").rglob("*.parquet")):
        time.sleep(0.2)
    assert run.poll() is None, run.communicate()
    for process in marked(f"HARNESS_TEST={run_name}", killed):
        os.kill(process, signal.SIGKILL)
    try:
        _, said = run.communicate(timeout=90)
    finally:
        run.kill()
    assert run.returncode == 2, said
    assert "error cluster: Ray was lost in the middle of the work: " in said and "Traceback" not in said
    assert not (folder / "report.md").exists()


def marked(mark: str, program: str) -> list[int]:
    """The processes of a program that have this in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                title, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue
            if title.split(b"\0")[0].endswith(program.encode()) and mark.encode() in environment:
                found.append(int(entry.name))
    return found
