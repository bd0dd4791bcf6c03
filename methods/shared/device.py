"""Chooses the device on which a method's network runs, and in what precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from harness.structures import UserError

P = ParamSpec("P")
R = TypeVar("R")


def chosen_device(device: str) -> str:
    """The device, with "auto" replaced: by "cuda" if this process sees a GPU, else by "cpu".

    Raises:
        UserError: `device` is a GPU, and there is none.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"found no GPU for device={device}; wanted one that torch sees. Set `device: auto` or `cpu`.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Compute in float32 without gradients: no GPU may shorten the factors of its convolutions and matrix products."""

    @wraps(function)
    def computed(*args: P.args, **kwargs: P.kwargs) -> R:
        # By default torch lets convolutions on a GPU drop 13 of 23 bits (TF32), but matrix products only on request.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return function(*args, **kwargs)

    return computed
