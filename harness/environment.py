"""Describes the environment of a run or a training: versions, commit, machine, time."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from harness.places import CHECKOUT

PACKAGES = ("torch", "torchvision", "ray", "open_clip_torch", "segmentation_models_pytorch", "numpy", "pyarrow")


def environment() -> dict[str, Any]:
    """The environment of this start, as JSON values for the manifest."""
    return {
        "started": now(),
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "host": platform.node(),
        "cpus": os.cpu_count(),
        "gpus": _gpus(),
    }


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _gpus() -> list[str]:
    """The names of this machine's GPUs, by torch or, so as not to wait for its import, by NVIDIA's own tool."""
    if torch := sys.modules.get("torch"):
        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return _said(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).splitlines()


def _said(command: Sequence[str]) -> str:
    """What a command prints; "" if it is not there or fails."""
    try:
        return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def commit() -> str:
    """The version of this code: the checkout's commit, with "+" if files differ from it; "v0.1.0" if it is installed.

    In a checkout without git, as in Ray's copies, it is the value of HARNESS_COMMIT, or "".
    """
    if not CHECKOUT:
        return os.environ.get("HARNESS_COMMIT") or f"v{_version('text-click-harness')}"
    if not (head := _said(["git", "rev-parse", "--short=12", "HEAD"])):
        return os.environ.get("HARNESS_COMMIT", "")
    changed = _said(["git", "status", "--porcelain", "--untracked-files=no"])
    return head.strip() + ("+" if changed.strip() else "")
