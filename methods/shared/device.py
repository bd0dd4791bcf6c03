"""Chooses the device on which a method's network runs."""

from __future__ import annotations

import torch

from harness.structures import UserError


def chosen_device(device: str) -> str:
    """The device, with "auto" replaced: by "cuda" if this process sees a GPU, else by "cpu".

    Raises:
        UserError: `device` is a GPU, and there is none.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"found no GPU for device={device}; wanted one that torch sees. Set `device: auto` or `cpu`.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
