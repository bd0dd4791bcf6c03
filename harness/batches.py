"""Drawn instances as the batches of one worker, made here; `harness.loaders` has processes make them ahead."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from harness.clicks import NoClickError
from harness.draws import Draw, Draws, SampleCache
from harness.interfaces import Learner
from harness.structures import Image, UserError

T = TypeVar("T")

_log = logging.getLogger(__name__)

Example = Mapping[str, np.ndarray]
Batch = dict[str, torch.Tensor]
Drawn = list[tuple[Draw, np.random.Generator]]


@runtime_checkable
class Preparing(Protocol):
    """A learner that wants to see a step's images and texts together before it is asked for their examples."""

    def prepare(self, images: Sequence[Image], texts: Sequence[str], vocabularies: Sequence[tuple[str, ...]]) -> None:
        """Do what is faster for several at once, and keep it; each text comes with its data set's classes."""


@dataclass(frozen=True, eq=False)
class Batches:
    """The examples of a step that one worker of several trains on: the whole batch's, cut into equal shares in order.

    Attributes:
        rank: The worker's number.
        world: How many workers there are.
        parts: How many batches, of one forward pass each, the share is cut into.
        threads: That make a step's examples together.
    """

    learner: Learner
    samples: SampleCache
    draws: Draws
    rank: int = 0
    world: int = 1
    parts: int = 1
    threads: int = 1

    def steps(self, first: int, end: int) -> Iterator[list[Batch]]:
        """The batches of every step from `first` to before `end`, on the CPU."""
        return map(self.at, range(first, end))

    def at(self, step: int) -> list[Batch]:
        """The batches of a step, on the CPU; the same however many threads make them."""
        share = self._share(step)
        if isinstance(self.learner, Preparing):
            draws = [draw for draw, _ in share]
            vocabularies = [tuple(self.samples.datasets[draw.dataset].classes) for draw in draws]
            self.learner.prepare(self._each(self._image, share), [draw.category for draw in draws], vocabularies)
        return self._stacked(self._each(self._example, share))

    def _each(self, make: Callable[[Draw, np.random.Generator], T], share: Drawn) -> list[T]:
        """`make` of every draw, in order."""
        if self.threads == 1:
            return [make(*drawn) for drawn in share]
        with ThreadPoolExecutor(self.threads, "example") as pool:
            return list(pool.map(lambda drawn: make(*drawn), share))

    def _share(self, step: int) -> Drawn:
        size = self.draws.size // self.world
        return list(self.draws.at(step))[self.rank * size : (self.rank + 1) * size]

    def _image(self, draw: Draw, _: np.random.Generator) -> Image:
        return self.samples.image(draw.dataset, draw.sample_id)

    def _example(self, draw: Draw, rng: np.random.Generator) -> Example:
        return example(self.learner, self.samples, self.draws, draw, rng)

    def _stacked(self, examples: Sequence[Example]) -> list[Batch]:
        size = len(examples) // self.parts
        return [stacked(examples[start : start + size]) for start in range(0, len(examples), size)]


def stacked(examples: Sequence[Example]) -> Batch:
    """Examples as one batch."""
    return {key: torch.from_numpy(np.stack([one[key] for one in examples])) for key in examples[0]}


def example(learner: Learner, samples: SampleCache, draws: Draws, draw: Draw, rng: np.random.Generator) -> Example:
    """One drawn instance as the learner wants it; in the place of an unreadable or unclickable one, another.

    Raises:
        UserError: As many in a row are unreadable as there are draws.
    """
    for _ in draws.draws:
        sample = samples.sample(draw.dataset, draw.sample_id)
        reason = sample.broken.get(draw.instance_id, "listed, but not in its sample")
        for instance in sample.instances:
            if instance.id == draw.instance_id:
                try:
                    return learner.example(sample, instance, samples.datasets[draw.dataset].classes, rng)
                except NoClickError as error:
                    reason = str(error)
        _log.warning("training: instance %s is left out: %s", draw.instance_id, reason)
        draw = draws.another(rng)
    raise UserError(f"training: found no readable instance ({draw.instance_id}: {reason}). Repair the data set.")
