"""Compares a click system with its bare networks: `python -m benchmarks.click_systems`, a minute, no downloads.

A method chooses a window, cuts, resizes, draws, asks its networks and pastes. It is timed on the second of two clicks
on a picture of 640 x 480, with a disc as the mask of the first. Its networks are timed on the inputs that they then
got; the two take turns. The networks have the smallest published shapes, so that the work beside them weighs most, and
random weights. CPU time of the process, on one thread, medians.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from harness.methods.focalclick.checkpoint import SegFormerArguments
from harness.methods.focalclick.network import FocalClickNetwork
from harness.methods.ritm.network import RitmArchitecture, RitmNetwork
from harness.methods.ritm.zoom import ZoomIn
from harness.methods.simpleclick.network import (
    Backbone,
    Neck,
    Segmenter,
    SimpleClickArchitecture,
    SimpleClickNetwork,
)
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch import nn

from harness.plugins import parameters
from harness.structures import Click, Prompt

GOAL = 1.05
"""CPU time of the method over that of its networks, at most."""

FIXED = ZoomIn(target_size=(400, 400), skip_clicks=-1)
FOUR = (96, 192, 288, 384)
XTINY = SimpleClickArchitecture(
    norm_radius=5,
    use_disks=True,
    with_prev_mask=True,
    backbone_params=Backbone(160, 8, 4),
    neck_params=Neck(160, FOUR),
    head_params=Segmenter(FOUR, 128),
)
HRNET18S = RitmArchitecture(
    width=18,
    ocr_width=48,
    small=True,
    use_leaky_relu=True,
    use_rgb_conv=False,
    norm_radius=5,
    use_disks=True,
    with_prev_mask=True,
)
B0 = SegFormerArguments(pipeline_version="s2", model_version="b0").architecture()

SYSTEMS: dict[str, tuple[str, Any, type[nn.Module], dict[str, Any]]] = {
    "RITM HRNet18s, 400 x 400, flip": ("ritm", HRNET18S, RitmNetwork, {"zoom": asdict(FIXED)}),
    "SimpleClick ViT-xtiny, flip": ("simpleclick", XTINY, SimpleClickNetwork, {}),
    "FocalClick SegFormer-B0, S2": ("focalclick", B0, FocalClickNetwork, {}),
}


def main(rounds: Annotated[int, typer.Option(help="Of each measurement, of which the median counts.")] = 9) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    table = Table("system", "its networks, ms", "the method, ms", "ratio", f"goal: {GOAL}", min_width=72)
    for name, (plugin, architecture, build, options) in SYSTEMS.items():
        bare, whole = measured(made(plugin, architecture, build, options), rounds)
        ratio = whole / bare
        table.add_row(name, f"{bare:.0f}", f"{whole:.0f}", f"{ratio:.3f}", "yes" if ratio <= GOAL else "no")
    Console().print(table)


def made(plugin: str, architecture: Any, build: type[nn.Module], options: dict[str, Any]) -> Any:
    """The method with random weights."""
    torch.manual_seed(0)
    network = build(architecture)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        weights = {name: one.contiguous() for name, one in network.state_dict().items()}
        save_file(weights, path, {"architecture": json.dumps(asdict(architecture))})
        params = {"checkpoint": str(path), "device": "cpu", **options}
        return parameters.build("methods", plugin, parameters.resolve("methods", plugin, params))


def measured(method: Any, rounds: int) -> tuple[float, float]:
    """CPU time of the networks and of the method in ms, for the second click; they take turns."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    (state,) = method.encode([image])
    # The mask of a first click: a disc.
    y, x = np.indices(image.shape[:2])
    before = np.hypot(y - 200, x - 300) < 90
    prompt = Prompt((Click(300, 200), Click(420, 240)), None, before)
    calls = recorded(method)
    method.segment([(state, [prompt])])
    asked = list(calls)
    bare, whole = [], []
    for _ in range(rounds + 1):
        bare.append(cpu_ms(lambda: [call() for call in asked]))
        whole.append(cpu_ms(lambda: method.segment([(state, [prompt])])))
    return median(bare[1:]), median(whole[1:])


def recorded(method: Any) -> list[Callable[[], Any]]:
    """A list that from now on gets every call of the networks, as a function that repeats it."""
    found: list[Callable[[], Any]] = []
    network = method.network
    if hasattr(network, "coarse"):
        for name in ("coarse", "refined"):
            setattr(network, name, kept(getattr(network, name), found))
    else:
        method.network = kept(network, found)
    return found


def kept(function: Callable[..., Any], found: list[Callable[[], Any]]) -> Callable[..., Any]:
    """The function, which also keeps each of its calls."""

    def asked(*given: Any) -> Any:
        found.append(torch.inference_mode()(lambda: function(*given)))
        return function(*given)

    return asked


def cpu_ms(call: Callable[[], Any]) -> float:
    """CPU time of a call."""
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1000


if __name__ == "__main__":
    typer.run(main)
