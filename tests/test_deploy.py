"""The files in deploy/ fit the checkout that they start."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
JOB: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "rayjob.yaml").read_text("utf-8"))["spec"]


def pods() -> list[dict[str, Any]]:
    cluster = JOB["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_every_node_runs_the_ray_of_this_checkout() -> None:
    (ray,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert JOB["rayClusterSpec"]["rayVersion"] == ray
    images = {container["image"] for pod in pods() for container in pod["containers"]}
    assert len(images) == 1


def test_every_node_sees_the_data_and_the_runs_at_one_place() -> None:
    told = yaml.safe_load(JOB["runtimeEnvYAML"])["env_vars"]
    for pod in pods():
        (container,) = pod["containers"]
        mounted = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        assert {told["HARNESS_DATA"], told["HARNESS_RUNS"], "/dev/shm"} <= set(mounted)
        assert set(mounted.values()) == {volume["name"] for volume in pod["volumes"]}


def test_the_entrypoint_is_a_run_of_this_checkout() -> None:
    *command, config = JOB["entrypoint"].split()
    assert command == ["python", "-m", "harness", "run"] and (ROOT / config).is_file()
    docker = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    assert f"WORKDIR {yaml.safe_load(JOB['runtimeEnvYAML'])['working_dir']}\n" in docker


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_batch_script_is_whole() -> None:
    subprocess.run(["bash", "-n", ROOT / "deploy" / "slurm.sbatch"], check=True)
