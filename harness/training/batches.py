"""Drawn instances as the batches of one worker, made here; `harness.training.loaders` has processes make them ahead."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from harness.clicks import NoClickError
from harness.plugins.failures import blamed
from harness.plugins.interfaces import Learner
from harness.structures import Image, UserError
from harness.training.mistakes import defined, named
from harness.training.samples import Draw, Draws, SampleCache

T = TypeVar("T")

_log = logging.getLogger(__name__)

Example = Mapping[str, np.ndarray]
Batch = dict[str, torch.Tensor]
Drawn = list[tuple[Draw, np.random.Generator]]
Made = tuple[Draw, Example]
"""An example, with what it is of."""


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
        """The batches of a step, on the CPU; the same however many threads make them.

        Raises:
            UserError: A sample cannot be read, or the learner makes no batch of them.
        """
        share = self._share(step)
        if isinstance(self.learner, Preparing):
            self._prepare(self.learner, share)
        return self._stacked(self._each(self._example, share))

    def _prepare(self, learner: Preparing, share: Drawn) -> None:
        draws, images = [draw for draw, _ in share], self._each(self._image, share)
        vocabularies = [tuple(self.samples.datasets[draw.dataset].classes) for draw in draws]
        with blamed(f"{named(self.learner)}: a step of {_called(draws[0])} and others cannot be prepared"):
            learner.prepare(images, [draw.category for draw in draws], vocabularies)

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

    def _example(self, draw: Draw, rng: np.random.Generator) -> Made:
        return example(self.learner, self.samples, self.draws, draw, rng)

    def _stacked(self, made: Sequence[Made]) -> list[Batch]:
        size = len(made) // self.parts
        return [self._batch(made[start : start + size]) for start in range(0, len(made), size)]

    def _batch(self, made: Sequence[Made]) -> Batch:
        try:
            return stacked([one for _, one in made])
        except MemoryError:
            raise
        except Exception as error:  # Anything may stand in the place of arrays.
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"{named(self.learner)}: its examples do not stack to a batch. {told}. Found "
                f"{_unlike(made)}; wanted mappings to arrays of numbers, of the same names and shapes"
                f"{defined(type(self.learner).example)}."
            ) from error


def stacked(examples: Sequence[Example]) -> Batch:
    """Examples as one batch."""
    return {key: torch.from_numpy(np.stack([one[key] for one in examples])) for key in examples[0]}


def _unlike(made: Sequence[Made]) -> str:
    """The first example, and the first that is not like it, if there is one."""
    forms = [(_called(draw), _form(one)) for draw, one in made]
    shown = [forms[0], *(one for one in forms if one[1] != forms[0][1])][:2]
    return " and ".join(f"{form} for {called}" for called, form in shown)


def _form(example: Example) -> str:
    if not isinstance(example, Mapping):
        return f"a {type(example).__name__}"
    arrays = {
        key: f"{getattr(one, 'dtype', type(one).__name__)} {getattr(one, 'shape', '')}" for key, one in example.items()
    }
    return "{" + ", ".join(f"{key}: {form.strip()}" for key, form in arrays.items()) + "}"


def _called(draw: Draw) -> str:
    return f"instance {draw.instance_id} of sample {draw.sample_id}"


def example(learner: Learner, samples: SampleCache, draws: Draws, draw: Draw, rng: np.random.Generator) -> Made:
    """One drawn instance as the learner wants it; in the place of an unreadable or unclickable one, another.

    Raises:
        UserError: As many in a row are unreadable as there are draws, or the learner's own code fails.
    """
    for _ in draws.draws:
        sample = samples.sample(draw.dataset, draw.sample_id)
        reason = sample.broken.get(draw.instance_id, "listed, but not in its sample")
        for instance in (one for one in sample.instances if one.id == draw.instance_id):
            with blamed(f"{named(learner)}: no example of {_called(draw)}"):
                try:
                    return draw, learner.example(sample, instance, samples.datasets[draw.dataset].classes, rng)
                except NoClickError as error:
                    reason = str(error)
        _log.warning("training: instance %s is left out: %s", draw.instance_id, reason)
        draw = draws.another(rng)
    raise UserError(f"training: found no readable instance ({draw.instance_id}: {reason}). Repair the data set.")
