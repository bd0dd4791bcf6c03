"""One worker's part of a training job: the whole of it, where there is but one.

Everything random comes from (seed, step): a job that was stopped and resumed ends with the weights of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist

from harness.config.parts import Plugin
from harness.config.recipe import Recipe
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset, Learner
from harness.structures import UserError
from harness.training.batches import Batch, Batches
from harness.training.loaders import Loaders
from harness.training.mistakes import memory_blamed
from harness.training.samples import KEPT_BYTES, Draws, SampleCache
from harness.training.steps import TrainingState


@dataclass(frozen=True)
class Progress:
    """Where a training job stands.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        loss: Mean over the steps since the last report.
        lr: The learning rate.
        steps_per_s: Since this process started.
        waited: The share of that time in which it waited for examples.
        validation: The mean loss of the fixed examples, where they were looked at since the last report.
    """

    step: int
    steps: int
    loss: float
    lr: float
    steps_per_s: float
    waited: float = 0.0
    validation: float | None = None

    @property
    def remaining_s(self) -> float:
        """Seconds to go, at the rate so far."""
        return (self.steps - self.step) / self.steps_per_s


Report = Callable[[Progress], None]


class Keeper(Protocol):
    """Where a job's state waits for the next start of the job."""

    def kept(self) -> Mapping[str, Any] | None:
        """The latest state of this very job, on the CPU; None where there is none."""

    def keep(self, state: Mapping[str, Any]) -> None:
        """Put it there, whole or not at all; every worker calls, all with the same state."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a finished job is exported from.

    Attributes:
        weights: On the CPU.
        metadata: The learner's own.
        categories: Those of the instances that could be drawn.
        data: Each data set's name and fingerprint.
    """

    weights: dict[str, torch.Tensor]
    metadata: dict[str, str]
    categories: list[str]
    data: list[dict[str, Any]]


def fit(recipe: Recipe, keeper: Keeper, report: Report, report_every: int) -> Fitted:
    """Train this worker's part; with a process group, every worker calls and gets the same.

    Raises:
        UserError: The data holds nothing to train on, the device is absent, the learner's own code fails, or the
            memory does not suffice.
        FloatingPointError: The loss is not finite.
        LoaderDiedError: One of the processes that prepare examples is gone.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    with memory_blamed(recipe.device), closing(Job.of(recipe, rank, world)) as job:
        return _trained(job, keeper, report, report_every)


def _trained(job: Job, keeper: Keeper, report: Report, report_every: int) -> Fitted:
    recipe, state = job.recipe, job.state
    kept = keeper.kept()
    first = state.restore(kept) if kept else 0
    validated = Validated.of(recipe, job.learner)
    steps, losses, validation, waited = job.steps(first, recipe.steps), [], None, 0.0
    started = time.monotonic()
    for step in range(first, recipe.steps):
        asked = time.monotonic()
        share = next(steps)
        waited += time.monotonic() - asked
        losses.append(job.advanced(step, share))
        done = step + 1
        if done % recipe.save_every == 0:
            keeper.keep(state.as_dict(done))
        if validated and done % validated.every == 0:
            validation = validated.loss(state)
        if job.batches.rank == 0 and (done % report_every == 0 or done == recipe.steps):
            seconds = time.monotonic() - started
            rate, share_waited = (done - first) / seconds, waited / seconds
            report(Progress(done, recipe.steps, float(np.mean(losses)), state.lr, rate, share_waited, validation))
            losses, validation = [], None
    weights = {name: tensor.detach().cpu() for name, tensor in state.weights().items()}
    metadata = {key: str(value) for key, value in job.learner.metadata().items()}
    return Fitted(weights, metadata, job.batches.draws.categories, job.fingerprints())


@dataclass(frozen=True, eq=False)
class Job:
    """What one worker of a recipe steps through.

    Attributes:
        recipe: Of the whole job.
        learner: Its network lies on the device, in training mode.
        datasets: The recipe's.
        state: Before the first step.
        batches: This worker's share of every step's.
        loaders: What makes them ahead; None where they are made in turn with the training.
    """

    recipe: Recipe
    learner: Learner
    datasets: Sequence[Dataset]
    state: TrainingState
    batches: Batches
    loaders: Loaders | None = None

    @classmethod
    def of(cls, recipe: Recipe, rank: int, world: int) -> Job:
        """Built, the data listed.

        Raises:
            UserError: The data holds nothing to train on, or the device is absent.
        """
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        device = chosen_device(recipe.device)
        batches = batches_of(recipe, rank, world, device)
        learner, on_gpu = batches.learner, device.type == "cuda"
        learner.network.to(device).train()
        if on_gpu:  # The order in which tensor cores read what a convolution is given.
            learner.network.to(memory_format=torch.channels_last)
        loaders = None
        if recipe.loaders:
            loaders = Loaders(partial(batches_of, recipe, rank, world, device), recipe.loaders, pinned=on_gpu)
            batches.samples.forget()  # They have the memory for images.
        return cls(recipe, learner, batches.samples.datasets, TrainingState(learner, recipe, device), batches, loaders)

    def steps(self, first: int, end: int) -> Iterator[list[Batch]]:
        """The batches of every step from `first` to before `end`, on the CPU; the same whoever makes them."""
        return (self.loaders or self.batches).steps(first, end)

    @property
    def processes(self) -> int:
        """Those that make examples, each with a memory of its own for images."""
        return len(self.loaders.pools) if self.loaders else 1

    def close(self) -> None:
        """End the loaders."""
        if self.loaders is not None:
            self.loaders.close()

    def advanced(self, step: int, share: Sequence[Mapping[str, torch.Tensor]]) -> float:
        """One optimiser step and the loss before it; dropout, too, is decided by seed and step."""
        torch.manual_seed(self.recipe.seed * 1_000_003 + step + self.batches.rank * 2**40)
        return self.state.advanced(step, share)

    def fingerprints(self) -> list[dict[str, Any]]:
        """Each data set's name and fingerprint."""
        entries = zip(self.recipe.datasets, self.datasets, strict=True)
        return [{"name": entry.name, **dataset.fingerprint()} for entry, dataset in entries]


def batches_of(
    recipe: Recipe, rank: int, world: int, device: torch.device, processes: int = 1, threads: int = 1
) -> Batches:
    """One worker's, with a learner whose network lies on the CPU.

    Args:
        recipe: Of the whole job.
        rank: The worker's number.
        world: How many workers there are.
        device: Where the worker trains; what else its learner puts on a GPU goes there, too.
        processes: That share the memory for decoded images.
        threads: That make a step's examples together.
    """
    if device.index is not None:
        torch.cuda.set_device(device)
    learner: Learner = parameters.build("learners", recipe.learner.name, recipe.learner.params)
    samples = SampleCache(built(recipe.datasets), KEPT_BYTES // processes)
    draws = Draws(samples.draws(recipe.classes == "seen"), recipe)
    return Batches(learner, samples, draws, rank, world, recipe.accumulate, threads)


def built(entries: Sequence[Plugin]) -> list[Dataset]:
    """The data sets of a recipe."""
    return [parameters.build("datasets", entry.name, entry.params) for entry in entries]


def chosen_device(device: str) -> torch.device:
    """What a recipe's `device` is here; "auto" takes the GPU if there is one.

    Raises:
        UserError: A GPU is asked for where there is none, or not as many.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.startswith("cuda") and int(device.partition(":")[2] or 0) >= gpus:
        found = f"found {gpus or 'no'} GPU{'s' * (gpus > 1)} for device: {device}"
        raise UserError(f"training: {found}; wanted {'that ' * bool(gpus)}one. Set `device: auto` or `cpu`.")
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


@dataclass(frozen=True, eq=False)
class Validated:
    """Examples that are the same at every look; every worker computes all of them, so that none waits for another."""

    every: int
    batches: list[dict[str, torch.Tensor]]

    @classmethod
    def of(cls, recipe: Recipe, learner: Learner) -> Validated | None:
        """The recipe's, of all classes; None where it wants none."""
        wanted = recipe.validation
        if wanted is None:
            return None
        samples = SampleCache(built(wanted.datasets))
        fixed = recipe.model_copy(update={"batch": wanted.examples, "seed": 0, "balance": False, "classes": "all"})
        a_pass = max(2, recipe.batch // (max(1, recipe.workers) * recipe.accumulate))
        parts = -(-wanted.examples // a_pass)
        (batches,) = Batches(learner, samples, Draws(samples.draws(False), fixed), parts=parts).steps(0, 1)
        return cls(wanted.every, batches)

    def loss(self, state: TrainingState) -> float:
        """The mean loss of the examples."""
        torch.manual_seed(0)
        with state.evaluating():
            losses = [state.loss(batch).item() for batch in self.batches]
        return float(np.average(losses, weights=[len(next(iter(batch.values()))) for batch in self.batches]))
