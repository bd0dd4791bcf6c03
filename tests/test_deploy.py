"""The files in deploy/ fit the checkout that they start."""

from __future__ import annotations

import os
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


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs a checkout of git")
def test_the_copy_for_workers_is_as_large_as_the_page_says() -> None:
    kept = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    sent = [ROOT / name for name in kept.split("\0") if name and not name.startswith(("tests/", "docs/"))]
    (said,) = re.findall(r"a copy of the checkout: (\d+) MB", (ROOT / "docs" / "clusters.md").read_text("utf-8"))
    assert sum(file.stat().st_size for file in sent if file.is_file()) / 1e6 == pytest.approx(int(said), rel=0.1)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("script", ["slurm.sbatch", "slurm_array.sbatch"])
def test_the_batch_script_is_whole(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / "deploy" / script], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("given", "code", "part", "requeued"),
    [
        ({"SLURM_ARRAY_TASK_COUNT": "16"}, 0, "3/16", ""),
        ({"SLURM_ARRAY_TASK_COUNT": "2", "PARTS": "16"}, 1, "3/16", ""),
        ({"SLURM_ARRAY_TASK_COUNT": "16"}, 130, "3/16", "requeue 77_3\n"),
    ],
)
def test_a_task_of_the_array_is_a_part_and_is_queued_again_where_its_time_ended(
    tmp_path: Path, given: dict[str, str], code: int, part: str, requeued: str
) -> None:
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name, ends in (("python", code), ("scontrol", 0)):
        (tools / name).write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / name}\nexit {ends}\n')
        (tools / name).chmod(0o755)
    slurm = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "77", **given}
    command = ["bash", str(ROOT / "deploy" / "slurm_array.sbatch"), "configs/coco.yaml", "--limit", "5"]
    done = subprocess.run(command, env={**os.environ, **slurm}, check=False)
    assert done.returncode == code
    cut = f"--part {part} --set workers.executor=local --set workers.cpus=1"
    assert (tmp_path / "python").read_text() == f"-m harness run configs/coco.yaml --limit 5 {cut}\n"
    assert ((tmp_path / "scontrol").read_text() if requeued else "") == requeued
