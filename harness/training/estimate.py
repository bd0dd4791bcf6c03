"""How long a training would take, from a few measured steps of it on the device at hand."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import torch

from harness.config.recipe import Recipe
from harness.training.fit import Job
from harness.training.mistakes import memory_blamed
from harness.training.samples import KEPT_BYTES, SampleCache

MOST_STEPS = 10
"""Measured steps of a pass."""

_LEAST_STEPS = 3

_WEIGHED = 8
"""Images of whose size the others are taken to be."""


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

    The same steps are taken twice: the first time with images that have to be decoded, as in the first epoch or always
    where memory does not hold the data set, the second time with images and saliency features that are at hand.

    Args:
        recipe: What would be trained, from the start.
        for_s: No further step begins after so many seconds, once three are measured; listing the data, starting the
            loaders and a first step of each come before.

    Raises:
        UserError: As `fit`.
        FloatingPointError: The loss is not finite.
    """
    workers = max(1, recipe.workers)
    with memory_blamed(recipe.device), closing(Job.of(recipe, 0, workers)) as job:
        begun = job.processes  # The first step of each is slower than all others.
        _paced(job, range(begun), math.inf)
        end = time.monotonic() + for_s
        first = _paced(job, range(begun, begun + MOST_STEPS), end - for_s / 2)
        if job.loaders:
            job.loaders.settle()  # What the first pass asked for and did not take.
        again = _paced(job, range(begun, begun + len(first)), end) if time.monotonic() < end else first
        decoding, at_hand = _mean(first), _mean(again)
        seconds = at_hand + max(0.0, decoding - at_hand) * _decoded(job)
        hours = recipe.steps * seconds / 3600
        return Expected(1 / seconds, _named(job.state.device), hours, hours * workers, len(first))


def _paced(job: Job, steps: Sequence[int], end: float) -> list[float]:
    """Seconds of each of the steps; those that would begin after `end` are left out, but for the first three."""
    taken: list[float] = []
    batches = job.steps(steps[0], steps[-1] + 1)
    for step in steps:
        if time.monotonic() > end and len(taken) >= _LEAST_STEPS:
            break
        started = time.monotonic()
        job.advanced(step, next(batches))  # Waits for the device: it returns the loss.
        taken.append(time.monotonic() - started)
    return taken


def _mean(taken: Sequence[float]) -> float:
    return sum(taken) / len(taken)


def _decoded(job: Job) -> float:
    """The share of a training's examples whose image is not in memory yet."""
    recipe, draws = job.recipe, job.batches.draws.draws
    images = list(dict.fromkeys((draw.dataset, draw.sample_id) for draw in draws))
    if len(images) * _bytes_an_image(job.batches.samples, images[:_WEIGHED]) > KEPT_BYTES // job.processes:
        return 1.0
    return min(1.0, job.processes * len(images) / (recipe.steps * recipe.batch / max(1, recipe.workers)))


def _bytes_an_image(samples: SampleCache, images: Sequence[tuple[int, str]]) -> float:
    held = [samples.held(*image) for image in images]
    return sum(held) / len(held)


def _named(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, torch threads: {torch.get_num_threads()}"
