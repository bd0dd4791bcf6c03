"""Compares LAVT with its bare networks: `python -m benchmarks.referring`, two minutes, no downloads.

The published size (Swin-B at 480 x 480 pixels, BERT base) with random weights is asked for two sentences about a
picture of 640 x 480. The same calls of its networks, with the method's inputs, take turns with the method's own answer.
CPU time of the process for a sentence, on one thread, medians. A count of the calls shows which work is shared: the
picture's first stage is computed once, not once for each sentence.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from harness.methods.learners.lavt import LavtLearner
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from benchmarks.click_systems import GOAL, cpu_ms, kept
from harness.plugins import parameters
from harness.structures import Prompt

WORDS = ("the", "left", "right", "car", "wheel", "of")
SENTENCES = ("the left car", "the right wheel of the left car")


def main(rounds: Annotated[int, typer.Option(help="How often each is measured; the median counts.")] = 5) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    method, image = made(), np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    prompts = [Prompt((), sentence) for sentence in SENTENCES]

    def whole() -> None:
        method.segment([(method.encode([image])[0], prompts)])

    calls, times = recorded(method)
    whole()
    asked, first = list(calls), dict(times)
    bare_ms, whole_ms = [], []
    for _ in range(rounds):
        bare_ms.append(cpu_ms(lambda: [call() for call in asked]) / len(prompts))
        whole_ms.append(cpu_ms(whole) / len(prompts))
    bare, method_ms = median(bare_ms), median(whole_ms)
    table = Table("system", "its networks, ms", "the method, ms", "ratio", f"goal: {GOAL}", min_width=72)
    ratio = method_ms / bare
    reached = "yes" if ratio <= GOAL else "no"
    table.add_row("LAVT, a sentence", f"{bare:.0f}", f"{method_ms:.0f}", f"{ratio:.3f}", reached)
    Console().print(table)
    calls_made = ", ".join(f"{name} {count}" for name, count in first.items())
    Console().print(f"Calls of its networks for {len(prompts)} sentences about a picture: {calls_made}.")


def made() -> Any:
    """LAVT of the published size with random weights; its vocabulary is a few words, which costs the same."""
    torch.manual_seed(0)
    learner = LavtLearner(WORDS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lavt.safetensors"
        weights = {name: one.contiguous() for name, one in learner.network.state_dict().items()}
        save_file(weights, path, dict(learner.metadata()))
        params = {"checkpoint": str(path), "device": "cpu"}
        return parameters.build("methods", "lavt", parameters.resolve("methods", "lavt", params))


def recorded(method: Any) -> tuple[list[Any], Counter[str]]:
    """A list that from now on gets every call of the networks, as a function that repeats it; and a count of calls."""
    found: list[Any] = []
    times: Counter[str] = Counter()
    for name in ("begin", "finish"):
        setattr(method.network, name, counted(kept(getattr(method.network, name), found), name, times))
    method.bert.forward = counted(kept(method.bert.forward, found), "bert", times)
    return found, times


def counted(function: Any, name: str, times: Counter[str]) -> Any:
    """The function, which also counts its calls."""

    def asked(*given: Any) -> Any:
        times[name] += 1
        return function(*given)

    return asked


if __name__ == "__main__":
    typer.run(main)
