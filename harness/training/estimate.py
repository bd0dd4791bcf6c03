"""Estimates the time of a training from a few of its steps on the device at hand."""

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
"""The most steps that a pass measures."""

_LEAST_STEPS = 3

_WEIGHED = 8
"""How many images are loaded to estimate the mean size of all."""


@dataclass(frozen=True)
class Expected:
    """The time of a training with workers as fast as this process.

    Attributes:
        steps_per_s: The steps per second of one worker with its share of the batch. The workers' exchange of gradients,
            validation and checkpoints are left out.
        device: The measured device: a GPU's name, or a CPU's name with the number of torch's threads.
        hours: The hours from start to end.
        device_hours: Hours times workers: GPU-hours, or hours of a CPU worker.
        measured: How many steps were measured.
    """

    steps_per_s: float
    device: str
    hours: float
    device_hours: float
    measured: int


def expected_hours(recipe: Recipe, for_s: float = 60.0) -> Expected:
    """Train a few steps, measure them, and throw the result away.

    The same steps are taken twice: the first time their images have to be decoded, the second time images and saliency
    features are in memory. If the memory is large enough for all images, a training begins like the first pass and goes
    on like the second. So the difference between the two passes counts for the share of examples whose image is not in
    memory yet:

        seconds = at_hand + (decoding - at_hand) * share        share: images / examples drawn in all, at most 1;
                                                                1 if the images do not fit into memory

    For example, 0.3 s with decoding and 0.1 s without, 1000 images and 10 000 examples: 0.1 + 0.2 * 0.1 = 0.12 s.

    Args:
        recipe: The recipe that would be trained, from the start.
        for_s: No further step begins after this many seconds, once three are measured. Listing the data, starting the
            loaders and a first step of each loader come before and are not counted.

    Raises:
        UserError: For the same reasons as `fit`.
    """
    workers = max(1, recipe.workers)
    if recipe.batch_norm == "sync" and recipe.batch == workers * recipe.accumulate and workers > 1:
        # Norms over all workers normalise one example of each. The one that is here has no variance by itself, so that
        # its norms keep their statistics; this takes nearly as long.
        recipe = recipe.model_copy(update={"batch_norm": "frozen"})
    with memory_blamed(recipe.device), closing(Training.of(recipe, 0, workers)) as training:
        begun = training.processes  # The first step of each process is slower than all others, and is not measured.
        _paced(training, range(begun), math.inf)
        end = time.monotonic() + for_s
        # The first pass may take half of the time, so that as much is left for the second.
        first = _paced(training, range(begun, begun + MOST_STEPS), end - for_s / 2)
        if training.loaders:
            training.loaders.settle()  # Steps that the first pass requested and did not use are still being made.
        again = _paced(training, range(begun, begun + len(first)), end) if time.monotonic() < end else first
        decoding, at_hand = _mean(first), _mean(again)
        seconds = at_hand + max(0.0, decoding - at_hand) * _decoded(training)
        hours = recipe.steps * seconds / 3600
        return Expected(1 / seconds, _named(training.state.device), hours, hours * workers, len(first))


def _paced(training: Training, steps: Sequence[int], end: float) -> list[float]:
    """Seconds of each of the steps; a step that would begin after `end` is left out, except the first three."""
    taken: list[float] = []
    batches = training.steps(steps[0], steps[-1] + 1)
    for step in steps:
        if time.monotonic() > end and len(taken) >= _LEAST_STEPS:
            break
        started = time.monotonic()
        # A GPU works behind Python's back: without a wait the clock would only measure the launches.
        training.state.step(step, next(batches))  # Waits for the device: it returns the loss.
        taken.append(time.monotonic() - started)
    return taken


def _mean(taken: Sequence[float]) -> float:
    return sum(taken) / len(taken)


def _decoded(training: Training) -> float:
    """The share of a training's examples whose image is not in memory yet."""
    recipe, draws = training.recipe, training.batches.draws.draws
    images = list(dict.fromkeys((draw.dataset, draw.sample_id) for draw in draws))
    # Each process keeps images in a memory of its own. So all images must fit into one process's part of the memory,
    # and each process decodes each image once.
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
