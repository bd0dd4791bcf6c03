"""One worker's part of a training, which is the whole training if there is one worker.

All random numbers come from (seed, step), so a training that was stopped and resumed ends with the same weights as an
uninterrupted one.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from harness.config.recipe import Recipe
from harness.plugins.interfaces import Dataset, Learner
from harness.structures import UserError
from harness.training.batches import Batch, Batches, batches_of, built
from harness.training.loaders import Loaders
from harness.training.mistakes import memory_blamed
from harness.training.samples import Draws, SampleCache
from harness.training.state import SEEDS, States, TrainingState

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """The progress of a training.

    Attributes:
        step: Steps done.
        steps: Steps in all.
        loss: The mean loss over the steps since the last report.
        lr: The learning rate.
        steps_per_s: Steps per second since this process started.
        waited: The share of that time in which it waited for examples.
        validation: The mean loss of the fixed examples, if it was computed since the last report.
        since: The step of the kept state from which this start went on; 0 if it began anew.
    """

    step: int
    steps: int
    loss: float
    lr: float
    steps_per_s: float
    waited: float = 0.0
    validation: float | None = None
    since: int = 0

    @property
    def remaining_s(self) -> float:
        """Seconds to go, at the rate so far."""
        return (self.steps - self.step) / self.steps_per_s


Report = Callable[[Progress], None]


@dataclass(frozen=True, eq=False)
class Fitted:
    """The result of a training, from which the checkpoint is made.

    Attributes:
        weights: The network's weights, on the CPU.
        metadata: The learner's entries for the checkpoint's metadata.
        categories: The categories of the instances that could be drawn.
        data: Each data set's name and fingerprint.
        vocabulary: The names of the data sets' classes, as they were worded in the training.
    """

    weights: dict[str, torch.Tensor]
    metadata: dict[str, str]
    categories: list[str]
    data: list[dict[str, Any]]
    vocabulary: list[str]


def fit(recipe: Recipe, states: States, report: Report, report_every: int) -> Fitted:
    """Train this worker's part. In a process group every worker calls this, and all get the same result.

    Raises:
        UserError: The data holds nothing to train on, the device is absent, the learner's own code fails, the memory is
            too small, the loss is not finite, or a loader died.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    with memory_blamed(recipe.device), closing(Training.of(recipe, rank, world)) as training:
        state = training.state
        kept, data = states.load(), json.dumps(training.data)
        first = state.restore(kept) if kept else 0
        if kept and rank == 0:
            _warn_changed(json.loads(data), json.loads(kept.get("data", data)), first)
        fixed = FixedExamples.of(recipe, training.learner)
        course = Course(first, recipe.steps)
        batches = training.steps(first, recipe.steps)
        for step in range(first, recipe.steps):
            share = course.awaited(batches)
            course.losses.append(state.step(step, share))
            done = step + 1
            # Only one state is written, but every worker must call this: on Ray the call waits for all of them.
            if done % recipe.save_every == 0:
                states.keep(state.as_dict(done) | {"data": data})
            if fixed and (done % fixed.every == 0 or done == recipe.steps):
                course.validation = fixed.loss(state)
            if rank == 0 and (done % report_every == 0 or done == recipe.steps):
                report(course.progress(done, state.lr))
        return training.fitted()


def _warn_changed(now: Sequence[Mapping[str, Any]], then: Sequence[Mapping[str, Any]], step: int) -> None:
    """Warn of data sets that have changed since the kept state: its recipe makes other weights from today's."""
    for one, before in zip(now, then, strict=True):
        if other := [key for key, value in one.items() if before.get(key) != value]:
            _log.warning(
                "training: the data set %s has changed since step %d, from which this goes on (%s differ): the recipe "
                "would not make these weights again. To train from the start, delete runs/training/<key>.pt (with "
                "`workers` the folder <key>.ray).",
                *(one["name"], step, ", ".join(other)),
            )


@dataclass(eq=False)
class Course:
    """Collects the next report: the pace since this process started, and the losses since the last report."""

    first: int
    steps: int
    started: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    losses: list[float] = field(default_factory=list)
    validation: float | None = None

    def awaited(self, batches: Iterator[list[Batch]]) -> list[Batch]:
        """The next batches; the time that they took to come is added to `waited`."""
        asked = time.monotonic()
        share = next(batches)
        self.waited += time.monotonic() - asked
        return share

    def progress(self, done: int, lr: float) -> Progress:
        """The report after this many steps; the losses are cleared for the next one."""
        seconds, loss, validation = time.monotonic() - self.started, float(np.mean(self.losses)), self.validation
        self.losses, self.validation = [], None
        rate = (done - self.first) / seconds
        return Progress(done, self.steps, loss, lr, rate, self.waited / seconds, validation, self.first)


@dataclass(frozen=True, eq=False)
class Training:
    """The parts of one worker's training.

    Attributes:
        recipe: The recipe of the whole training.
        learner: The learner, whose network is on the device, in training mode.
        datasets: The recipe's data sets.
        state: The network, optimiser and average.
        batches: This worker's share of every step.
        loaders: The processes that make batches ahead; None if this process makes them between the steps.
    """

    recipe: Recipe
    learner: Learner
    datasets: Sequence[Dataset]
    state: TrainingState
    batches: Batches
    loaders: Loaders | None = None

    @classmethod
    def of(cls, recipe: Recipe, rank: int, world: int) -> Training:
        """Build the learner and list the data.

        Raises:
            UserError: The data holds nothing to train on, or the device is absent.
        """
        torch.set_num_threads(recipe.threads)
        # Before the learner is built, which draws its initial weights: so they follow from the seed, and are alike on
        # all workers.
        torch.manual_seed(recipe.seed % SEEDS)
        device = chosen_device(recipe.device)
        batches = batches_of(recipe, rank, world, device)
        learner, on_gpu = batches.learner, device.type == "cuda"
        learner.network.to(device).train()
        if on_gpu:  # The memory layout that the convolutions of tensor cores read fastest.
            learner.network.to(memory_format=torch.channels_last)
        loaders = None
        if recipe.loaders:
            loaders = Loaders(partial(batches_of, recipe, rank, world, device), recipe.loaders, pinned=on_gpu)
            batches.samples.forget()  # The loaders' processes use the memory for images.
        return cls(recipe, learner, batches.samples.datasets, TrainingState(learner, recipe, device), batches, loaders)

    @cached_property
    def data(self) -> list[dict[str, Any]]:
        """Each data set's name and fingerprint."""
        entries = zip(self.recipe.datasets, self.datasets, strict=True)
        return [{"name": entry.name, **dataset.fingerprint()} for entry, dataset in entries]

    def steps(self, first: int, end: int) -> Iterator[list[Batch]]:
        """The batches of every step from `first` to before `end`, on the CPU, whichever process makes them."""
        return (self.loaders or self.batches).steps(first, end)

    @property
    def processes(self) -> int:
        """How many processes make examples, each with a memory of its own for images."""
        return len(self.loaders.pools) if self.loaders else 1

    def close(self) -> None:
        """End the loaders."""
        if self.loaders is not None:
            self.loaders.close()

    def fitted(self) -> Fitted:
        """The result of the training so far.

        Raises:
            UserError: Weights are NaN or infinite.
        """
        weights = {name: tensor.detach().cpu() for name, tensor in self.state.weights().items()}
        # Each step looks at its loss, which is that of the weights before it. So nothing has looked at the last step's.
        for name, _ in self.learner.network.named_parameters():
            if not weights[name].isfinite().all():
                raise UserError(f"training: the last step made {name} NaN or infinite; lower optimizer.lr.")
        metadata = {key: str(value) for key, value in self.learner.metadata().items()}
        vocabulary = dict.fromkeys(name for wording in self.batches.wordings for name in wording.vocabulary)
        return Fitted(weights, metadata, self.batches.draws.categories, self.data, list(vocabulary))


def chosen_device(device: str) -> torch.device:
    """The torch device of a recipe's `device`; "auto" takes the GPU if there is one.

    Raises:
        UserError: The recipe asks for a GPU that is not there.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.startswith("cuda") and int(device.partition(":")[2] or 0) >= gpus:
        found = f"found {gpus or 'no'} GPU{'s' * (gpus > 1)} for device: {device}"
        raise UserError(
            f"training: {found}; wanted {'the one with that number' if gpus else 'one'}. Set `device: auto` or `cpu`."
        )
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


@dataclass(frozen=True, eq=False)
class FixedExamples:
    """Examples for validation, which are the same every time.

    Every worker computes all of them, since they are few: so no worker has to wait for another.
    """

    every: int
    batches: list[dict[str, torch.Tensor]]

    @classmethod
    def of(cls, recipe: Recipe, learner: Learner) -> FixedExamples | None:
        """The recipe's examples, of all classes; None if the recipe has no validation."""
        wanted = recipe.validation
        if wanted is None:
            return None
        samples = SampleCache(built(wanted.datasets))
        few = {"datasets": wanted.datasets, "batch": wanted.examples, "seed": 0, "balance": False, "classes": "all"}
        fixed = recipe.model_copy(update=few)
        # Parts are no larger than those of a training step, which are known to fit in memory.
        a_pass = max(2, recipe.batch // (max(1, recipe.workers) * recipe.accumulate))
        parts = -(-wanted.examples // a_pass)
        (batches,) = Batches(learner, samples, Draws(samples.draws(False), fixed), parts=parts, text=recipe.text).steps(
            0, 1
        )
        return cls(wanted.every, batches)

    def loss(self, state: TrainingState) -> float:
        """The mean loss of the examples, of the weights that would be exported now."""
        # The network is in eval mode, but a learner's loss may draw random numbers itself. Each training step seeds
        # anew, so validation changes nothing in the steps that follow.
        torch.manual_seed(0)
        with state.evaluating():
            losses = [state.loss(batch).item() for batch in self.batches]
        return float(np.average(losses, weights=[len(next(iter(batch.values()))) for batch in self.batches]))
