"""Drawn instances as the batches of one worker, prepared ahead by threads or in turn with the training."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from harness.clicks import NoClickError
from harness.draws import Draw, Draws, SampleCache
from harness.interfaces import Learner
from harness.structures import Image, UserError

STEPS_AHEAD = 3
"""Whose examples the loaders prepare while a step is trained."""

PREPARED_AHEAD = 2
"""Steps before a step's examples are made, the loaders read and prepare its images: ahead of the examples between."""

_log = logging.getLogger(__name__)

Example = Mapping[str, np.ndarray]
Batch = dict[str, torch.Tensor]
Drawn = list[tuple[Draw, np.random.Generator]]


@runtime_checkable
class Preparing(Protocol):
    """A learner that wants to see a step's images together before it is asked for their examples."""

    def prepare(self, images: Sequence[Image]) -> None:
        """Do what is faster on several images at once, and keep it."""


@dataclass(frozen=True, eq=False)
class Batches:
    """The examples of a step that one worker of several trains on: the whole batch's, cut into equal shares in order.

    Attributes:
        rank: The worker's number.
        world: How many workers there are.
        parts: How many batches, of one forward pass each, the share is cut into.
        loaders: Threads that work ahead.
        pinned: Whether batches lie in memory from which a GPU copies while it computes.
    """

    learner: Learner
    samples: SampleCache
    draws: Draws
    rank: int = 0
    world: int = 1
    parts: int = 1
    loaders: int = 0
    pinned: bool = False

    def steps(self, first: int, end: int) -> Iterator[list[Batch]]:
        """The batches of every step from `first` to before `end`, on the CPU; the same whatever prepares them."""
        if not self.loaders:
            for step in range(first, end):
                share = self._share(step)
                self._prepare(self._image(draw) for draw, _ in self._wanted(share))
                yield self._stacked([self._example(*drawn) for drawn in share])
            return
        with ThreadPoolExecutor(self.loaders, "loader") as pool, closing(self._ahead(pool, first, end)) as coming:
            yield from coming

    def _ahead(self, pool: ThreadPoolExecutor, first: int, end: int) -> Generator[list[Batch]]:
        prepared: deque[tuple[Drawn, Future[None]]] = deque()
        waiting: deque[Future[list[Batch]]] = deque()
        try:
            for step in range(first - PREPARED_AHEAD, end + STEPS_AHEAD):
                if step + PREPARED_AHEAD < end:
                    share = self._share(step + PREPARED_AHEAD)
                    prepared.append((share, self._submitted(pool, share)))
                if first <= step < end:
                    share, seen = prepared.popleft()
                    examples = [pool.submit(self._example_after, seen, *drawn) for drawn in share]
                    waiting.append(pool.submit(self._gathered, examples))
                if step >= first + STEPS_AHEAD:
                    yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _submitted(self, pool: ThreadPoolExecutor, share: Drawn) -> Future[None]:
        """Reads and prepares a step's images. Tasks start after those that they wait for: there is no deadlock."""
        images = [pool.submit(self._image, draw) for draw, _ in self._wanted(share)]
        return pool.submit(lambda: self._prepare(image.result() for image in images))

    def _wanted(self, share: Drawn) -> Drawn:
        """Those whose images the learner wants to see first."""
        return share if isinstance(self.learner, Preparing) else []

    def _prepare(self, images: Iterable[Image]) -> None:
        if isinstance(self.learner, Preparing):
            self.learner.prepare(list(images))

    def _example_after(self, seen: Future[None], draw: Draw, rng: np.random.Generator) -> Example:
        seen.result()
        return self._example(draw, rng)

    def _image(self, draw: Draw) -> Image:
        return self.samples.image(draw.dataset, draw.sample_id)

    def _share(self, step: int) -> Drawn:
        size = self.draws.size // self.world
        return list(self.draws.at(step))[self.rank * size : (self.rank + 1) * size]

    def _example(self, draw: Draw, rng: np.random.Generator) -> Example:
        return example(self.learner, self.samples, self.draws, draw, rng)

    def _gathered(self, examples: Sequence[Future[Example]]) -> list[Batch]:
        return self._stacked([example.result() for example in examples])

    def _stacked(self, examples: Sequence[Example]) -> list[Batch]:
        size = len(examples) // self.parts
        batches = [stacked(examples[start : start + size]) for start in range(0, len(examples), size)]
        return [{key: value.pin_memory() for key, value in one.items()} for one in batches] if self.pinned else batches


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
