"""Which cluster is joined, what its workers run in, and where a job may keep its run. Starts no Ray."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import services
from ray.exceptions import AuthenticationError, RuntimeEnvSetupError
from ray.runtime_env.runtime_env import _merge_runtime_env

import ray_heads
from harness import UserError, places
from harness.cluster import connect as joining
from harness.storage.folder import Folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Ray is asked for."""
    said: dict[str, Any] = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **given: said.update(given))
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    return said


def job(monkeypatch: pytest.MonkeyPatch, **runtime_env: Any) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": runtime_env, "metadata": {}}))


def test_without_an_address_no_cluster_of_somebody_else_is_joined(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    joining.connect(None)
    assert asked["address"] == "local"
    with ray_heads.head() as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        joining.connect(None)
        assert asked["address"] == address
        with pytest.raises(UserError, match=r"^cluster: no Ray cluster at --address auto"):
            monkeypatch.setattr(services, "canonicalize_bootstrap_address_or_die", none_found)
            joining.connect("auto")


def none_found(_: str) -> str:
    raise ConnectionError("Could not find any running Ray instance.")


def test_what_named_a_dead_cluster_is_named(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", dead)
    with pytest.raises(UserError, match=rf"^cluster: no Ray cluster at RAY_ADDRESS={dead} \(.*refused"):
        joining.connect(None)
    assert not asked


@pytest.mark.parametrize(
    "error,says",
    [
        (AuthenticationError("no token was found"), r"Ray at this machine requires a token.*RAY_AUTH_MODE=token"),
        (RuntimeError("Failed to start\n the raylet"), r"Ray did not start on this machine \(RuntimeError: Failed to "),
        (OSError(28, "No space left on device"), r"Ray did not start on this machine \(OSError: .*No space left.*logs"),
    ],
)
def test_what_keeps_ray_from_starting_here_is_no_missing_cluster(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def fails(**_: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "init", fails)
    with pytest.raises(UserError, match=rf"^cluster: {says}"):
        joining.connect(None)
    assert not asked


@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_a_checkout_that_is_too_large_to_copy_is_no_missing_cluster(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    def fails(**_: Any) -> None:
        raise RuntimeEnvSetupError("Failed to upload: Package size (568.12MiB) exceeds the maximum size of 512.00MiB.")

    monkeypatch.setattr(ray, "init", fails)
    monkeypatch.setattr(joining.head, "check", lambda *_: None)
    with pytest.raises(
        UserError, match=r"^cluster: the checkout cannot .*568\.12MiB.* Move large files .* \.rayignore"
    ):
        joining.connect(address)


def test_another_python_behind_ray_s_client_is_told(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: Any) -> None:
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Python: 3.12.1")

    monkeypatch.setattr(ray, "init", fails)
    with (
        ray_heads.head() as address,
        pytest.raises(UserError, match=r"^cluster: found another version of Python or Ray at --address"),
    ):
        joining.connect(address)
    assert not asked


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_not_there_is_told_at_once(asked: dict[str, Any], scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{free.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(UserError, match=rf"^cluster: no Ray cluster at --address {address} \(.*refused.*\)\. Start"):
        joining.connect(address)
    assert time.monotonic() - started < 5 and not asked


def test_workers_run_a_copy_of_the_checkout(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    joining.connect(None)
    sent = asked["runtime_env"]
    assert sent["working_dir"] == str(places.ROOT) and "HARNESS_INDEX" in sent["env_vars"]
    job(monkeypatch, env_vars={"A": "b", "HARNESS_INDEX": "/mnt/index"})  # and no copy
    monkeypatch.setenv("HARNESS_INDEX", "/mnt/index")
    joining.connect(None)
    assert asked["runtime_env"] == sent | {"env_vars": sent["env_vars"] | {"HARNESS_INDEX": "/mnt/index"}}
    given = json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"])["runtime_env"]
    merged = _merge_runtime_env(given, asked["runtime_env"], os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] == "1")
    assert merged is not None and merged["env_vars"]["A"] == "b"  # None is a conflict, for which Ray does not start
    job(monkeypatch, working_dir="gcs://_ray_pkg_1.zip")
    joining.connect(None)
    assert asked["runtime_env"] == {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}}


def test_workers_find_what_the_driver_finds(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "plugins::/mnt/more")
    monkeypatch.setenv("HARNESS_INDEX", "listings")
    monkeypatch.setenv("HARNESS_MAX_MEGAPIXELS", "400")
    joining.connect(None)
    told = asked["runtime_env"]["env_vars"]
    assert told.pop("HARNESS_MAX_MEGAPIXELS") == "400" and told.pop("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO") == "1"
    assert told == {"PYTHONPATH": f"{Path.cwd()}/plugins:/mnt/more", "HARNESS_INDEX": str(places.ROOT / "listings")}
    monkeypatch.delenv("PYTHONPATH")
    joining.connect(None)
    assert "PYTHONPATH" not in asked["runtime_env"]["env_vars"]


def test_an_installed_harness_is_not_copied(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "CHECKOUT", None)
    joining.connect(None)
    assert set(asked["runtime_env"]) == {"env_vars"}


def test_a_complaint_names_a_node_that_is_not_the_driver_s() -> None:
    home, far = joining.Node("1", "login", "10.0.0.1"), joining.Node("2", "gpu-7", "10.0.0.7")
    assert str(joining.complaint("no.", far, home)) == "On node gpu-7 (10.0.0.7): no."
    assert str(joining.complaint("no.", home, home)) == str(joining.complaint("no.", None, home)) == "no."


def test_a_job_keeps_its_run_outside_of_ray_s_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inside = Folder.at(places.ROOT / "runs" / "r")
    joining.check_kept(inside)
    job(monkeypatch, working_dir="gcs://_ray_pkg_1.zip")
    with pytest.raises(UserError, match=r"runs/r: lies in Ray's copy of the checkout.*HARNESS_RUNS"):
        joining.check_kept(inside)
    joining.check_kept(Folder.at(tmp_path))
    joining.check_kept(Folder.at("s3://b/runs?region=us-east-1"))
