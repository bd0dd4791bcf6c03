"""A head that Ray could not join is told for what it is, before Ray is asked."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest
import ray
from ray._raylet import GcsClient

import ray_heads
from harness import UserError
from harness.cluster import head
from harness.cluster.connect import connect
from harness.config.run_config import RunConfig
from harness.running import doctor

TOKEN = secrets.token_hex(32)


@pytest.mark.parametrize(
    "made,says",
    [
        (
            lambda: ray_heads.head(python_version="3.12.1"),
            rf"found Ray {ray.__version__} and Python 3\.12\.1 at --address .*; wanted .*requires the same versions",
        ),
        (lambda: ray_heads.head(ray_version="2.9.0"), r"found Ray 2\.9\.0 and Python .* at --address"),
        (
            lambda: ray_heads.head(refuses=grpc.StatusCode.UNAUTHENTICATED),
            r"the head at --address .* requires a token.*RAY_AUTH_MODE=token.*docs/clusters\.md",
        ),
        (ray_heads.no_head, r"what answers at --address .* is not the head of a Ray cluster"),
    ],
)
def test_a_head_that_cannot_be_joined_is_told_for_what_it_is(
    made: Callable[[], AbstractContextManager[str]], says: str
) -> None:
    with made() as address:
        started = time.monotonic()
        with pytest.raises(UserError, match=f"^cluster: .*{says}"):
            head.check(address, f"--address {address}")
        assert time.monotonic() - started < 15


@pytest.mark.parametrize("refuses", [None, grpc.StatusCode.INTERNAL])
def test_a_head_of_the_same_versions_or_that_does_not_say_them_is_left_to_ray(refuses: grpc.StatusCode | None) -> None:
    with ray_heads.head(refuses) as address:
        head.check(address, address)


def test_a_patch_of_python_matters_as_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    patch = f"{sys.version_info.major}.{sys.version_info.minor}.99"
    with ray_heads.head(python_version=patch) as address:
        with pytest.raises(UserError, match="another|found Ray"):
            head.check(address, address)
        monkeypatch.setenv("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "minor")
        head.check(address, address)


def test_doctor_says_it_among_its_findings() -> None:
    config = RunConfig.model_validate({"run": "r", "datasets": [{"name": "scenes"}], "methods": [{"name": "ours"}]})
    with ray_heads.head(python_version="3.12.1") as address:
        found = {one.subject: one for one in doctor.fitness(config, address)}
    assert found["ray"].state is doctor.State.WRONG and "Python 3.12.1" in found["ray"].text
    assert {"gpu", "ray", "shared memory"} <= found.keys()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real head that wants a token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port", str(port), "--num-cpus", "0"]
    start += ["--block", "--temp-dir", f"/tmp/ray-{os.getpid()}"]
    start += ["--include-dashboard", "false", "--include-log-monitor", "false", "--no-monitor"]
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    process = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as knock:
            if not knock.connect_ex(("127.0.0.1", port)):
                break
        time.sleep(0.5)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(60)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("token", ["", TOKEN[::-1], TOKEN], ids=["none", "wrong", "right"])
def test_a_real_head_that_wants_a_token(
    guarded: str, token: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    command = [sys.executable, "-c", "import sys; from harness.cluster.connect import connect; connect(sys.argv[1])"]
    shown = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}
    started = time.monotonic()
    done = subprocess.run([*command, guarded], env=os.environ | shown, capture_output=True, text=True)
    if token == TOKEN:
        assert done.returncode == 0, done.stderr
    else:
        assert f"UserError: cluster: the head at --address {guarded} requires a token" in done.stderr
    assert time.monotonic() - started < 60  # most of it: imports


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_head_that_says_it_runs_another_python(shared_ray: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head of this Python whose record of its versions is overwritten, as one of another Python would write it."""
    key, space = b"CLUSTER_METADATA", b"cluster"
    store = GcsClient(address=shared_ray)
    own = store.internal_kv_get(key, namespace=space)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # as in a process that joins it now
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray is asked to join it"))
    store.internal_kv_put(key, json.dumps(json.loads(own) | {"python_version": "3.12.1"}).encode(), True, space)
    try:
        with pytest.raises(UserError, match=r"Python 3\.12\.1 at --address"):
            connect(shared_ray)
    finally:
        store.internal_kv_put(key, own, True, space)
