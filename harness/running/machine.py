"""Is this machine, or the cluster it joins, fit for a run? GPU, Ray, shared memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from harness.cluster import capacity
from harness.cluster.connect import readable
from harness.config.run_config import RunConfig
from harness.running.doctor import Finding, State
from harness.structures import UserError

SHARED_MEMORY_MIB = 256
"""Ray keeps messages there; ours are small, but containers often come with 64 MiB, in which Ray is slow."""


def fitness(config: RunConfig, address: str | None = None) -> Iterator[Finding]:
    """What the machine lacks for a run, or that it lacks nothing."""
    yield _gpu(config)
    if config.workers.executor == "ray":
        yield _ray(config, address)
        yield _shared_memory()


def _gpu(config: RunConfig) -> Finding:
    import torch

    wanted = max([config.workers.gpus or 0.0, *(method.gpus or 0.0 for method in config.methods)])
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if names:
        return Finding("gpu", State.FINE, f"{', '.join(names)}; CUDA {torch.version.cuda}")
    if wanted:
        todo = "Run it on the cluster (--address), mend the driver (nvidia-smi), or set `gpus: 0`."
        return Finding("gpu", State.NOTE, f"none on this machine; a worker asks for {wanted:g}. {todo}")
    return Finding("gpu", State.NOTE, "none: everything runs on the CPU, large models slowly")


def _ray(config: RunConfig, address: str | None) -> Finding:
    try:
        resources = capacity.resources(config, address)
    except UserError as error:
        return Finding("ray", State.WRONG, str(error))
    return Finding("ray", State.FINE, f"started a worker's process; the cluster has {readable(resources)}")


def _shared_memory(folder: Path = Path("/dev/shm")) -> Finding:
    if not folder.is_dir():
        return Finding("shared memory", State.NOTE, f"no {folder}: Ray uses files in /tmp instead")
    free = shutil.disk_usage(folder).free >> 20
    if free < SHARED_MEMORY_MIB:
        found = f"found {free} MiB free in {folder}; wanted {SHARED_MEMORY_MIB}"
        return Finding("shared memory", State.WRONG, f"{found}. In Docker: --shm-size=1g; in Kubernetes: an emptyDir.")
    return Finding("shared memory", State.FINE, f"{free} MiB free in {folder}")
