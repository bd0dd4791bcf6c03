"""How long a training would take, estimated from a few of its steps on the device at hand."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import torch

from harness.config.recipe import Recipe
from harness.training.mistakes import memory_blamed
from harness.training.one_rank import Training
from harness.training.samples import KEPT_BYTES, SampleCache

MOST_STEPS = 10
"""The measured steps of a pass, at most."""

_LEAST_STEPS = 3

_WEIGHED = 8
"""The images whose mean size stands for that of all."""


@dataclass(frozen=True)
class Expected:
    """What a training would take with workers as fast as this process.

    Attributes:
        steps_per_s: Of one worker with its share of the batch; what workers tell each other takes time, too, and is
            left out, as are validation and checkpoints.
        device: What was measured: a GPU's name, or a CPU's with torch's threads.
        hours: From start to end.
        device_hours: Hours times workers: GPU-hours, or those of a CPU worker.
        measured: Steps that the figures rest on.
    """

    steps_per_s: float
    device: str
    hours: float
    device_hours: float
    measured: int


def expected_hours(recipe: Recipe, for_s: float = 60.0) -> Expected:
    """Train a few steps, and forget them.

    The same steps are taken twice: the first time their images have to be decoded, the second time images and saliency
    features are in memory. A training begins like the first pass and goes on like the second, if memory holds its
    images, so a step takes the second pass's time plus, for the share of examples whose image is not in memory yet,
    the difference between the two:

        seconds = at_hand + (decoding - at_hand) * share        share: images / examples drawn in all, at most 1;
                                                                1 where memory does not hold the images

    Args:
        recipe: What would be trained, from the start.
        for_s: No further step begins after so many seconds, once three are measured; listing the data, starting the
            loaders and a first step of each come before.

    Raises:
        UserError: For the same reasons as `fit`.
    """
    workers = max(1, recipe.workers)
    with memory_blamed(recipe.device), closing(Training.of(recipe, 0, workers)) as training:
        begun = training.processes  # The first step of each is slower than all others.
        _paced(training, range(begun), math.inf)
        end = time.monotonic() + for_s
        # The first pass may take half of the time, so that as much is left for the second.
        first = _paced(training, range(begun, begun + MOST_STEPS), end - for_s / 2)
        if training.loaders:
            training.loaders.settle()  # What the first pass asked for and did not take.
        again = _paced(training, range(begun, begun + len(first)), end) if time.monotonic() < end else first
        decoding, at_hand = _mean(first), _mean(again)
        seconds = at_hand + max(0.0, decoding - at_hand) * _decoded(training)
        hours = recipe.steps * seconds / 3600
        return Expected(1 / seconds, _named(training.state.device), hours, hours * workers, len(first))


def _paced(training: Training, steps: Sequence[int], end: float) -> list[float]:
    """Seconds of each of the steps; those that would begin after `end` are left out, but for the first three."""
    taken: list[float] = []
    batches = training.steps(steps[0], steps[-1] + 1)
    for step in steps:
        if time.monotonic() > end and len(taken) >= _LEAST_STEPS:
            break
        started = time.monotonic()
        training.state.step(step, next(batches))  # Waits for the device: it returns the loss.
        taken.append(time.monotonic() - started)
    return taken


def _mean(taken: Sequence[float]) -> float:
    return sum(taken) / len(taken)


def _decoded(training: Training) -> float:
    """The share of a training's examples whose image is not in memory yet."""
    recipe, draws = training.recipe, training.batches.draws.draws
    images = list(dict.fromkeys((draw.dataset, draw.sample_id) for draw in draws))
    if len(images) * _bytes_an_image(training.batches.samples, images[:_WEIGHED]) > KEPT_BYTES // training.processes:
        return 1.0
    return min(1.0, training.processes * len(images) / (recipe.steps * recipe.batch / max(1, recipe.workers)))


def _bytes_an_image(samples: SampleCache, images: Sequence[tuple[int, str]]) -> float:
    held = [samples.held(*image) for image in images]
    return sum(held) / len(held)


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, torch threads: {torch.get_num_threads()}"
